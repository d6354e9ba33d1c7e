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


def _next(handle: Any, count: int) -> tuple[int, int]:
    n = total = 0
    while n < count:
        header, data = handle.next()
        if header is None:
            break
        n += 1
        total += len(data)
    return n, total


def _dispatch(handle: Any, count: int) -> tuple[int, int]:
    n = total = 0

    def on_packet(_header: Any, data: bytes) -> None:
        nonlocal n, total
        n += 1
        total += len(data)

    before = -1
    while before < n < count:
        before = n
        handle.dispatch(count - n, on_packet)
    return n, total


def _next_batch(handle: Any, count: int) -> tuple[int, int]:
    n = total = 0
    while n < count:
        packets, records = handle.next_batch(min(_BATCH, count - n))
        if not records:
            break
        for _seconds, _micros, offset, caplen in struct.iter_unpack("=4I", records):
            data = packets[offset : offset + caplen]
            n += 1
            total += len(data)
    return n, total


CONSUMER = common.Consumer(
    version=lambda: version("pcapy-ng"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={"next": _next, "dispatch": _dispatch, "next_batch": _next_batch},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
