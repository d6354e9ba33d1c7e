"""Counters of a capture, in 64 bits although libpcap's have 32 and wrap."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Any

from . import platforms
from .errors import PcapError
from .handle import Handle, error_text, failure
from .libpcap import pcap_stat

_U32 = 1 << 32
_EVERY = 10.0
"""Seconds after which libpcap's counters are read again; at 100 million packets/s they wrap in 43."""


@dataclass(frozen=True)
class Stats:
    """64-bit counters since the capture was opened."""

    received: int
    dropped: int
    dropped_by_interface: int
    meanings: platforms.CounterMeanings
    """What each of them counts on this system."""


class Counters:
    """What pcap_stats() tells of one handle, added up."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._total = [0, 0, 0]
        self._last = (0, 0, 0)
        self._read_at = time.monotonic()

    @property
    def due(self) -> bool:
        """It is time to read them, before they can have wrapped twice."""
        return time.monotonic() > self._read_at + _EVERY

    def read(self) -> Stats:
        """Add what was counted since the last time.  CaptureClosedError on a closed handle."""
        self._add()
        return self.last()

    def settle(self) -> None:
        """After something that may have set libpcap's counters to 0, right after a read().

        Installing a filter does that on BPF (BIOCSETF in FreeBSD's bpf.c), unless libpcap is patched; so does
        choosing another link-layer type.  In that short time they cannot wrap: where one is smaller than
        before, all have begun anew.
        """
        self._add(anew=True)

    def restart(self) -> None:
        """Count from 0, as from here on.  CaptureClosedError on a closed handle."""
        self._add()
        self._total = [0, 0, 0]

    def last(self) -> Stats:
        """What was read last."""
        received, dropped, dropped_by_interface = self._total
        return Stats(received, dropped, dropped_by_interface, platforms.current().counters)

    def _add(self, anew: bool = False) -> None:
        c, raw = self._handle.c, pcap_stat()
        with self._handle.borrow() as pcap:
            status = c.pcap_stats(pcap, ctypes.byref(raw))
            if status < 0:
                raise self._failure(c, status, pcap)
            now = (raw.ps_recv, raw.ps_drop, raw.ps_ifdrop)
            if anew and any(new < old for new, old in zip(now, self._last, strict=True)):
                self._last = (0, 0, 0)
            self._total = [
                total + (new - old) % _U32
                for total, new, old in zip(self._total, now, self._last, strict=True)
            ]
            self._last = now
            self._read_at = time.monotonic()

    def _failure(self, c: Any, status: int, pcap: Any) -> PcapError:
        return failure(c, status, error_text(c, pcap), self._handle.name)
