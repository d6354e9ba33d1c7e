"""pcapy-ng: next(), callbacks, next_batch(), and those that classify packets and admit some.

All but next_batch() and loop_to_buffer() give a header object with each packet; that its times are never
asked for is in its favour.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import pcapy

from benchmarks.consumers import common

_BATCH = 4096
_ADDRESSES = b"".join(bytes([10, 1, n >> 8, n & 255]) for n in range(1000))
"""None of them is in a packet of lab.frames, which are all of one flow."""
_PORTS = (40002,)
"""One of that flow's."""
_AT_A_TIME = 32768
"""Packets in a buffer, each of 64 bytes with five before it."""


def _open_live(task: common.Task) -> Any:
    handle = pcapy.create(task.source)
    handle.set_snaplen(task.snaplen)
    handle.set_promisc(True)
    handle.set_timeout(task.timeout_ms)
    handle.set_buffer_size(task.buffer_size)
    handle.activate()
    return handle


def _open_offline(task: common.Task) -> Any:
    return pcapy.open_offline(task.source)


def _counters(handle: Any) -> tuple[int, int]:
    received, dropped, _ = handle.stats()
    return received, dropped


def _next(handle: Any, task: common.Task) -> tuple[int, int]:
    n = total = 0
    while True:
        header, data = handle.next()
        if header is None:
            if task.live:
                continue
            break
        size = len(data)
        if size == common.MARKER:
            break
        n += 1
        total += size
    return n, total


def _next_batch(handle: Any, task: common.Task) -> tuple[int, int]:
    n = total = 0
    while True:
        packets, records = handle.next_batch(_BATCH)
        if not records and not task.live:
            return n, total
        for _seconds, _micros, offset, caplen in struct.iter_unpack("=4I", records):
            data = packets[offset : offset + caplen]
            size = len(data)
            if size == common.MARKER:
                return n, total
            n += 1
            total += size


def _filtered(one_in: int, **rules: Any) -> common.Way:
    """loop_filtered() that admits one packet in so many (0: none), and checks that."""

    def way(handle: Any, task: common.Task) -> tuple[int, None]:
        called = total = 0

        def on_packet(_header: Any, data: bytes, _kind: int) -> None:
            nonlocal called, total
            called += 1
            total += len(data)

        count = task.count + task.live  # the marker is one more
        expected = max(1, count // one_in) if one_in else 0
        if one_in > 1:
            rules["flow_cutoff"] = expected
        admitted, dropped, *_ = handle.loop_filtered(count, on_packet, addr_set=_ADDRESSES, **rules)
        if (called, admitted) != (expected, expected):
            raise SystemExit(f"{admitted} packets admitted and {called} given, but {expected} expected")
        return admitted + dropped - task.live, None

    return way


def _to_buffer(handle: Any, task: common.Task) -> tuple[int, None]:
    """loop_to_buffer(), some packets at a time, all of them admitted."""
    n, left = 0, task.count + task.live
    buffer = bytearray(_AT_A_TIME * (64 + 5))
    while left:
        limit = min(left, _AT_A_TIME)
        admitted, dropped, overflow, *_ = handle.loop_to_buffer(limit, buffer, 7, _ADDRESSES)
        if dropped or overflow or not admitted:
            raise SystemExit(f"{admitted} of {limit} packets admitted, {overflow} did not find room")
        n, left = n + admitted, left - admitted
    return n - task.live, None


CONSUMER = common.Consumer(
    version=lambda: common.version_of(pcapy, "pcapy-ng"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={
        "next": _next,
        "busy": lambda handle, task: common.busy(pair for pair in iter(handle.next, None) if pair[1]),
        "loop": common.by_loop,
        "dispatch": common.by_dispatch,
        "next_batch": _next_batch,
        "filtered-none": _filtered(0, admit_mask=4),  # addresses of the set
        "filtered-few": _filtered(100, admit_mask=2),  # first packets of flows
        "filtered-all": _filtered(1, admit_mask=7),
        "security-none": _filtered(0, admit_mask=59, profile=1),  # all but noise
        "security-few": _filtered(100, admit_mask=59, profile=1, tls_ports=_PORTS),
        "security-all": _filtered(1, admit_mask=63, profile=1),
        "to-buffer": _to_buffer,
    },
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
