"""Conditions on decoded packets, and their combinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from .. import decode
from ..decode.numeric import np
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

    def __and__(self, other: Condition) -> Condition:
        return _Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Either(self, other)

    def __invert__(self) -> Condition:
        return _Not(self)


class _Both(Condition):
    def __init__(self, left: Condition, right: Condition) -> None:
        self._left, self._right = left, right

    def mask(self, found: Array) -> Array:
        chosen = self._left.mask(found)
        return _asked_of(self._right, found, chosen, chosen)


class _Either(Condition):
    def __init__(self, left: Condition, right: Condition) -> None:
        self._left, self._right = left, right

    def mask(self, found: Array) -> Array:
        chosen = self._left.mask(found)
        return _asked_of(self._right, found, chosen, ~chosen)


class _Not(Condition):
    def __init__(self, inner: Condition) -> None:
        self._inner = inner

    def mask(self, found: Array) -> Array:
        return ~self._inner.mask(found)


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


def has(layers: int) -> Condition:
    """All of these bits of ``decode`` are set: ``has(decode.IPV4 | decode.TCP)``."""
    return where(lambda found: found["layers"] & np.uint32(layers) == layers)


def protocol(*numbers: int) -> Condition:
    """IP carries one of these protocols, by number."""
    table = _table(numbers, 256)
    return has(decode.ADDRESSES) & where(lambda found: table[found["protocol"]] & (found["ip_version"] != 0))


def _set(addresses: Iterable[Address] | AddressSet | Any) -> AddressSet:
    return addresses if isinstance(addresses, AddressSet) else AddressSet(addresses)


def src(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """The source address is one of these."""
    members = _set(addresses)
    return where(lambda found: members.holds(found, "src"))


def dst(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """The destination address is one of these."""
    members = _set(addresses)
    return where(lambda found: members.holds(found, "dst"))


def host(addresses: Iterable[Address] | AddressSet | Any) -> Condition:
    """Source or destination address is one of these."""
    members = _set(addresses)
    return src(members) | dst(members)


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
    table = _table(ports, 65536)
    return has(decode.PORTS) & where(lambda found: table[found["src_port"]])


def dst_port(*ports: int | range) -> Condition:
    """The destination port of TCP, UDP or SCTP is one of these."""
    table = _table(ports, 65536)
    return has(decode.PORTS) & where(lambda found: table[found["dst_port"]])


def port(*ports: int | range) -> Condition:
    """The source or destination port of TCP, UDP or SCTP is one of these."""
    table = _table(ports, 65536)
    return has(decode.PORTS) & where(lambda found: table[found["src_port"]] | table[found["dst_port"]])
