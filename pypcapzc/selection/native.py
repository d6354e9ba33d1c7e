"""Conditions decided by the companion library (companion/csrc/classify.c): many packets in one call.

A condition that is made of this package's own ones becomes a tree of nodes.  One with ``where`` in it does
not: then its parts do, and numpy puts their answers together.
"""

from __future__ import annotations

from ctypes import Structure, addressof, c_uint32, c_void_p
from typing import Any, Protocol

from .. import companion, decode
from ..block import Block
from ..decode.fast import LINKS
from ..decode.numeric import np
from .hashing import AddressTable, Array, HashSet

BOTH, EITHER, NOT, HAS, PROTOCOL, ADDRESS, PORT, HEADS = range(8)
"""enum kind of csrc/classify.c."""
SRC, DST = 1, 2

_MAXIMUM_DEPTH = 100
"""Of a tree: csrc/classify.c calls itself for each level."""


class _Node(Structure):
    """struct node of csrc/classify.c."""

    _fields_ = (
        ("kind", c_uint32),
        ("bits", c_uint32),
        ("left", c_uint32),
        ("right", c_uint32),
        ("data", c_void_p),
    )


class AddressTables(Structure):
    """struct address_set: the tables of an AddressSet, which keeps them alive."""

    _fields_ = (("four", AddressTable), ("six", AddressTable))

    @classmethod
    def of(cls, four: HashSet | None, six: HashSet | None) -> AddressTables:
        """Either may be missing."""
        return cls(*(AddressTable(*table.layout()) if table else AddressTable() for table in (four, six)))


class NotNativeError(Exception):
    """This condition cannot be a tree of nodes."""


class Part(Protocol):
    """A condition that may become a part of a tree."""

    def into(self, tree: Tree) -> int:
        """Add it; gives the number of its node.  Raises NotNativeError."""


class Tree:
    """A condition's nodes; asked without the interpreter's lock."""

    def __init__(self, library: companion.Companion, condition: Part) -> None:
        """Raises NotNativeError."""
        self._library = library
        self._nodes: list[_Node] = []
        self._kept: list[Any] = []
        self._stateful: set[int] = set()
        self._depth = 0
        self._root = self.add(condition)
        self._array = (_Node * len(self._nodes))(*self._nodes)

    def add(self, condition: Part) -> int:
        """The number of its node.  Raises NotNativeError."""
        if self._depth == _MAXIMUM_DEPTH:
            raise NotNativeError
        self._depth += 1
        number = condition.into(self)
        self._depth -= 1
        return number

    def node(self, kind: int, *, bits: int = 0, left: int = 0, right: int = 0, data: Any = None) -> int:
        """``data`` is a numpy array or a ctypes structure; it is kept alive."""
        address = None
        if data is not None:
            self._kept.append(data)
            address = data.ctypes.data if isinstance(data, np.ndarray) else addressof(data)
        self._nodes.append(_Node(kind, bits, left, right, address))
        return len(self._nodes) - 1

    def only_once(self, data: Any) -> None:
        """``data`` counts the packets it is asked about: NotNativeError if it stands in the tree twice.

        A tree is asked about a few packets at a time, so the one place would not be asked about all packets
        before the other.
        """
        if id(data) in self._stateful:
            raise NotNativeError
        self._stateful.add(id(data))

    def ask_rows(self, rows: Array) -> Array:
        """The positions of the chosen ones among decoded packets."""
        positions = np.empty(rows.size, "i8")
        count = self._library.choose_rows(
            self._array, self._root, rows.ctypes.data, rows.size, companion.address(positions)
        )
        chosen: Array = positions[:count].copy()
        return chosen

    def ask(self, block: Block, datalink: int) -> Array:
        """The positions of the chosen ones among the packets of a block."""
        positions, ((base, length, index), keeper) = np.empty(len(block), "i8"), block.located()
        where = base, length, index, positions.size, LINKS[datalink], companion.address(positions)
        count = self._library.choose(self._array, self._root, *where)
        del keeper
        chosen: Array = positions[:count].copy()
        return chosen


def rows_of(found: Array) -> Array:
    """Decoded packets as they lie in C; fields that are missing are 0."""
    if found.dtype == decode.FIELDS:
        return np.ascontiguousarray(found)
    rows = np.zeros(found.shape, decode.FIELDS)
    for name in set(found.dtype.names or ()).intersection(decode.FIELDS.names or ()):
        rows[name] = found[name]
    return rows
