"""What pcapy-ng's next_batch() gives: the packets' bytes, one after the other, and a record of each."""

from __future__ import annotations

import struct

from .. import companion
from ..block import Block
from ..leases import RECORD, rounded
from ..libpcap import pcap_handler

_META = struct.Struct("=IIII")
_UNIT = 1000
"""Nanoseconds in a unit of a reader's times, which have microseconds."""
_BYTES = 1 << 20
"""What a call of pcap_dispatch(3PCAP) aims at where more is asked for: memory for it is kept."""


class Batches:
    """Packets that go by into memory of its own (csrc/arena.c), for one batch after the other.

    A target of Cursor.pour().
    """

    def __init__(self, fast: companion.Companion) -> None:
        self._fast = fast
        self._free = fast.arena_free  # kept here because __del__ may run when the module is already gone
        self.user = fast.arena_new(rounded(_BYTES // 4), 4096, _UNIT)
        if not self.user:
            raise MemoryError("no memory for a batch of packets")
        self.handler = pcap_handler(fast.collect)
        self.wanted = 4096
        """How many packets to ask for at a time."""
        self.passed = 0
        """How many are in the last batch."""

    def rewind(self) -> None:
        """Begin anew."""
        arena = self.user.contents
        arena.used = arena.count = 0

    def filled(self) -> tuple[bytes, bytes] | None:
        """What came since rewind(), or None.  Raises MemoryError."""
        arena = self.user.contents
        if arena.lost:
            lost, arena.lost = arena.lost, 0
            raise MemoryError(f"no memory for a batch of packets; {lost} packets are lost")
        self.passed = arena.count
        if not arena.count:
            return None
        self.wanted = max(64, _BYTES * arena.count // max(arena.used, 1))
        found: tuple[bytes, bytes] = self._fast.batch(arena.data, arena.used, arena.index, arena.count)
        return found

    def __del__(self) -> None:
        if user := getattr(self, "user", None):
            self._free(user)


def batch(block: Block, start: int, stop: int) -> tuple[bytes, bytes]:
    """The packets' bytes, one after the other, and (sec, usec, offset, caplen) of each as native u32."""
    fast = companion.current()
    if fast is not None:
        (base, length, records), keeper = block.located(start)
        found: tuple[bytes, bytes] = fast.batch(base, length, records, stop - start)
        del keeper
        return found
    data, meta, offset = b"".join(block.packets(start, stop)), bytearray(), 0
    for ts_ns, _, caplen, _, _ in RECORD.iter_unpack(block.index[start * RECORD.size : stop * RECORD.size]):
        us = ts_ns // 1000
        meta += _META.pack(us // 1_000_000 & 0xFFFFFFFF, us % 1_000_000, offset, caplen)
        offset += caplen
    return data, bytes(meta)
