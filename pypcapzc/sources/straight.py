"""Packets on their way straight into a savefile: C puts their records into memory, and no block is made."""

from __future__ import annotations

from typing import Any

from ..companion import Companion
from ..leases import exporter_type
from ..libpcap import pcap_handler

_BYTES = 128 * 1024
"""What a call aims at: few calls, and still in the cache when the kernel copies them into the file."""
_PACKETS = 4096


class RecordsArena:
    """Memory that the companion library fills with savefile records (csrc/savefile.c), over and over."""

    def __init__(self, fast: Companion, unit: int) -> None:
        """``unit``: the nanoseconds in a unit of the handle's time stamps, which goes into the records."""
        self._free = fast.arena_free
        self.user = fast.arena_new(2 * _BYTES, 1, unit)
        if not self.user:
            raise MemoryError("no memory for savefile records")
        self.handler = pcap_handler(fast.savefile_collect)
        self._arena = self.user.contents
        self._memory = memoryview(b"")
        self._place: tuple[int, int] | None = None
        self.wanted = 256
        """How many packets to ask for at a time."""

    def rewind(self) -> None:
        """Begin anew."""
        self._arena.used = self._arena.count = 0

    def filled(self) -> tuple[memoryview, int] | None:
        """The records since rewind() and their number, or None.  Raises MemoryError."""
        arena: Any = self._arena
        if arena.lost:
            lost, arena.lost = arena.lost, 0
            raise MemoryError(f"no memory for savefile records; {lost} packets are lost")
        count, used = arena.count, arena.used
        if not count:
            return None
        place = arena.data, arena.size
        if place != self._place:  # it has grown
            self._place = place
            self._memory = memoryview(exporter_type(arena.size).from_address(arena.data)).cast("B")
        self.wanted = max(16, min(_PACKETS, _BYTES * count // used))
        return self._memory[:used], count

    def __del__(self) -> None:
        if user := getattr(self, "user", None):
            self._free(user)
