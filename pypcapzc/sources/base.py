"""What all sources of blocks have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from .. import companion
from ..block import Block
from ..constants import PCAP_ERROR_BREAK, PCAP_TSTAMP_PRECISION_MICRO
from ..errors import DeviceGoneError, PcapError, SavefileError
from ..handle import Handle, error_text, failure
from ..leases import Lease
from ..libpcap import Library
from .straight import RecordsArena


class Pace:
    """When to ask a kernel that hands over whatever it has, were it one packet, to who does not wait.

    BPF does that (bpfread() and BIOCROTZBUF in FreeBSD's bpf.c).  Who asked all the time would be given every
    packet by itself; so one asks when the descriptor is readable, and for the rest once in ``seconds``, which
    is what the kernel may keep a partly filled buffer (libpcap's timeout).  0 seconds: until it is full.

    The kernel's own timeout makes the descriptor readable too; but any ioctl, of another thread say, makes it
    start anew, so it is not enough.
    """

    SLACK = 0.015
    """Seconds that are added to a wait, so that the kernel's timeout comes first: that costs no call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._emptied = -float("inf")
        self.stopped = False
        """The kernel takes no more packets: there is nothing to wait for."""

    def due(self, now: float) -> bool:
        """Time to ask although the descriptor is not readable."""
        return self.stopped or (self.seconds > 0 and now >= self._emptied + self.seconds)

    def emptied(self, now: float) -> None:
        """The kernel was asked at that time, and gave all that it had."""
        self._emptied = now

    def patience(self, now: float) -> float | None:
        """Seconds until it is due, and a bit more; None where it never is."""
        return max(self._emptied + self.seconds - now, 0) + self.SLACK if self.seconds > 0 else None


_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Sifted(NamedTuple):
    """What Source.sift() has found."""

    passed: int
    """Packets of blocks that were given back because the sieve had nothing in them for the program."""
    block: Block | None
    looked: bool
    """The sieve has looked at this block."""


class Target(Protocol[_T_co]):
    """A C function that pcap_dispatch(3PCAP) calls, and what becomes of packets there."""

    handler: Any
    user: Any
    """Its first argument."""
    wanted: int
    """How many packets to ask for at a time."""

    def rewind(self) -> None:
        """Begin anew."""

    def filled(self) -> _T_co | None:
        """What came since, or None."""


class Source(ABC):
    """Hands out the packets of one handle, and what went wrong only after the last of them.

    ``linger`` is how many seconds after the interface went away packets may still turn up: the kernel hands
    over a partly filled buffer only when its timeout has passed.
    """

    lent: bool
    """True: blocks are the capture buffer's own memory."""

    def __init__(self, handle: Handle, *, linger: float, live: bool, pace: Pace | None = None) -> None:
        self._handle, self._linger, self._live = handle, linger, live
        self.pace = pace
        self._c = handle.c
        self._failure: PcapError | None = None
        self._failed_at = 0.0
        self.exhausted = False
        self.filtered = False
        """A filter was installed, now or before."""
        companion.current()  # to load it takes a millisecond, for which the first packets need not wait

    @abstractmethod
    def _take(self, limit: int) -> Lease | None:
        """At most ``limit`` packets without waiting, or None; what libpcap reports goes to _note()."""

    @property
    @abstractmethod
    def file_header(self) -> bytes:
        """What libpcap begins a savefile of these packets with."""

    @property
    def failing(self) -> bool:
        """The interface is gone; what it delivered is still being handed out."""
        return self._failure is not None

    @property
    def held(self) -> int:
        """Lent blocks that have not come back."""
        return 0

    @property
    def at_hand(self) -> bool:
        """Packets were taken from the kernel already, and no descriptor tells of them."""
        return False

    def refresh(self) -> None:  # noqa: B027 - most have nothing to do
        """The link-layer type has changed."""

    def close(self) -> None:  # noqa: B027
        """Let go of what is not libpcap's; blocks that are out keep their memory."""

    def next_block(self, limit: int) -> Block | None:
        """A block of at most ``limit`` packets, or None where there is nothing now (or ``exhausted``)."""
        lease = self._next(limit)
        return Block(lease) if lease is not None else None

    def sift(self, sieve: int, limit: int) -> Sifted | None:
        """A block of at most ``limit`` packets as of next_block(), for a struct sieve (csrc/profiles.c).

        Where that can be done, blocks in which the sieve finds nothing are given back at once, in C; they
        count for ``limit``.
        """
        block = self.next_block(limit)
        return Sifted(0, block, False) if block is not None else None

    def next_packets(self, limit: int) -> Iterator[tuple[int, bytes]] | None:
        """The same as (ts_ns, bytes) of each packet."""
        lease = self._next(limit)
        if lease is None:
            return None
        block = Block(lease)
        try:
            return block.pairs()
        finally:
            block.retire()  # it goes back when the last of them is made

    def records_arena(self, unit: int | None) -> RecordsArena | None:
        """Memory for pour(), or None where that cannot be had.

        ``unit`` is the nanoseconds in a unit of the file's fractions; None: it takes no records.
        """
        fast = companion.current()
        if fast is None or unit is None or self.pace is not None or self.at_hand:
            return None
        with self._handle.borrow() as pcap:
            same = nanoseconds_per_unit(self._c, pcap) == unit
        return RecordsArena(fast, unit) if same else None

    def pour(self, target: Target[_T], limit: int) -> _T | None:
        """Let at most ``limit`` packets go by, with no block in between, and give what becomes of them.

        None: there are none now.  Not where ``paced``, or where packets are ``at_hand``.
        """
        if self.exhausted:
            return None
        self._raise_failure()
        with self._handle.borrow() as pcap:
            target.rewind()
            status = self._c.pcap_dispatch(pcap, min(limit, target.wanted), target.handler, target.user)
            found = target.filled()
            self._note(status, pcap)
        if found is None:
            self._raise_failure()
        return found

    def _next(self, limit: int) -> Lease | None:
        if self.exhausted:
            return None
        self._raise_failure()
        asked = time.monotonic()
        lease = self._take(limit)
        if self.pace is not None and (lease is None or self._was_partial(lease)):
            self.pace.emptied(asked)
        if lease is None:
            self._raise_failure()
        return lease

    def _was_partial(self, lease: Lease) -> bool:
        """The kernel handed over a buffer before it was full, so that there is nothing in the next one."""
        return not self.at_hand

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        gone = isinstance(self._failure, DeviceGoneError)
        if not gone or time.monotonic() >= self._failed_at + self._linger:
            raise self._failure.with_traceback(None)

    def _note(self, status: int, pcap: Any) -> None:
        """Remember a failure, for when the packets before it are out."""
        if status < 0 and status != PCAP_ERROR_BREAK and self._failure is None:
            error = failure(self._c, status, error_text(self._c, pcap), self._handle.name)
            if not self._live:
                error = SavefileError(f"{error}; all packets before this were read", status)
            self._failure = error
            self._failed_at = time.monotonic()


def nanoseconds_per_unit(c: Library, pcap: Any) -> int:
    """What one unit of the fraction in a time stamp of this handle is (pcap_get_tstamp_precision(3PCAP))."""
    if not c.has("pcap_get_tstamp_precision"):
        return 1000
    return 1000 if c.pcap_get_tstamp_precision(pcap) == PCAP_TSTAMP_PRECISION_MICRO else 1
