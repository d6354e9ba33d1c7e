"""What pcapy-ng's loop_filtered() and loop_to_buffer() let pass, counted by class."""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Iterator
from operator import length_hint
from typing import Any

from .. import companion
from ..block import Block
from ..companion import Stamp
from ..libpcap import pcap_handler
from .cursor import Counting
from .pcapy_classes import Rules

_CLASSES = 6
_NO_MEMORY = "no memory for the packets of a block"

Admitted = Iterator[tuple[Any, bytes, int]]
"""(header, bytes, class) of each; length_hint() knows how many are left."""


def sieve(rules: Rules, admit_mask: int, header: type[bytes], buffer: memoryview | None = None) -> Sieve:
    """A sieve for classes whose bits are in ``admit_mask``.

    ``header`` is the class of headers, as Block.pairs_with_records() takes it.  With a ``buffer`` admitted
    packets are written there, one after the other, as loop_to_buffer() does.
    """
    fast = companion.current()
    if fast is None:
        return Sieve(rules, admit_mask, header, buffer)
    return NativeSieve(fast, rules, admit_mask, header, buffer)


class Sieve:
    """Looks at one range of packets after the other, in Python."""

    native: int | None = None
    """The address of a struct sieve (companion/csrc/profiles.c)."""

    def __init__(
        self, rules: Rules, admit_mask: int, header: type[bytes], buffer: memoryview | None = None
    ) -> None:
        self._rules, self.mask, self._header = rules, admit_mask & 0xFFFFFFFF, header
        self._buffer = buffer
        self._used = self._overflow = 0
        self._of_each = [0] * _CLASSES
        self._classes = b""  # of the range that it looked at last
        self._positions: list[int] = []  # in it, of those admitted

    @property
    def copies(self) -> bool:
        """It has a buffer for the packets."""
        return self._buffer is not None

    @property
    def target(self) -> Counting[int] | None:
        """Where nobody has to be told of packets, they can go by: it counts them."""
        return None

    def look(self, block: Block, start: int, stop: int) -> int:
        """Look at packets ``start`` to ``stop``; gives how many of them admitted() has."""
        packets = block.packets(start, stop)
        classes = self._classes = bytes(map(self._rules.class_of, packets))
        self._of_each = [count + classes.count(kind) for kind, count in enumerate(self._of_each)]
        self._positions = [at for at, kind in enumerate(classes) if self.mask >> kind & 1]
        if self._buffer is None:
            return len(self._positions)
        for at in self._positions:
            self._write(packets[at], self._rules.base + classes[at])
        return 0

    def _write(self, packet: bytes, kind: int) -> None:
        """u32 caplen (little-endian), u8 class, the bytes; where there is no room, a smaller one may fit."""
        assert self._buffer is not None
        end = self._used + 5 + len(packet)
        if end > self._buffer.nbytes:
            self._overflow += 1
            return
        self._buffer[self._used : end] = struct.pack("<IB", len(packet), kind) + packet
        self._used = end

    def admitted(self, block: Block, start: int) -> Admitted:
        """Those of the packets from ``start`` on that it looked at."""
        pairs = list(block.pairs_with_records(self._header, start, start + len(self._classes)))
        base = self._rules.base
        return iter([(*pairs[at], base + self._classes[at]) for at in self._positions])

    def undo(self, left: Admitted) -> int:
        """The program ends while ``left`` of admitted() are to come: what is after the last is unseen.

        Gives how many there are.
        """
        seen = self._at(length_hint(left)) + 1
        unseen = self._last()[seen:]
        for kind in set(unseen):
            self._forget(kind, unseen.count(kind))
        return len(unseen)

    def _at(self, left: int) -> int:
        return self._positions[-1 - left]

    def _last(self) -> bytes:
        return self._classes

    def _forget(self, kind: int, count: int) -> None:
        self._of_each[kind] -= count

    @property
    def counts(self) -> tuple[int, ...]:
        """(admitted, dropped, packets of each class)."""
        of_each = tuple(self._of_each)[: self._rules.classes]
        admitted = sum(count for kind, count in enumerate(of_each) if self.mask >> kind & 1)
        return (admitted, sum(of_each) - admitted, *of_each)

    @property
    def written(self) -> tuple[int, int]:
        """(packets that found no room in the buffer, bytes used of it)."""
        return self._overflow, self._used


class _Native(ctypes.Structure):
    """struct sieve of companion/csrc/profiles.c."""

    _fields_ = (
        ("profile", ctypes.c_void_p),
        ("buffer", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("overflow", ctypes.c_uint64),
        ("counts", ctypes.c_uint64 * _CLASSES),
        ("mask", ctypes.c_uint32),
        ("class_base", ctypes.c_uint32),
        ("room", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("admitted", ctypes.c_uint32),
        ("failed", ctypes.c_uint32),
        ("left", ctypes.c_uint64),
        ("records", ctypes.c_void_p),
        ("positions", ctypes.c_void_p),
        ("kinds", ctypes.c_void_p),
        ("classes", ctypes.c_void_p),
    )


class NativeSieve(Sieve):
    """The same in C."""

    def __init__(
        self,
        fast: companion.Companion,
        rules: Rules,
        admit_mask: int,
        header: type[bytes],
        buffer: memoryview | None = None,
    ) -> None:
        super().__init__(rules, admit_mask, header, buffer)
        self._fast = fast
        self._target: _Target | None = None
        self._struct = made = _Native(rules.native(fast), mask=self.mask, class_base=rules.base)
        if buffer is not None:
            # One that is empty has no address, and without one the sieve would tell of packets.
            made.buffer, made.size = companion.address(buffer) or ctypes.addressof(made), buffer.nbytes
        self._of_each = made.counts
        self.native = ctypes.addressof(made)
        if buffer is None:  # else there is nothing to free
            weakref.finalize(self, _free, fast, made).atexit = False

    @property
    def target(self) -> Counting[int] | None:
        if self._target is None and (self._buffer is not None or not self.mask & self._rules.possible):
            self._target = _Target(self._fast, self._struct)
        return self._target

    def look(self, block: Block, start: int, stop: int) -> int:
        (base, length, records), keeper = block.located(start)
        found: int = self._fast.sieve(self.native, base, length, records, stop - start)
        del keeper
        if found < 0:
            raise MemoryError(_NO_MEMORY)
        return found

    def admitted(self, block: Block, start: int) -> Admitted:
        (base, length, _), keeper = block.located()
        sieve = self._struct
        memory = base, length, sieve.records
        return self._fast.iterate(
            *(Stamp.RECORD, memory, sieve.admitted, (keeper, self)), record=self._header, kinds=sieve.kinds
        )

    def _at(self, left: int) -> int:
        sieve = self._struct
        positions = (ctypes.c_uint32 * sieve.admitted).from_address(sieve.positions)
        return int(positions[sieve.admitted - 1 - left])

    def _last(self) -> bytes:
        return ctypes.string_at(self._struct.classes, self._struct.count)

    @property
    def written(self) -> tuple[int, int]:
        return self._struct.overflow, self._struct.used


class _Target:
    """Packets that go by a sieve with a buffer."""

    wanted = 1 << 15  # a millisecond

    def __init__(self, fast: companion.Companion, sieve: _Native) -> None:
        self.handler, self.user, self._sieve = pcap_handler(fast.sieve_packet), ctypes.byref(sieve), sieve
        self.passed = 0

    def rewind(self) -> None:
        self._sieve.count = 0

    def filled(self) -> int | None:
        self.passed = self._sieve.count
        return self.passed or None


def _free(fast: companion.Companion, made: _Native) -> None:
    fast.sieve_free(ctypes.byref(made))
