"""pypcap, and pcap-ct, which has its interface: (float, bytes) pairs, singly, by callbacks, or as lists."""

from __future__ import annotations

import sys
from typing import Any

import pcap

from benchmarks.consumers import common


def _open_live(task: common.Task) -> Any:
    return pcap.pcap(
        task.source,
        snaplen=task.snaplen,
        promisc=True,
        timeout_ms=task.timeout_ms,
        buffer_size=task.buffer_size,
    )


def _open_offline(task: common.Task) -> Any:
    return pcap.pcap(task.source)


def _counters(handle: Any) -> tuple[int, int]:
    received, dropped, _ = handle.stats()
    return received, dropped


def _next(handle: Any, _task: common.Task) -> tuple[int, int]:
    n = total = 0
    try:
        while True:
            _, data = next(handle)
            size = len(data)
            if size == common.MARKER:
                break
            n += 1
            total += size
    except StopIteration:
        pass
    return n, total


CONSUMER = common.Consumer(
    version=lambda: common.version_of(pcap, "pypcap", "pcap-ct"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={
        "iterator": common.iterate,
        "busy": common.busy,
        "loop": common.by_loop,
        "dispatch": common.by_dispatch,
        "next": _next,
        "readpkts": lambda handle, task: common.in_lists(handle.readpkts, task.live),
    },
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
