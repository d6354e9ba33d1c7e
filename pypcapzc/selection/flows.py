"""The first packets of each flow."""

from __future__ import annotations

import secrets
from ctypes import Structure, c_uint32, c_uint64, c_void_p

from .. import companion
from ..decode.numeric import np
from . import native
from .conditions import Native
from .hashing import Array, Hash

_WAYS = 8
_COLUMNS = ("a", "b", "seen", "packets")
_ROW = 16  # of u8: struct flow_row of csrc/classify.c


class FlowHeads(Native):
    """The first ``packets`` packets of each flow, over all blocks that it is asked about.

    A flow is what has the same IP version, protocol, addresses and ports, in both directions unless
    ``directed``.  Where there are no ports (ICMP, later fragments) they count as 0; what is not IP belongs to
    no flow and is not chosen.  Flows are told apart by hashes with keys of this process: of 64 bits by the
    companion library, of 128 by numpy.

    Memory is bounded: room for ``flows`` flows (rounded up to 8 times a power of two), 16 bytes each with the
    companion library, 32 without.  Each flow has eight places where it may be; when all are taken, the flow
    of the eight that was asked about least recently is forgotten (``forgotten`` counts these), and begins
    anew when it comes back.  Without the companion library "recently" is by calls, mostly blocks; of more
    than eight new flows of one call that share their places, the later ones are then forgotten at once.

    Not for several threads at a time.
    """

    def __init__(self, packets: int, *, flows: int = 1 << 16, directed: bool = False) -> None:
        if packets < 1 or flows < 1:
            raise ValueError("packets and flows are at least 1")
        rows = 1 << max(0, (-(-flows // _WAYS) - 1).bit_length())
        self.capacity = rows * _WAYS
        """For how many flows there is room."""
        self._table: _FlowTable | _Flows
        if companion.current() is not None and packets < 1 << 32:
            self._table = _FlowTable.of(rows, packets, directed)
        else:
            self._table = _Flows(rows, packets, directed)

    @property
    def forgotten(self) -> int:
        """How many flows were."""
        return int(self._table.forgotten)

    def by_numpy(self, found: Array) -> Array:
        if not isinstance(self._table, _Flows):
            raise RuntimeError("these flows were counted by the companion library, which is gone")
        chosen = np.zeros(found.size, bool)
        places: Array = np.flatnonzero(found["ip_version"])
        if places.size:
            some = slice(None) if places.size == found.size else places
            chosen[places] = self._table.count(found, some)
        return chosen

    def into(self, tree: native.Tree) -> int:
        if not isinstance(self._table, _FlowTable):
            raise native.NotNativeError
        tree.only_once(self._table)
        return tree.node(native.HEADS, data=self._table)


class _FlowTable(Structure):
    """struct flow_table of csrc/classify.c."""

    _fields_ = (
        ("rows", c_void_p),
        ("shift", c_uint64),
        ("secret", c_uint64 * 2),
        ("forgotten", c_uint64),
        ("limit", c_uint32),
        ("directed", c_uint32),
        ("now", c_uint32),
        ("unused", c_uint32),
    )

    memory: Array

    @classmethod
    def of(cls, rows: int, packets: int, directed: bool) -> _FlowTable:
        """Room for 8 flows a row."""
        # A row is two cache lines, and the allocator aligns to less.
        memory = np.zeros((rows + 1) * _ROW, "u8")
        begin = -memory.ctypes.data % (_ROW * 8) + memory.ctypes.data
        secret = (c_uint64 * 2)(secrets.randbits(64), secrets.randbits(64))
        table = cls(begin, 64 - rows.bit_length(), secret, 0, packets, directed)
        table.memory = memory
        return table


def _grouped(keys: Array) -> Array:
    """An order in which equal keys stand together, each group in the order that it had.

    Sorting plain numbers takes a fraction of what np.lexsort takes: the upper bits of one half of the key,
    with the position below.  Where different keys have those bits in common, once in 2**40 or so, it has to
    be lexsort.
    """
    low = np.uint64((1 << int(keys.size).bit_length()) - 1)
    order: Array = (np.sort(keys["a"] & ~low | np.arange(keys.size, dtype="u8")) & low).astype("i8")
    a, b = keys["a"][order], keys["b"][order]
    alike = (a[1:] & ~low) == (a[:-1] & ~low)
    if (alike & ((a[1:] != a[:-1]) | (b[1:] != b[:-1]))).any():
        return np.lexsort((keys["b"], keys["a"]))
    return order


class _Flows:
    """The same with numpy: columns of ``rows`` rows of eight."""

    def __init__(self, rows: int, packets: int, directed: bool) -> None:
        self._packets, self._directed = packets, directed
        # A row of a column is a cache line of 64 bytes.
        self._slots = {name: np.zeros((rows, _WAYS), "u8") for name in _COLUMNS}
        self._shift = np.uint64(64 - rows.bit_length())
        self._calls = 0
        self._end = (Hash(), Hash())
        self._flow = (Hash(), Hash())
        self.forgotten = 0

    def _keys(self, found: Array, places: Array) -> Array:
        """The flow of each packet, as two numbers."""
        kind = found["ip_version"][places].astype("u8") << np.uint64(8) | found["protocol"][places]
        ends = [[found[f"{side}_{part}"][places] for part in ("hi", "lo", "port")] for side in ("src", "dst")]
        keys = np.empty(kind.size, [("a", "u8"), ("b", "u8")])
        for name, end, flow in zip("ab", self._end, self._flow, strict=True):
            one, other = end(ends[0]), end(ends[1])
            if not self._directed:
                one, other = np.minimum(one, other), np.maximum(one, other)
            keys[name] = flow([one, other, kind]) | np.uint64(1)  # 0 is a free place
        return keys

    def count(self, found: Array, places: Array) -> Array:
        """Which packets, in order, are among the first of their flow; their flows are remembered."""
        self._calls += 1
        keys = self._keys(found, places)
        order = _grouped(keys)
        a, b = keys["a"][order], keys["b"][order]
        fresh = np.ones(order.size, bool)
        fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        begins = np.flatnonzero(fresh)
        lengths = np.diff(begins, append=order.size)
        before = self._look_up(a[begins], b[begins], lengths, order[begins])
        rank = np.arange(order.size) - np.repeat(begins, lengths)
        chosen = np.empty(order.size, bool)
        chosen[order] = np.repeat(before, lengths) + rank < self._packets
        return chosen

    def _look_up(self, a: Array, b: Array, lengths: Array, first: Array) -> Array:
        """How many packets each flow had before; ``lengths`` are added, and new flows entered.

        ``first`` is where in this call a flow's first packet is: new flows are entered in that order.
        """
        slots = self._slots
        # The upper bits: flows come sorted by them, so rows are visited in the order of memory.
        row = (a >> np.uint64(1) >> self._shift).astype("i8")
        same = slots["a"][row] == a[:, None]
        way = same.argmax(axis=1)
        # Two flows with one ``a`` and one row may hide each other, once in 2**64.
        is_known = same[np.arange(a.size), way] & (slots["b"][row, way] == b)
        known = np.flatnonzero(is_known)
        way = way[known]
        before = np.zeros(a.size, "u8")
        at = row[known], way
        before[known] = slots["packets"][at]
        # A count stays at the limit, where it says all that matters.
        slots["packets"][at] = np.minimum(before[known] + lengths[known].astype("u8"), self._packets)
        slots["seen"][at] = self._calls
        new = np.flatnonzero(~is_known)
        if new.size:
            new = new[np.argsort(first[new], kind="stable")]
            self._enter(row[new], a[new], b[new], lengths[new])
        return before.astype("i8")

    def _enter(self, row: Array, a: Array, b: Array, lengths: Array) -> None:
        order = np.argsort(row, kind="stable")
        row, a, b, lengths = row[order], a[order], b[order], lengths[order]
        begins = np.flatnonzero(np.diff(row, prepend=-1))
        turn = np.arange(row.size) - np.repeat(begins, np.diff(begins, append=row.size))
        room = turn < _WAYS
        self.forgotten += int(np.count_nonzero(~room))
        row, turn = row[room], turn[room]
        oldest = np.argsort(self._slots["seen"][row], axis=1, kind="stable")
        at = row, oldest[np.arange(row.size), turn]
        self.forgotten += int(np.count_nonzero(self._slots["a"][at]))
        for name, values in (("a", a), ("b", b), ("packets", np.minimum(lengths, self._packets))):
            self._slots[name][at] = values[room]
        self._slots["seen"][at] = self._calls
