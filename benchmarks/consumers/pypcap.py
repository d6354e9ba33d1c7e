"""pypcap, and pcap-ct, which has its interface: (float, bytes) pairs, from the iterator or as lists."""

from __future__ import annotations

import importlib.metadata
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


def _version() -> str:
    for name in ("pypcap", "pcap-ct"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


CONSUMER = common.Consumer(
    version=_version,
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={
        "iterator": common.iterate,
        "readpkts": lambda handle, task: common.in_lists(handle.readpkts, task.live),
    },
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
