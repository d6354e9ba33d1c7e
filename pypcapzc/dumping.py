"""Capture.dump() where records go from the kernel's buffer straight into a file: no block is made."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import platforms
from .dumper import Sink
from .errors import CaptureClosedError
from .sources.straight import RecordsArena

if TYPE_CHECKING:
    from .capture import Capture

_IN_A_ROW = 32
"""Batches that are written before anything else is looked at."""
_BYTES_A_SECOND = 1.25e9
"""10 Gbit/s."""


def dump_records(
    capture: Capture, arena: RecordsArena, sink: Sink, deadline: float | None, count: int
) -> int:
    """Write at most ``count`` packets of a live capture until the deadline or a break; gives how many."""
    source, waker, longest, written = capture._source, capture._waker, _nap(capture), 0
    with suppress(CaptureClosedError):  # by another thread, between two steps
        while written < count:
            found = capture._await(lambda: source.pour(arena, count - written), deadline)  # noqa: B023
            if found is None:
                break
            turns = 0
            while found is not None:
                sink.write_records(*found)
                written, turns = written + found[1], turns + 1
                more = written < count and turns < _IN_A_ROW and not capture._broken
                found = source.pour(arena, count - written) if more else None
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                break
            if turns < _IN_A_ROW and written < count:
                waker.wait(-1, longest if deadline is None else min(longest, deadline - now))
    return written


def _nap(capture: Capture) -> float:
    """Seconds in which the kernel's buffer need not be looked at: 10 Gbit/s fill a quarter of it.

    To wake up for each of its blocks costs more than to write what is in them.
    """
    ring = platforms.current().ring_bytes(capture._fd) or 0
    return min(capture.longest_nap, ring / 4 / _BYTES_A_SECOND)
