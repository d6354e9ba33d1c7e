"""The place of a program in a capture: what was taken from libpcap and not yet handed out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice, starmap
from operator import length_hint
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from weakref import ref

from ..block import Block
from ..capture import Capture
from ..filters import compiled
from ..leases import RECORD, Copy
from ..libpcap import Library, bpf_program, library
from ..readiness import Readiness
from ..sources.base import Target
from . import opening

E = TypeVar("E", bound=tuple[Any, ...])
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Counting(Target[_T_co], Protocol[_T_co]):
    """A target that counts what goes by."""

    passed: int
    """How many packets are in what filled() gave last."""


class Part(NamedTuple):
    """Packets that count as handed out."""

    passed: int
    """So many were not for the program, and are gone."""
    block: Block | None
    start: int
    stop: int
    looked: bool
    """The sieve has looked at those."""


class Cursor(Generic[E]):
    """Hands out a capture's packets one by one, some at a time, or as ranges of blocks, in any mixture."""

    def __init__(self, capture: Capture, pairs: Callable[[Block, int], Iterator[E]]) -> None:
        """``pairs(block, start)``: what is handed out of each from ``start`` on, with a length_hint()."""
        self.capture = capture
        self.at_hand: Iterator[E] = iter(())
        """Packets as ``pairs`` gives them, each once, whoever asks; fill() puts more there."""
        self.singly = self.at_hand
        """The same, for who takes one at a time: a descriptor, where there is one, is told of the last."""
        self._pairs = pairs
        self._block: Block | None = None
        self._at = 0  # packets of the block before this were handed out, or are in at_hand
        self._lock = threading.RLock()
        self.readiness: Readiness | None = None
        """Made by fileno()."""
        self._taken = 0  # packets from libpcap
        opening.open_ones.add(self)

    @property
    def left(self) -> int:
        """Packets that fill() or take() would give without asking libpcap."""
        return self.in_pairs or (len(self._block) - self._at if self._block is not None else 0)

    @property
    def in_pairs(self) -> int:
        """Packets in ``at_hand``."""
        return length_hint(self.at_hand)

    def fill(self, timeout: float | None) -> bool:
        """Put packets into ``at_hand``; False where none came within ``timeout`` seconds, or ever will.

        Raises what Capture.next_block() raises.
        """
        with self._lock:
            block = self._fetch(timeout)
            if block is None:
                self.tell()
                return False
            if not self.in_pairs:
                start, self._at = self._at, len(block)
                self.at_hand = self._pairs(block, start)
                self._put_singly()
                self.tell()
            return True

    def hand_over(self, limit: int, callback: Callable[..., object], args: tuple[Any, ...] = ()) -> int:
        """Call ``callback(header, bytes, *args)`` for packets at hand, at most ``limit`` (0 or less: all).

        Gives how many.  An exception of the callback comes out at once, and the packets after it stay.
        """
        before, block = self.in_pairs, self._block
        count = min(before, limit) if limit > 0 else before
        pairs = islice(self.at_hand, count)
        try:
            if args:
                for header, data in pairs:
                    callback(header, data, *args)
            else:
                call_for_each(callback, pairs)
        finally:
            self._put_singly()
            self.tell()
        if self._block is block and before - self.in_pairs < count:
            raise StopIteration  # the callback did, which ends an iteration silently
        with self._lock:
            if self._block is block and not self.left:
                self._drop()  # not only when more is asked for: till then the kernel has it to fill
        return count

    def take(self, limit: int, timeout: float | None) -> tuple[Block, int, int] | None:
        """The next packets, at most ``limit``, as (block, start, stop): they count as handed out.

        None where fill() would give False.
        """
        with self._lock:
            block = self._fetch(timeout)
            if block is None:
                self.tell()
                return None
            start = self._at - self.in_pairs
            self._forget_pairs()
            self._at = min(start + limit, len(block))
            self.tell()
            return block, start, self._at

    def pour(self, target: Counting[_T], limit: int, timeout: float | None) -> _T | None:
        """Let packets go by: what becomes of them.  None where take() would give that."""
        with self._lock:
            self._drop()
            found = self.capture.pour(target, limit, timeout)
            if found is not None:
                self._taken += target.passed
            self.tell()
            return found

    def pours(self, copying: bool) -> bool:
        """pour() can be used now, and is the faster way; see Capture.pours()."""
        return not self.left and self.capture.pours(copying)

    def sift(self, sieve: int | None, limit: int) -> Part | None:
        """take(), waiting for ever, for a struct sieve, which goes over blocks until something is in one.

        None where take() would give that.
        """
        with self._lock:
            if self.left or sieve is None:
                taken = self.take(limit, None)
                return Part(0, *taken, looked=False) if taken else None
            self._drop()
            found = self.capture.sift(sieve, limit)
            if found is None:
                self.tell()
                return None
            passed, self._block, looked = found
            count = len(self._block) if self._block is not None else 0
            self._taken += passed + count
            self._at = count
            self.tell()
            return Part(passed, self._block, 0, count, looked)

    def give_back(self, count: int) -> None:
        """The last ``count`` packets of what take() gave were not handed out after all."""
        with self._lock:
            if self._block is not None and not self.in_pairs:
                self._at -= count
                self.tell()

    def refilter(self, expression: str, netmask: int) -> None:
        """Drop what does not pass a filter from what is at hand: the kernel had no chance to."""
        with self._lock:
            if self._block is None or not self.left:
                return
            c, block, start = library(), self._block, self._at - self.in_pairs
            dead = c.pcap_open_dead(self.capture.datalink, self.capture.snapshot)
            try:
                with compiled(c, dead, expression, netmask) as program:
                    passed = _matching(block, start, program, c)
            finally:
                c.pcap_close(dead)
            self._taken += len(passed) - self.left
            self._drop()
            self._block = passed
            self.tell()

    def fileno(self) -> int:
        """A descriptor that is readable where there are packets, be they at hand or still the kernel's.

        Raises PcapError where the capture has none.
        """
        if self.readiness is None:
            self.readiness = Readiness(self.capture.fileno())
            self._put_singly()
            self.tell()
        return self.readiness.fd

    def _put_singly(self) -> None:
        self.singly = self.at_hand
        if self.readiness is not None:
            self.singly = chain(
                islice(self.at_hand, max(self.in_pairs - 1, 0)), _last(self.at_hand, ref(self))
            )

    def emptied(self) -> None:
        """If no packets are at hand, the block goes back: the kernel's descriptor is readable till then.

        Another thread that is waiting for packets has seen to that, and is not waited for.
        """
        if self._lock.acquire(blocking=False):
            try:
                if not self.left:
                    self._drop()
                    self.tell()
            finally:
                self._lock.release()

    def tell(self) -> None:
        """Let the descriptor know whether packets are at hand; for who has taken some from ``at_hand``."""
        if self.readiness is not None:
            self.readiness.set(self.left > 0)

    def close(self) -> None:
        """Close the capture, which ends another thread's wait for it, and forget what is at hand."""
        was_closed = self.capture.closed
        self.capture.close()
        with self._lock:
            unread = self.left
            self._drop()
            readiness, self.readiness = self.readiness, None
        if readiness is not None:
            readiness.close()
        opening.open_ones.discard(self)
        if not was_closed:
            opening.settle(self.capture, self._taken - unread, unread)

    def _fetch(self, timeout: float | None) -> Block | None:
        """The block with packets that were not handed out."""
        if not self.left:
            self._drop()
            self._block = self.capture.next_block(timeout)
            if self._block is not None:
                self._taken += len(self._block)
        return self._block

    def _forget_pairs(self) -> None:
        """Whoever is in a loop over at_hand right now gets no more of it."""
        deque(self.at_hand, maxlen=0)

    def _drop(self) -> None:
        block, self._block, self._at = self._block, None, 0
        self._forget_pairs()
        if block is not None:
            block.retire()


def _last(pairs: Iterator[E], cursor: ref[Cursor[E]]) -> Iterator[E]:
    """All of ``pairs``, of which there is one: nothing is at hand when it is handed out."""
    for pair in pairs:
        found = cursor()
        if found is not None:
            found.emptied()
        yield pair


def call_for_each(callback: Callable[..., object], arguments: Iterator[tuple[Any, ...]]) -> None:
    """``callback(*each)`` for all of them, with no loop in Python."""
    deque(starmap(callback, arguments), maxlen=0)


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
