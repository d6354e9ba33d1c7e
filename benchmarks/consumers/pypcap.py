"""pypcap: (float, bytes) pairs, from its iterator or as lists."""

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


def _readpkts(handle: Any, count: int) -> tuple[int, int]:
    n = total = 0
    while n < count and (packets := handle.readpkts()):
        for _, data in packets:
            n += 1
            total += len(data)
    return n, total


CONSUMER = common.Consumer(
    version=lambda: str(pcap.__version__),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={"iterator": common.iterate, "readpkts": _readpkts},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
