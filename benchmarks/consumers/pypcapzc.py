"""pypcapzc: (int nanoseconds, bytes) pairs from its iterator, and whole blocks.

``blocks`` makes no Python object per packet: it adds up the captured lengths with numpy.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy  # noqa: F401  # pypcapzc would import it within the time that is measured

import pypcapzc
from benchmarks.consumers import common


def _open_live(task: common.Task) -> Any:
    return pypcapzc.open_live(
        task.source, snaplen=task.snaplen, timeout_ms=task.timeout_ms, buffer_size=task.buffer_size
    )


def _open_offline(task: common.Task) -> Any:
    return pypcapzc.open_offline(task.source)


def _counters(handle: Any) -> tuple[int, int]:
    stats = handle.stats()
    return stats.received, stats.dropped


def _blocks(handle: Any, count: int) -> tuple[int, int]:
    n = total = 0
    for block in handle.blocks():
        n += len(block)
        total += int(block.headers["caplen"].sum())
        if n >= count:
            break
    return n, total


CONSUMER = common.Consumer(
    version=lambda: pypcapzc.__version__,
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={"iterator": common.iterate, "blocks": _blocks},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
