"""The exact end of a capture: what the kernel has taken after capture.stop()."""

from __future__ import annotations

import time
from collections.abc import Iterator

from . import platforms
from .block import Block
from .capture import Capture

_PATIENCE = 4
"""Times ``timeout_ms`` without a packet after which packets that the kernel counted are given up."""


def remaining(capture: Capture, taken: int, timeout_ms: int) -> Iterator[Block]:
    """The blocks that a stopped capture still has; ``taken`` packets were read before.

    It ends when all are out that the kernel counted, or when none comes any more: a partly filled buffer
    comes when its ``timeout_ms`` has passed.  Each step takes the block before back.
    """
    counts_before_filter = platforms.current().counts_before_filter
    patience = max(timeout_ms, 100) / 1000
    give_up, empty = time.monotonic() + _PATIENCE * patience, 0
    while time.monotonic() < give_up:
        stats = capture.stats()
        if not counts_before_filter and stats.received - stats.dropped <= taken:
            return
        block = capture.next_block(patience)
        if block is None:
            empty += 1
            if counts_before_filter and empty == 2:
                return  # BPF hands over all that it has; an interrupt may leave one break
            continue
        empty, taken = 0, taken + len(block)
        try:
            yield block
        finally:
            block.retire()
        give_up = time.monotonic() + _PATIENCE * patience
