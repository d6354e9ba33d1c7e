"""Hash tables and hashes over whole columns of numbers at once.

The keys of a hash are drawn anew in each process, so that nobody can send packets made to collide.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from ctypes import Structure, byref, c_uint64, c_void_p
from typing import Any

from .. import companion
from ..decode.numeric import np

Array = Any


class Hash:
    """A hash of several columns to 64 bits."""

    def __init__(self) -> None:
        self._start, self._factor = (np.uint64(secrets.randbits(64) | 1) for _ in range(2))

    @property
    def key(self) -> tuple[int, int]:
        """What it was drawn with."""
        return int(self._start), int(self._factor)

    def __call__(self, columns: Sequence[Array]) -> Array:
        found: Array = np.full(columns[0].shape, self._start)
        for column in columns:
            found ^= column.astype("u8")
            found *= self._factor
            found ^= found >> np.uint64(29)
            found *= self._factor
            found ^= found >> np.uint64(32)
        return found


class HashSet:
    """A set of keys of one or more columns of numbers, at most a quarter full; lookups take whole columns.

    A place that is all 0 is free, so the key of zeros is kept apart.  csrc/classify.c reads the same table.
    """

    def __init__(self, columns: Sequence[Array]) -> None:
        zero = np.logical_and.reduce([column == 0 for column in columns])
        self._has_zero = bool(zero.any())
        keys = [column[~zero] for column in columns] if self._has_zero else list(columns)
        size = 1 << max(4, (4 * keys[0].size - 1).bit_length())
        self._mask = size - 1
        self._places = np.zeros((size, len(columns)), columns[0].dtype)
        self._hash = Hash()
        library = companion.current()
        if library is None:
            self._enter(keys)
        else:
            self._enter_by(library, keys)

    def _enter(self, keys: list[Array]) -> None:
        at = self._hash(keys).astype("i8") & self._mask
        while keys[0].size:
            free = self._are(at, [0] * len(keys))
            # Where several keys want one place, the last gets all of it.
            self._places[at[free]] = np.stack([key[free] for key in keys], axis=1)
            left = ~self._are(at, keys)
            keys, at = [key[left] for key in keys], (at[left] + 1) & self._mask

    def _enter_by(self, library: companion.Companion, keys: list[Array]) -> None:
        members = np.ascontiguousarray(np.stack(keys, axis=1))
        enter = library.enter_four if len(keys) == 1 else library.enter_six
        table = AddressTable(*self.layout())
        enter(byref(table), self._places.ctypes.data, members.ctypes.data, len(members))

    def _are(self, at: Array, values: Sequence[Any]) -> Array:
        """Where the places hold these values."""
        here = self._places[at]
        return np.logical_and.reduce([here[:, column] == value for column, value in enumerate(values)])

    def has(self, keys: Sequence[Array]) -> Array:
        """Which of the keys are in the set."""
        found = np.zeros(keys[0].shape, bool)
        zero = np.logical_and.reduce([key == 0 for key in keys])
        at = self._hash(keys).astype("i8") & self._mask
        places: Array = slice(None)
        while at.size:
            here = self._are(at, keys)
            found[places] = here
            left = np.flatnonzero(~here & ~self._are(at, [0] * len(keys)))
            places = left if isinstance(places, slice) else places[left]
            keys, at = [key[left] for key in keys], (at[left] + 1) & self._mask
        found[zero] = self._has_zero
        return found

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return int(self._places.nbytes)

    def layout(self) -> tuple[int, int, int, int, int]:
        """The members of an AddressTable."""
        return self._places.ctypes.data, self._mask, *self._hash.key, self._has_zero


class AddressTable(Structure):
    """struct address_table of csrc/classify.c: a HashSet of u4, or of two columns of u8."""

    _fields_ = (
        ("places", c_void_p),
        ("mask", c_uint64),
        ("start", c_uint64),
        ("factor", c_uint64),
        ("has_zero", c_uint64),
    )
