"""Capture.dump() where records go from the kernel's buffer straight into a file: no block is made."""

from __future__ import annotations

import time
from contextlib import suppress

from .dumper import Sink
from .errors import CaptureClosedError
from .sources.base import Source
from .sources.straight import RecordsArena
from .waiting import Waiting

_IN_A_ROW = 32
"""Batches that are written before anything else is looked at."""
_BYTES_A_SECOND = 1.25e9
"""10 Gbit/s."""


def nap(ring: int, longest: float) -> float:
    """Seconds, at most ``longest``, in which the kernel's buffer of ``ring`` bytes need not be looked at.

    10 Gbit/s fill a quarter of it in that time.  To wake up for each of its blocks costs more than to write
    what is in them.
    """
    return min(longest, ring / 4 / _BYTES_A_SECOND)


def dump_records(
    waiting: Waiting,
    source: Source,
    arena: RecordsArena,
    sink: Sink,
    *,
    pause: float,
    deadline: float | None,
    count: int,
) -> int:
    """Write at most ``count`` packets of a live capture until the deadline or a break; gives how many.

    It looks for packets after ``pause`` seconds, or when the kernel tells of them where that is later.
    """
    written = 0
    with suppress(CaptureClosedError):  # by another thread, between two steps
        while written < count:
            found = waiting.until(lambda: source.pour(arena, count - written), deadline)  # noqa: B023
            if found is None:
                break
            turns = 0
            while found is not None:
                sink.write_records(*found)
                written, turns = written + found[1], turns + 1
                more = written < count and turns < _IN_A_ROW and not waiting.broken
                found = source.pour(arena, count - written) if more else None
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                break
            if turns < _IN_A_ROW and written < count:
                waiting.nap(pause if deadline is None else min(pause, deadline - now))
    return written
