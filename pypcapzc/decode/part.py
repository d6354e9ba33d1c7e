"""Some packets of a block on their way through the layers.

Each layer is decoded for all packets that have it by a handful of numpy calls.  Packets that go different
ways (IPv4 here, IPv6 there) are parted, and each part is worked on in arrays of its own, since writing every
field of a part through an index array takes several times as long as moving the part's results twice as
plain bytes (numpy's void type: 5 ns for 136 bytes; field by field, as it moves structured arrays, 300).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .layout import MALFORMED, PAYLOAD, TRUNCATED
from .numeric import np

Array = Any
"""A numpy array; mypy is told no more, as the structured ones have no useful type."""


def gather(data: Array, at: Array, dtype: Any) -> Array:
    """A copy of the ``dtype`` that begins at each of the positions ``at`` in the bytes ``data``.

    All of its bytes must be within ``data``; the caller has seen to that.
    """
    dtype = np.dtype(dtype)
    if at.size == 0:
        return np.empty(0, dtype)
    size = dtype.itemsize
    windows: Array = np.ndarray((data.size - size + 1,), f"V{size}", data, 0, (1,))
    return windows[at].view(dtype)


class Part:
    """Packets that are at the same layer.

    The arrays but ``out`` are replaced, never changed in place: parts share them.
    """

    __slots__ = ("at", "data", "depth", "end", "kind", "limit", "out", "start")

    def __init__(self, data: Array, start: Array, end: Array, out: Array) -> None:
        self.data = data
        self.start = start
        """Where the packets begin in ``data``."""
        self.end = end
        """Where their caplen bytes end."""
        self.out = out
        """Their results: contiguous, and written only here until they are moved to where they belong."""
        self.at = start
        """Where the next header begins."""
        self.limit = end
        """Where the bytes end that may belong to it: caplen, or less where a length field says so."""
        self.kind: Array = None
        """What the next header is: an ethertype, or a protocol number of IP."""
        self.depth = 0
        """How many VLAN tags or extension headers were passed."""

    def _chosen(self, places: Array) -> Part:
        raw = self.out.view(f"V{self.out.dtype.itemsize}")
        part = Part(self.data, self.start[places], self.end[places], raw[places].view(self.out.dtype))
        part.at, part.limit, part.depth = self.at[places], self.limit[places], self.depth
        if self.kind is not None:
            part.kind = self.kind[places]
        return part

    def _twin(self) -> Part:
        part = Part(self.data, self.start, self.end, self.out)
        part.at, part.limit, part.kind, part.depth = self.at, self.limit, self.kind, self.depth
        return part

    def within(self, mask: Array, decode: Callable[[Part], None]) -> None:
        """Let ``decode`` go on with the packets of ``mask``."""
        count = np.count_nonzero(mask)
        if not count:
            return
        if count == mask.size:
            decode(self._twin())
        else:
            places = np.flatnonzero(mask)
            part = self._chosen(places)
            decode(part)
            raw = f"V{self.out.dtype.itemsize}"
            self.out.view(raw)[places] = part.out.view(raw)

    def whole(self, size: int | Array, decode: Callable[[Part], None]) -> None:
        """Let ``decode`` go on with the packets in which ``size`` bytes are there; mark the others."""
        there = self.at + size <= self.limit
        if there.all():
            decode(self._twin())
        else:
            self.mark_short(~there)
            self.within(there, decode)

    def dispatch(self, decoders: Mapping[int, Callable[[Part], None]]) -> None:
        """Let the decoder of each packet's ``kind`` go on with it, where there is one."""
        first = int(self.kind[0])
        if (self.kind == first).all():  # as in many a capture: saves the numpy calls of all the others
            if first in decoders:
                decoders[first](self._twin())
            return
        for kind, decode in decoders.items():
            self.within(self.kind == kind, decode)

    def read(self, dtype: Any) -> Array:
        """The header at ``at``; see whole()."""
        return gather(self.data, self.at, dtype)

    def mark(self, bits: int) -> None:
        layers = self.out["layers"]
        layers |= np.uint32(bits)

    def mark_where(self, mask: Array, bits: int) -> None:
        if mask.any():
            self.out["layers"][mask] |= np.uint32(bits)

    def mark_short(self, mask: Array) -> None:
        """Headers that have no room: cut off at caplen, or by a length field that contradicts them."""
        if mask.any():
            cut = self.limit == self.end
            self.mark_where(mask & cut, TRUNCATED)
            self.mark_where(mask & ~cut, MALFORMED)

    def enter_payload(self, bits: int = 0) -> None:
        """What is at ``at`` follows the headers so far; mark them with ``bits``."""
        self.mark(PAYLOAD | bits)
        self.out["payload_offset"] = self.at - self.start
        self.out["payload_length"] = self.limit - self.at
