"""The place of a program in a capture: what was taken from libpcap and not yet handed out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ..block import RECORD, Block, Copy
from ..capture import Capture
from ..filters import compiled
from ..libpcap import Library, bpf_program, library

H = TypeVar("H")


class Cursor(Generic[H]):
    """Hands out a capture's packets one by one, some at a time, or as ranges of blocks, in any mixture.

    A block goes back when its last packet was handed out.  Until then the capture's descriptor stays
    readable, as it does with libpcap, so that a program which waits for it with select() loses nothing.
    """

    def __init__(self, capture: Capture, headers: Callable[[Block, int], Iterable[H]]) -> None:
        """``headers(block, start)`` makes what goes with the bytes of each packet from ``start`` on."""
        self.capture = capture
        self.at_hand: deque[tuple[H, bytes]] = deque()
        """Packets with their headers, for who takes them with popleft(); fill() puts them there."""
        self._headers = headers
        self._block: Block | None = None
        self._at = 0  # packets of the block before this were handed out, or are in at_hand
        self._lock = threading.RLock()

    @property
    def left(self) -> int:
        """Packets that fill() or take() would give without asking libpcap."""
        return len(self.at_hand) or (len(self._block) - self._at if self._block is not None else 0)

    def fill(self, timeout: float | None) -> bool:
        """Put packets into ``at_hand``; False where none came within ``timeout`` seconds, or ever will.

        Raises what Capture.next_block() raises.
        """
        with self._lock:
            block = self._fetch(timeout)
            if block is None:
                return False
            if not self.at_hand:
                start, self._at = self._at, len(block)
                pairs = zip(self._headers(block, start), block.packets(start), strict=True)
                self.at_hand.extend(pairs)
            return True

    def take(self, limit: int, timeout: float | None) -> tuple[Block, int, int] | None:
        """The next packets, at most ``limit``, as (block, start, stop): they count as handed out.

        None where fill() would give False.
        """
        with self._lock:
            block = self._fetch(timeout)
            if block is None:
                return None
            start = self._at - len(self.at_hand)
            self.at_hand.clear()
            self._at = min(start + limit, len(block))
            return block, start, self._at

    def give_back(self, count: int) -> None:
        """The last ``count`` packets of what take() gave were not handed out after all."""
        with self._lock:
            if self._block is not None and not self.at_hand:
                self._at -= count

    def refilter(self, expression: str, netmask: int) -> None:
        """Drop what does not pass a filter from what is at hand: the kernel had no chance to."""
        with self._lock:
            if self._block is None or not self.left:
                return
            c, block, start = library(), self._block, self._at - len(self.at_hand)
            dead = c.pcap_open_dead(self.capture.datalink, self.capture.snapshot)
            try:
                with compiled(c, dead, expression, netmask) as program:
                    passed = _matching(block, start, program, c)
            finally:
                c.pcap_close(dead)
            self._drop()
            self._block = passed

    def close(self) -> None:
        """Forget what is at hand, and close the capture."""
        with self._lock:
            self._drop()
        self.capture.close()

    def _fetch(self, timeout: float | None) -> Block | None:
        """The block with packets that were not handed out."""
        if not self.left:
            self._drop()
            self._block = self.capture.next_block(timeout)
        return self._block

    def _drop(self) -> None:
        block, self._block, self._at = self._block, None, 0
        self.at_hand.clear()
        if block is not None:
            block.retire()


def _matching(block: Block, start: int, program: bpf_program, c: Library) -> Block:
    """A copy of the packets from ``start`` on that a filter lets pass (bpf_filter() in libpcap)."""
    records = bytearray()
    data = bytes(block.data)
    for place in range(start * RECORD.size, len(block) * RECORD.size, RECORD.size):
        record = block.index[place : place + RECORD.size]
        _, offset, caplen, wirelen, _ = RECORD.unpack(record)
        if c.bpf_filter(program.bf_insns, data[offset : offset + caplen], wirelen, caplen):
            records += record
    return Block(Copy(memoryview(data), memoryview(records)))
