"""python-libpcap: (length, seconds, bytes) from its generators.

Its Sniff has no way to set the size of the buffer: it captures with libpcap's default of 2 MiB.
"""

from __future__ import annotations

import sys
from typing import Any

import pylibpcap
from pylibpcap.base import Sniff
from pylibpcap.open import OpenPcap

from benchmarks.consumers import common


def _open_live(task: common.Task) -> Any:
    return Sniff(task.source, promisc=1, snaplen=task.snaplen, timeout=task.timeout_ms)


def _open_offline(task: common.Task) -> Any:
    return OpenPcap(task.source)


def _counters(handle: Any) -> tuple[int, int]:
    stats = handle.stats()
    return stats.ps_recv, stats.ps_drop


def _iterate(handle: Any, task: common.Task) -> tuple[int, int]:
    n = total = 0
    for _, _, data in handle.capture() if task.live else handle.read():
        size = len(data)
        if size == common.MARKER:
            break
        if size:  # nothing came within the timeout
            n += 1
            total += size
    return n, total


CONSUMER = common.Consumer(
    version=lambda: common.version_of(pylibpcap, "python-libpcap"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={
        "iterator": _iterate,
        # A packet of no bytes: nothing came within the timeout.
        "busy": lambda handle, task: common.busy((ts, data) for _, ts, data in handle.capture() if data),
    },
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
