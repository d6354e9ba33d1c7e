"""pypcapzc: (int nanoseconds, bytes) pairs from its iterator, pairs with views, and whole blocks.

``blocks`` makes no Python object per packet: it adds up the captured lengths with numpy.
"""

from __future__ import annotations

import sys
from typing import Any

import pypcapzc
from benchmarks.consumers import common

try:
    import numpy  # noqa: F401  # pypcapzc would import it within the time that is measured
except ImportError:
    pass  # only ``blocks`` needs it


def _open_live(task: common.Task) -> Any:
    return pypcapzc.open_live(
        task.source, snaplen=task.snaplen, timeout_ms=task.timeout_ms, buffer_size=task.buffer_size
    )


def _open_offline(task: common.Task) -> Any:
    return pypcapzc.open_offline(task.source)


def _counters(handle: Any) -> tuple[int, int]:
    stats = handle.stats()
    return stats.received, stats.dropped


def _blocks(handle: Any, _task: common.Task) -> tuple[int, int]:
    n = total = 0
    for block in handle.blocks():
        lengths = block.headers["caplen"]
        n += len(block)
        total += int(lengths.sum())
        if lengths[-1] == common.MARKER:  # nothing but markers comes after a marker
            markers = int((lengths == common.MARKER).sum())
            return n - markers, total - markers * common.MARKER
    return n, total


def _views(handle: Any, _task: common.Task) -> tuple[int, int]:
    n = total = 0
    for block in handle.blocks():
        for _, data in block:
            size = len(data)
            if size == common.MARKER:
                return n, total
            n += 1
            total += size
    return n, total


def _copies(handle: Any, task: common.Task) -> int:
    return (0 if handle.zero_copy.lent else 1) + (task.way == "iterator")


CONSUMER = common.Consumer(
    version=lambda: pypcapzc.__version__,
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_counters,
    ways={"iterator": common.iterate, "views": _views, "blocks": _blocks},
    copies=_copies,
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
