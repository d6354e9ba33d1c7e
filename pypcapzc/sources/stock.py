"""Copied batches: packets from a libpcap that lends nothing, or that was told not to.

A batch is one call of pcap_dispatch() whose callback is libpcap's own pcap_dump(), writing into memory: one
copy, made in C.  The memory is the block.
"""

from __future__ import annotations

import ctypes
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..block import Lease, exporter_type, rounded
from ..datalinks import DLT_EN10MB
from ..errors import PcapError
from ..handle import Handle, error_text
from ..libpcap import Library
from ..libpcap.cstdio import MemoryStream
from . import records
from .base import Pace, Source

BATCH_BYTES = 512 * 1024
"""A batch aims at this size: large enough that a call costs nothing, small enough for the cache."""
BATCH_PACKETS = 4096
_KEPT_ARENAS = 4


class Arena:
    """Memory that pcap_dump() writes a batch into, used again when it has come back."""

    def __init__(self, c: Library, pcap: Any) -> None:
        self.stream = MemoryStream()
        self.capacity = rounded(BATCH_BYTES)
        self.stream.extend(self.capacity)
        self.stream.rewind()
        self.dumper = c.pcap_dump_fopen(pcap, self.stream.file)
        unknown = not self.dumper  # a link-layer type newer than this libpcap, which reads it all the same
        if unknown:
            dead = c.pcap_open_dead_with_tstamp_precision(
                DLT_EN10MB, c.pcap_snapshot(pcap), c.pcap_get_tstamp_precision(pcap)
            )
            self.dumper = c.pcap_dump_fopen(dead, self.stream.file)
            c.pcap_close(dead)
        if not self.dumper:
            raise PcapError(f"packets cannot be taken in batches: {error_text(c, pcap)}")
        self.file_header = ctypes.string_at(self.stream.address, self.stream.flush())
        if unknown:
            self.file_header = self.file_header[:20] + struct.pack("=I", c.pcap_datalink(pcap) & 0xFFFFFFFF)

    def filled(self) -> int:
        """Size of what was written; makes ``capacity`` bytes of memory readable."""
        size = self.stream.flush()
        if size > self.capacity:
            self.capacity = rounded(size)
            self.stream.extend(self.capacity)
        return size


class Batch(Lease):
    """A filled arena."""

    lent = False

    def __init__(self, arena: Arena, nbytes: int, count: int, scale: int, free: deque[Arena]) -> None:
        self.arena, self.nbytes, self.count = arena, nbytes, count
        self.savefile_unit = self._scale = scale
        self._free = free
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
        if len(self._free) < _KEPT_ARENAS:
            self._free.append(self.arena)


class StockSource(Source):
    """Copied batches of one handle; ``scale`` is the nanoseconds in a unit of its time stamps' fractions."""

    lent = False

    def __init__(
        self, handle: Handle, *, scale: int, linger: float, live: bool, pace: Pace | None = None
    ) -> None:
        super().__init__(handle, linger=linger, live=live, pace=pace)
        self._at_hand = False
        self._scale = scale
        self._free: deque[Arena] = deque()
        self._batch_packets = 256
        self._dump = handle.c.pcap_dump  # the C function itself
        self._file_header = b""
        self.refresh()

    @property
    def file_header(self) -> bytes:
        return self._file_header

    def refresh(self) -> None:
        """Begin with new arenas: the link-layer type, which the header of a savefile tells, has changed."""
        with self._handle.borrow() as pcap:
            arena = Arena(self._c, pcap)
        self._file_header = arena.file_header
        self._free.clear()
        self._free.append(arena)

    @property
    def at_hand(self) -> bool:
        return self._at_hand

    def close(self) -> None:
        self._free.clear()

    def _take(self, limit: int) -> Batch | None:
        """One pcap_dispatch() into an arena."""
        with self._handle.borrow() as pcap:
            try:
                arena = self._free.pop()
            except IndexError:
                arena = Arena(self._c, pcap)
            arena.stream.rewind()
            wanted = min(limit, self._batch_packets)
            status = self._c.pcap_dispatch(pcap, wanted, self._dump, arena.dumper)
            self._at_hand = status == wanted
            size = arena.filled()
            self._note(status, pcap)
        if not size:
            self._free.append(arena)
            return None
        batch = Batch(arena, size, status, self._scale, self._free)
        if status < 0:  # libpcap counts nothing when it fails in mid-batch, and still delivered these
            batch.count = records.count(batch.memory())
        self._batch_packets = max(16, min(BATCH_PACKETS, BATCH_BYTES * batch.count // size))
        return batch

    def _note(self, status: int, pcap: Any) -> None:
        super()._note(status, pcap)
        if status == 0 and not self._live:
            self.exhausted = True
