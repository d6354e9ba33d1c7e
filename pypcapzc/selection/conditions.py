"""Conditions on decoded packets, and their combinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from .. import companion, datalinks, decode
from ..block import Block
from ..decode.numeric import np
from . import native
from .addresses import Address, AddressSet
from .hashing import Array


class Condition(ABC):
    """What packets are to be chosen; combined by ``&``, ``|`` and ``~``.

    As with Python's ``and`` and ``or`` the right side of ``&`` is asked only about packets that the left side
    took, and that of ``|`` only about those that it did not.  That matters for FlowHeads, which counts the
    packets that it is asked about.
    """

    @abstractmethod
    def mask(self, found: Array) -> Array:
        """Which elements of ``found`` (see decode.fields) are chosen: one bool each."""

    def indices(self, found: Array) -> Array:
        """The positions of the chosen packets, ascending."""
        return np.flatnonzero(self.mask(found))

    def choose(self, block: Block, datalink: int = datalinks.DLT_EN10MB) -> Array:
        """The positions of the chosen packets of a block, ascending.

        The same as ``indices(decode.fields(block, datalink))``, and quicker where the fields are wanted for
        nothing else: the companion library then keeps them for no longer than it takes to decide.
        """
        return self.indices(decode.fields(block, datalink))

    def into(self, tree: native.Tree) -> int:
        """Add this condition to a tree for the companion library; gives the number of its node.

        Raises NotNativeError, and then ``mask`` is asked.
        """
        raise native.NotNativeError

    def __and__(self, other: Condition) -> Condition:
        return _Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)


class Native(Condition):
    """A condition that the companion library decides where it is there (see native), else numpy."""

    _made: tuple[companion.Companion, native.Tree | None] | None = None

    @abstractmethod
    def by_numpy(self, found: Array) -> Array:
        """The mask without the companion library."""

    def _tree(self) -> native.Tree | None:
        library = companion.current()
        if library is None:
            return None
        if self._made is None or self._made[0] is not library:
            try:
                self._made = library, native.Tree(library, self)
            except native.NotNativeError:
                self._made = library, None
        return self._made[1]

    def mask(self, found: Array) -> Array:
        tree = self._tree()
        if tree is None:
            return self.by_numpy(found)
        chosen = np.zeros(found.size, bool)
        chosen[tree.ask_rows(native.rows_of(found))] = True
        return chosen

    def indices(self, found: Array) -> Array:
        tree = self._tree()
        return super().indices(found) if tree is None else tree.ask_rows(native.rows_of(found))

    def choose(self, block: Block, datalink: int = datalinks.DLT_EN10MB) -> Array:
        tree = self._tree()
        if tree is None:
            return super().choose(block, datalink)
        decode.check_datalink(datalink)
        return tree.ask(block, datalink)


class _Both(Native):
    def __init__(self, left: Condition, right: Condition) -> None:
        self._left, self._right = left, right

    def by_numpy(self, found: Array) -> Array:
        chosen = self._left.mask(found)
        return _asked_of(self._right, found, chosen, chosen)

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.BOTH, left=tree.add(self._left), right=tree.add(self._right))


class _Either(Native):
    def __init__(self, left: Condition, right: Condition) -> None:
        self._left, self._right = left, right

    def by_numpy(self, found: Array) -> Array:
        chosen = self._left.mask(found)
        return _asked_of(self._right, found, chosen, ~chosen)

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.EITHER, left=tree.add(self._left), right=tree.add(self._right))


class _Not(Native):
    def __init__(self, inner: Condition) -> None:
        self._inner = inner

    def by_numpy(self, found: Array) -> Array:
        return ~self._inner.mask(found)

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.NOT, left=tree.add(self._inner))


def _asked_of(condition: Condition, found: Array, chosen: Array, asked: Array) -> Array:
    """``chosen`` with the answers of the condition in the places ``asked``."""
    if asked.all():
        return condition.mask(found)
    result = chosen.copy()
    places = np.flatnonzero(asked)
    if places.size:
        raw = np.ascontiguousarray(found).view(f"V{found.dtype.itemsize}")
        result[places] = condition.mask(raw[places].view(found.dtype))
    return result


class where(Condition):  # noqa: N801 - reads as a word in an expression, like the functions below
    """A condition of your own: a function of decoded packets that gives one bool each.

    ``where(lambda found: found["ip_ttl"] < 5)``
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def mask(self, found: Array) -> Array:
        given = np.array(self._function(found), dtype=bool)
        if given.shape != found.shape:
            raise ValueError(f"{found.size} packets need one bool each, not an array of shape {given.shape}")
        return given


