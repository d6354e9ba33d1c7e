"""pcapy-ng: next(), a callback by dispatch(), and next_batch().

Its first two give a header object with each packet; that its times are never asked for is in its favour.
"""

from __future__ import annotations

import struct
import sys
from importlib.metadata import version
from typing import Any

import pcapy

from benchmarks.consumers import common

_BATCH = 4096


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


def _dispatch(handle: Any, task: common.Task) -> tuple[int, int]:
    n = total = 0
    ended = False

    def on_packet(_header: Any, data: bytes) -> None:
        nonlocal n, total, ended
        size = len(data)
        if size == common.MARKER:
            ended = True
        else:
            n += 1
            total += size

    while not ended and (handle.dispatch(-1, on_packet) or task.live):
        pass
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


CONSUMER = common.Consumer(
    version=lambda: version("pcapy-ng"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={"next": _next, "dispatch": _dispatch, "next_batch": _next_batch},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
