"""What pcapy-ng's next_batch() gives: the packets' bytes, one after the other, and a record of each."""

from __future__ import annotations

import struct

from .. import companion
from ..block import Block
from ..leases import RECORD
from ..sources.stock import BATCH_PACKETS, CollectedArena

_META = struct.Struct("=IIII")
_UNIT = 1000
"""Nanoseconds in a unit of a reader's times, which have microseconds."""
_BYTES = 1 << 20
"""What a call of pcap_dispatch(3PCAP) aims at where more is asked for: memory for it is kept."""


class Batches:
    """Packets that go by into memory of its own, for one batch after the other: a target of Cursor.pour()."""

    def __init__(self, fast: companion.Companion) -> None:
        self._fast, self._arena = fast, CollectedArena(fast, _UNIT)
        self.handler, self.user = self._arena.handler, self._arena.user
        self.wanted = BATCH_PACKETS
        """How many packets to ask for at a time."""
        self.passed = 0
        """How many are in the last batch."""

    def rewind(self) -> None:
        """Begin anew."""
        self._arena.rewind()

    def filled(self) -> tuple[bytes, bytes] | None:
        """What came since rewind(), or None.  Raises MemoryError."""
        memory = self._arena.collected()
        self.passed = memory.count
        if not memory.count:
            return None
        self.wanted = max(64, _BYTES * memory.count // max(memory.used, 1))
        found: tuple[bytes, bytes] = self._fast.batch(memory.data, memory.used, memory.index, memory.count)
        return found


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
