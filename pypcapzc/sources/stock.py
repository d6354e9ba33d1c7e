"""Copied batches: packets from a libpcap that lends nothing, or that was told not to.

A batch is one call of pcap_dispatch() whose callback is C: the companion library's collector, or, where that
has not been built, libpcap's own pcap_dump(), writing into memory.  One copy either way; the memory is the
block.
"""

from __future__ import annotations

import ctypes
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from .. import companion
from ..companion import Companion
from ..datalinks import DLT_EN10MB
from ..errors import PcapError
from ..handle import Handle, error_text
from ..leases import RECORD, Lease, exporter_type, rounded
from ..libpcap import Library, pcap_handler
from ..libpcap.cstdio import MemoryStream
from . import records
from .base import Pace, Source

BATCH_BYTES = 512 * 1024
"""A batch aims at this size: large enough that a call costs nothing, small enough for the cache."""
BATCH_PACKETS = 4096
_KEPT_ARENAS = 4


class Arena(ABC):
    """Memory for a batch, used again when it has come back."""

    handler: Any
    """The C function that is pcap_dispatch()'s callback."""
    user: Any
    """Its first argument."""

    @abstractmethod
    def rewind(self) -> None:
        """Begin a batch."""

    @abstractmethod
    def filled(self, status: int, shelf: Shelf) -> Lease | None:
        """The batch, which goes back to ``shelf``; None where it is empty.

        ``status`` is what pcap_dispatch() returned.
        """


class Shelf:
    """The arenas of a source, those that are out included.

    It keeps hold of these because the garbage collector may find a block in a cycle: it would finalize the
    arena too, which frees the memory, and the block's end would still put it back here, to be used again.
    """

    def __init__(self) -> None:
        self.free: deque[Arena] = deque()
        self._out: set[Arena] = set()

    def take(self) -> Arena | None:
        """One that is free."""
        with suppress(IndexError):  # several threads may give back meanwhile
            return self.free.pop()
        return None

    def lend(self, arena: Arena) -> None:
        """It has packets, and is out until it is put back."""
        self._out.add(arena)

    def put_back(self, arena: Arena) -> None:
        """It may be used again."""
        if len(self.free) < _KEPT_ARENAS:
            self.free.append(arena)
        self._out.discard(arena)


class CollectedArena(Arena):
    """Memory that the companion library collects packets into, with their index (csrc/arena.c)."""

    def __init__(self, fast: Companion, unit: int) -> None:
        self._free = fast.arena_free  # kept here because __del__ may run when the module is already gone
        self.user = fast.arena_new(rounded(BATCH_BYTES), BATCH_PACKETS, unit)
        if not self.user:
            raise MemoryError("no memory for a batch of packets")
        self.handler, self.fast = pcap_handler(fast.collect), fast

    def rewind(self) -> None:
        arena = self.user.contents
        arena.used = arena.count = arena.lost = 0

    def collected(self) -> companion.Arena:
        """What came since rewind().  Raises MemoryError where some of it found no room."""
        arena: companion.Arena = self.user.contents
        if arena.lost:
            raise MemoryError(f"no memory for a batch of packets; {arena.lost} are lost")
        return arena

    def filled(self, status: int, shelf: Shelf) -> Lease | None:
        return Collected(self, shelf) if self.collected().count else None

    def __del__(self) -> None:
        if user := getattr(self, "user", None):
            self._free(user)


class Collected(Lease):
    """Packets in an arena with their index."""

    lent = False

    def __init__(self, arena: CollectedArena, shelf: Shelf) -> None:
        self.arena, self._shelf = arena, shelf
        memory = arena.user.contents
        self._data, self._size, self._index = memory.data, memory.size, memory.index
        self.nbytes, self.count = memory.used, memory.count

    def export(self) -> Any:
        exporter = exporter_type(self._size).from_address(self._data)
        exporter.arena = self.arena  # the memory lives as long as its views, whatever becomes of the source
        return exporter

    def index(self, keeper: Any) -> memoryview:
        size = self.count * RECORD.size
        exporter = exporter_type(rounded(size)).from_address(self._index)
        exporter.keeper = keeper if keeper is not None else self.arena
        return memoryview(exporter).cast("B")[:size]

    def located(self, exporter: Any) -> tuple[int, Any]:
        return self._index, exporter

    def give_back(self) -> None:
        self._shelf.put_back(self.arena)


def _dumper(c: Library, pcap: Any, file: int) -> tuple[Any, bool]:
    """A pcap_dumper_t that writes to a stream; whether its link-layer type is a stand-in.

    So it is where this libpcap has no number in savefiles for the type of a file that it reads all the same.
    """
    dumper = c.pcap_dump_fopen(pcap, file)
    if dumper:
        return dumper, False
    dead = c.pcap_open_dead_with_tstamp_precision(
        DLT_EN10MB, c.pcap_snapshot(pcap), c.pcap_get_tstamp_precision(pcap)
    )
    dumper = c.pcap_dump_fopen(dead, file)
    c.pcap_close(dead)
    if not dumper:
        raise PcapError(f"packets cannot be taken in batches: {error_text(c, pcap)}")
    return dumper, True


