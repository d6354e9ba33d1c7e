"""Waiting: when a capture asks its source for packets, and what it sleeps on until then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from .counters import Counters
from .errors import CaptureClosedError, PcapError
from .handle import Handle
from .sources.base import Source
from .waker import Waker

_T = TypeVar("_T")
_UNPOLLABLE = 0.01
"""Seconds between two looks at a device that has no descriptor to wait for."""
_UNREADABLE = 0.015
"""The same where BPF's descriptor is readable and there is nothing to be had."""


class Waiting:
    """The waits of one capture, that a break, a close, or a deadline ends.

    ``fd`` tells of packets, -1 of none; ``counters`` (of a live capture) are read in time before they wrap.
    """

    def __init__(
        self, handle: Handle, source: Source, waker: Waker, fd: int, counters: Counters | None
    ) -> None:
        self._handle, self._source, self._waker = handle, source, waker
        self._fd, self._counters = fd, counters
        self.broken = False
        """Somebody called interrupt(), and no wait has ended of it yet."""

    def interrupt(self) -> None:
        """End the wait that goes on, or else the next one; from any thread or a signal handler."""
        self.broken = True
        self._waker.wake()

    def nap(self, seconds: float) -> None:
        """Look at nothing for so long; an interrupt() ends it."""
        self._waker.wait(-1, seconds)

    def close(self) -> None:
        """Nobody waits any more."""
        self._waker.close()

    def require_open(self) -> None:
        """Raise CaptureClosedError after close(), and in a forked child."""
        if self._handle.closed:
            raise CaptureClosedError(f"the capture of {self._handle.name} is closed")

    def patience(self) -> float | None:
        """Seconds after which who waits for ``fd`` himself has to look all the same; None: he need not."""
        return self._patience(None, time.monotonic(), False)

    def until(self, attempt: Callable[[], _T | None], deadline: float | None) -> _T | None:
        """What ``attempt`` gives as soon as it gives something; None at the deadline, the end, or a break.

        A close() in another thread ends it like a break; on a capture that was closed before, it raises.
        """
        self.require_open()
        source = self._source
        try:
            if self._counters is not None and self._counters.due:
                with contextlib.suppress(PcapError):
                    self._counters.read()
            ask, ready = self._is_time_to_ask(deadline), False
            while not self.broken:
                if ask:
                    found = attempt()
                    if found is not None or source.exhausted:
                        return found
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    return None
                left = None if deadline is None else deadline - now
                # A descriptor stays ready while the block that was filled last is lent (packet_poll() in
                # Linux's af_packet.c, bpf_ready() in FreeBSD's bpf.c), and for ever when the interface is
                # gone; that would keep this loop spinning.
                # So does FreeBSD's after a stall (see patches/freebsd-src): from one timeout to the next.
                fruitless = ready and source.pace is not None
                fd = -1 if source.held or source.failing or fruitless else self._fd
                ready = self._waker.wait(fd, self._patience(left, now, fruitless))
                ask = ready or fruitless or self._is_time_to_ask(deadline, waited=True)
        except CaptureClosedError:
            pass
        self.broken = False
        self._waker.clear()
        return None

    def _is_time_to_ask(self, deadline: float | None, waited: bool = False) -> bool:
        """Whether to ask libpcap without being told by the descriptor that there is something; see Pace."""
        source, pace = self._source, self._source.pace
        if pace is None or self._fd < 0 or source.at_hand or source.failing or source.held:
            return True
        now = time.monotonic()
        if pace.due(now):
            return True
        if deadline is not None and now >= deadline and (waited or not pace.seconds):
            return True
        return not waited and self._waker.wait(self._fd, 0)

    def _patience(self, left: float | None, now: float, fruitless: bool) -> float | None:
        """Seconds to wait for the descriptor before looking again."""
        if self._fd < 0 or self._source.failing or self._source.held or fruitless:
            limits = [_UNPOLLABLE if self._source.pace is None else _UNREADABLE, left]
        else:
            pace = self._source.pace
            own = pace.patience(now) if pace is not None else None
            limits = [left, own if own is not None else self._required_timeout()]
        return min((limit for limit in limits if limit is not None), default=None)

    def _required_timeout(self) -> float | None:
        """pcap_get_required_select_timeout(3PCAP), libpcap 1.9: some devices need to be looked at again."""
        c = self._handle.c
        if not c.has("pcap_get_required_select_timeout"):
            return _UNPOLLABLE
        with self._handle.borrow() as pcap:
            required = c.pcap_get_required_select_timeout(pcap)
            if not required:
                return None
            wanted: float = required.contents.tv_sec + required.contents.tv_usec / 1e6
            return max(wanted, _UNPOLLABLE)
