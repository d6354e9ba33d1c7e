"""Copied batches: packets from a libpcap that lends nothing, or that was told not to.

A batch is one call of pcap_dispatch() whose callback is libpcap's own pcap_dump(), writing into memory: one
copy, made in C.  The memory is the block.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..block import Block, Lease, exporter_type, rounded
from ..constants import PCAP_ERROR_BREAK
from ..datalinks import DLT_EN10MB
from ..errors import DeviceGoneError, PcapError
from ..handle import Handle, error_text, failure
from ..libpcap import Library
from ..libpcap.cstdio import MemoryStream
from . import records

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
    savefile_format = True

    def __init__(self, arena: Arena, nbytes: int, count: int, scale: int, free: deque[Arena]) -> None:
        self.arena, self.nbytes, self.count = arena, nbytes, count
        self._scale, self._free = scale, free
        self._index: memoryview | None = None

    @property
    def packet_bytes(self) -> int:
        return self.nbytes - self.count * records.HEADER.size

    def export(self) -> Any:
        exporter = exporter_type(self.arena.capacity).from_address(self.arena.stream.address)
        exporter.arena = self.arena  # the memory lives as long as its views, whatever becomes of the source
        return exporter

    def index(self) -> memoryview:
        if self._index is None:
            self._index = records.index(self.memory(), self.count, self._scale)
        return self._index

    def memory(self) -> memoryview:
        """The source's own short look at the memory, which does not count as a view of the block."""
        memory = (ctypes.c_ubyte * self.arena.capacity).from_address(self.arena.stream.address)
        return memoryview(memory).cast("B")[: self.nbytes]

    def packets(self) -> Iterable[tuple[int, bytes]]:
        """(ts_ns, bytes) of each packet."""
        copied = ctypes.string_at(self.arena.stream.address, self.nbytes)
        return records.packets(copied, self.count, self._scale)

    def give_back(self) -> None:
        if len(self._free) < _KEPT_ARENAS:
            self._free.append(self.arena)


class StockSource:
    """Copied batches of one handle.

    ``linger`` is how many seconds after the interface went away packets may still turn up: the kernel hands
    over a partly filled buffer only when its timeout has passed.
    """

    lent = False

    def __init__(self, handle: Handle, *, scale: int, linger: float, live: bool) -> None:
        self._handle, self._scale, self._linger, self._live = handle, scale, linger, live
        self._free: deque[Arena] = deque()
        self._batch_packets = 256
        self._failure: PcapError | None = None
        self._failed_at = 0.0
        self.exhausted = False
        self.filtered = False  # a filter was installed, now or before
        self._c = handle.c
        self._dump = handle.c.pcap_dump  # the C function itself
        self.file_header = b""
        self.refresh()

    def refresh(self) -> None:
        """Begin with new arenas: the link-layer type, which the header of a savefile tells, has changed."""
        with self._handle.borrow() as pcap:
            arena = Arena(self._c, pcap)
        self.file_header = arena.file_header
        self._free.clear()
        self._free.append(arena)

    def close(self) -> None:
        """Let go of what is not libpcap's; blocks that are out keep their memory."""
        self._free.clear()

    @property
    def failing(self) -> bool:
        """The interface is gone; what it delivered is still being handed out."""
        return self._failure is not None

    def next_block(self, limit: int) -> Block | None:
        """A block of at most ``limit`` packets, or None where there is nothing now (or ``exhausted``)."""
        batch = self._fill(limit)
        return Block(batch) if batch else None

    def next_packets(self, limit: int) -> Iterable[tuple[int, bytes]] | None:
        """The same as (ts_ns, bytes) of each packet."""
        batch = self._fill(limit)
        if batch is None:
            return None
        found = batch.packets()
        batch.give_back()
        return found

    def _fill(self, limit: int) -> Batch | None:
        """One pcap_dispatch() into an arena.  Raises what libpcap reports, after all packets before it."""
        if self.exhausted:
            return None
        if self._failure is not None and not self._lingering():
            raise self._failure
        with self._handle.borrow() as pcap:
            try:
                arena = self._free.pop()
            except IndexError:
                arena = Arena(self._c, pcap)
            arena.stream.rewind()
            status = self._c.pcap_dispatch(pcap, min(limit, self._batch_packets), self._dump, arena.dumper)
            size = arena.filled()
            self._note(status, pcap)
        if not size:
            self._free.append(arena)
            if self._failure is not None and not self._lingering():
                raise self._failure
            return None
        batch = Batch(arena, size, status, self._scale, self._free)
        if status < 0:  # libpcap counts nothing when it fails in mid-batch, and still delivered these
            batch.count = records.count(batch.memory())
        self._batch_packets = max(16, min(BATCH_PACKETS, BATCH_BYTES * batch.count // size))
        return batch

    def _note(self, status: int, pcap: Any) -> None:
        """Remember the end of the file, and failures, for when the packets before them are out."""
        if status < 0 and status != PCAP_ERROR_BREAK:
            if self._failure is None:
                self._failure = failure(self._c, status, error_text(self._c, pcap), self._handle.name)
                self._failed_at = time.monotonic()
        elif status == 0 and not self._live:
            self.exhausted = True

    def _lingering(self) -> bool:
        gone = isinstance(self._failure, DeviceGoneError)
        return gone and time.monotonic() < self._failed_at + self._linger