def file_header(c: Library, pcap: Any) -> bytes:
    """What libpcap begins a savefile of a handle's packets with."""
    stream = MemoryStream()
    _, unknown = _dumper(c, pcap, stream.file)
    size = stream.flush()
    header = ctypes.string_at(stream.address, size)
    return header[:20] + struct.pack("=I", c.pcap_datalink(pcap) & 0xFFFFFFFF) if unknown else header


class DumpedArena(Arena):
    """Memory that pcap_dump() writes savefile records into."""

    def __init__(self, c: Library, pcap: Any, scale: int) -> None:
        self.stream = MemoryStream()
        self.capacity = rounded(BATCH_BYTES)
        self.stream.extend(self.capacity)
        self.stream.rewind()
        self.handler = c.pcap_dump
        self.user, _ = _dumper(c, pcap, self.stream.file)
        self.stream.flush()
        self._scale = scale

    def rewind(self) -> None:
        self.stream.rewind()

    def filled(self, status: int, shelf: Shelf) -> Lease | None:
        size = self.stream.flush()
        if size > self.capacity:
            self.capacity = rounded(size)
            self.stream.extend(self.capacity)
        if not size:
            return None
        batch = Dumped(self, size, status, self._scale, shelf)
        if status < 0:  # libpcap counts nothing when it fails in mid-batch, and still delivered these
            batch.count = records.count(batch.memory())
        return batch


class Dumped(Lease):
    """Savefile records in an arena."""

    lent = False

    def __init__(self, arena: DumpedArena, nbytes: int, count: int, scale: int, shelf: Shelf) -> None:
        self.arena, self.nbytes, self.count = arena, nbytes, count
        self.savefile_unit = self._scale = scale
        self._shelf = shelf
        self._index: memoryview | None = None

    @property
    def packet_bytes(self) -> int:
        return self.nbytes - self.count * records.HEADER.size

    def export(self) -> Any:
        exporter = exporter_type(self.arena.capacity).from_address(self.arena.stream.address)
        exporter.arena = self.arena  # the memory lives as long as its views, whatever becomes of the source
        return exporter

    def index(self, keeper: Any) -> memoryview:
        if self._index is None:
            self._index = records.index(self.memory(), self.count, self._scale)
        return self._index

    def memory(self) -> memoryview:
        """The source's own short look at the memory, which does not count as a view of the block."""
        memory = (ctypes.c_ubyte * self.arena.capacity).from_address(self.arena.stream.address)
        return memoryview(memory).cast("B")[: self.nbytes]

    def packets(self) -> Iterable[tuple[int, bytes]]:
        copied = ctypes.string_at(self.arena.stream.address, self.nbytes)
        return records.packets(copied, self.count, self._scale)

    def give_back(self) -> None:
        self._shelf.put_back(self.arena)


class StockSource(Source):
    """Copied batches of one handle; ``scale`` is the nanoseconds in a unit of its time stamps' fractions."""

    lent = False

    def __init__(
        self, handle: Handle, *, scale: int, linger: float, live: bool, pace: Pace | None = None
    ) -> None:
        super().__init__(handle, linger=linger, live=live, pace=pace)
        self._at_hand = False
        self._scale = scale
        self._shelf = Shelf()
        self._batch_packets = 256
        self._file_header = b""
        self.refresh()

    @property
    def file_header(self) -> bytes:
        return self._file_header

    def refresh(self) -> None:
        """Begin with new arenas: the link-layer type, which the header of a savefile tells, has changed."""
        with self._handle.borrow() as pcap:
            self._file_header = file_header(self._c, pcap)
            self._shelf.free.clear()
            self._shelf.free.append(self._new_arena(pcap))

    def _new_arena(self, pcap: Any) -> Arena:
        fast = companion.current()
        if fast is not None:
            return CollectedArena(fast, self._scale)
        return DumpedArena(self._c, pcap, self._scale)

    @property
    def at_hand(self) -> bool:
        return self._at_hand

    def close(self) -> None:
        self._shelf.free.clear()

    def _take(self, limit: int) -> Lease | None:
        """One pcap_dispatch() into an arena."""
        with self._handle.borrow() as pcap:
            arena = self._shelf.take() or self._new_arena(pcap)
            arena.rewind()
            wanted = min(limit, self._batch_packets)
            status = self._c.pcap_dispatch(pcap, wanted, arena.handler, arena.user)
            self._at_hand = status == wanted
            batch = arena.filled(status, self._shelf)
            self._note(status, pcap)
        if batch is None:
            self._shelf.put_back(arena)
            return None
        self._shelf.lend(arena)
        self._batch_packets = max(16, min(BATCH_PACKETS, BATCH_BYTES * batch.count // max(batch.nbytes, 1)))
        return batch

    def _note(self, status: int, pcap: Any) -> None:
        super()._note(status, pcap)
        if status == 0 and not self._live:
            self.exhausted = True