class _Has(Native):
    def __init__(self, layers: int) -> None:
        self._layers = int(np.uint32(layers))

    def by_numpy(self, found: Array) -> Array:
        return found["layers"] & np.uint32(self._layers) == self._layers

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.HAS, bits=self._layers)


class _Protocol(Native):
    def __init__(self, table: Array) -> None:
        self._table = table

    def by_numpy(self, found: Array) -> Array:
        return self._table[found["protocol"]] & (found["ip_version"] != 0)

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.PROTOCOL, data=self._table)


_SIDES = {native.SRC: "src", native.DST: "dst"}


class _Addresses(Native):
    def __init__(self, members: AddressSet, sides: int) -> None:
        self._members, self._sides = members, sides

    def by_numpy(self, found: Array) -> Array:
        return _either(
            self._members.holds(found, name) for side, name in _SIDES.items() if side & self._sides
        )

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.ADDRESS, bits=self._sides, data=self._members.tables)


class _Ports(Native):
    def __init__(self, table: Array, sides: int) -> None:
        self._table, self._sides = table, sides

    def by_numpy(self, found: Array) -> Array:
        names = [name for side, name in _SIDES.items() if side & self._sides]
        there = found["layers"] & np.uint32(decode.PORTS) != 0
        return there & _either(self._table[found[f"{name}_port"]] for name in names)

    def into(self, tree: native.Tree) -> int:
        return tree.node(native.PORT, bits=self._sides, data=self._table)


def _either(masks: Iterable[Array]) -> Array:
    return np.logical_or.reduce(list(masks))


def has(layers: int) -> Condition:
    """All of these bits of ``decode`` are set: ``has(decode.IPV4 | decode.TCP)``."""
    return _Has(layers)


def protocol(*numbers: int) -> Condition:
    """IP carries one of these protocols, by number."""
    return _Protocol(_table(numbers, 256))


def _set(addresses: Iterable[Address] | AddressSet | Any) -> AddressSet:
    return addresses if isinstance(addresses, AddressSet) else AddressSet(addresses)


def src(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """The source address is one of these."""
    return _Addresses(_set(addresses), native.SRC)


def dst(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """The destination address is one of these."""
    return _Addresses(_set(addresses), native.DST)


def host(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """Source or destination address is one of these."""
    return _Addresses(_set(addresses), native.SRC | native.DST)


def _table(values: Iterable[int | range], size: int) -> Array:
    """A bool for each number below ``size``."""
    table = np.zeros(size, bool)
    for value in values:
        for number in value if isinstance(value, range) else (value,):
            if not 0 <= number < size:
                raise ValueError(f"{number} is not between 0 and {size - 1}")
            table[number] = True
    return table


def src_port(*ports: int | range) -> Condition:
    """The source port of TCP, UDP or SCTP is one of these: ``src_port(53, range(1024, 2048))``."""
    return _Ports(_table(ports, 65536), native.SRC)


def dst_port(*ports: int | range) -> Condition:
    """The destination port of TCP, UDP or SCTP is one of these."""
    return _Ports(_table(ports, 65536), native.DST)


def port(*ports: int | range) -> Condition:
    """The source or destination port of TCP, UDP or SCTP is one of these."""
    return _Ports(_table(ports, 65536), native.SRC | native.DST)
