"""The place of a program in a capture: what was taken from libpcap and not yet handed out."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from ..block import RECORD, Block, Copy
from ..capture import Capture
from ..filters import compiled
from ..libpcap import Library, bpf_program, library

H = TypeVar("H")


class Cursor(Generic[H]):
    """Hands out a capture's packets one by one, some at a time, or as ranges of blocks, in any mixture."""

    def __init__(self, capture: Capture, headers: Callable[[Block, int], Iterable[H]]) -> None:
        """``headers(block, start)`` makes what goes with the bytes of each packet from ``start`` on."""
        self.capture = capture
        self.at_hand: deque[tuple[H, bytes]] = deque()
        """Packets with their headers, for who takes them with popleft(); fill() puts them there."""
        self._headers = headers
        self._block: Block | None = None
        self._at = 0  # packets of the block before this were handed out, or are in at_hand
        self._lock = threading.RLock()
        self._readiness: Readiness | None = None

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
                self.tell()
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
            self.tell()
            return block, start, self._at

    def give_back(self, count: int) -> None:
        """The last ``count`` packets of what take() gave were not handed out after all."""
        with self._lock:
            if self._block is not None and not self.at_hand:
                self._at -= count
                self.tell()

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
            self.tell()

    def fileno(self) -> int:
        """A descriptor that is readable where there are packets, be they at hand or still the kernel's.

        Raises PcapError where the capture has none.
        """
        if self._readiness is None:
            self._readiness = Readiness(self.capture.fileno())
            self.tell()
        return self._readiness.fd

    def tell(self) -> None:
        """Let the descriptor know whether packets are at hand; for who has taken some from ``at_hand``."""
        if self._readiness is not None:
            self._readiness.set(self.left > 0)

    def close(self) -> None:
        """Forget what is at hand, and close the capture."""
        with self._lock:
            self._drop()
            readiness, self._readiness = self._readiness, None
        if readiness is not None:
            readiness.close()
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


class Readiness:
    """A descriptor that is readable when another one is, or as long as it was told so."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.pipe()
        self._set = False
        if sys.platform.startswith("linux"):
            self._poller: Any = select.epoll()
            for each in (fd, self._pipe[0]):
                self._poller.register(each, select.EPOLLIN)
        else:
            self._poller = select.kqueue()
            self._poller.control([select.kevent(each) for each in (fd, self._pipe[0])], 0)
        self.fd: int = self._poller.fileno()

    def set(self, ready: bool) -> None:
        """Readable until it is told otherwise, or only with the other descriptor."""
        if ready != self._set:
            self._set = ready
            if ready:
                os.write(self._pipe[1], b"x")
            else:
                os.read(self._pipe[0], 1)

    def close(self) -> None:
        """Close what is not the other descriptor."""
        self._poller.close()
        for each in self._pipe:
            os.close(each)
