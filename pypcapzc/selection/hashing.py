"""Hash tables and hashes over whole columns of numbers at once.

The keys of a hash are drawn anew in each process, so that nobody can send packets made to collide.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ..decode.numeric import np

Array = Any


class Hash:
    """A hash of several columns to 64 bits."""

    def __init__(self) -> None:
        self._start, self._factor = (np.uint64(secrets.randbits(64) | 1) for _ in range(2))

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

    A slot that is all 0 is empty, so the key of zeros is kept apart.
    """

    def __init__(self, columns: Sequence[Array]) -> None:
        zero = np.logical_and.reduce([column == 0 for column in columns])
        self._has_zero = bool(zero.any())
        keys = [column[~zero] for column in columns]
        size = 1 << max(4, (4 * keys[0].size - 1).bit_length())
        self._mask = size - 1
        self._slots = [np.zeros(size, column.dtype) for column in columns]
        self._hash = Hash()
        self._fill(keys)

    def _fill(self, keys: list[Array]) -> None:
        at = self._hash(keys).astype("i8") & self._mask
        while keys[0].size:
            free = self._are(at, [0] * len(keys))
            # Where several keys want one slot, the last gets all of it: each column is written in one order.
            for slots, key in zip(self._slots, keys, strict=True):
                slots[at[free]] = key[free]
            left = ~self._are(at, keys)
            keys, at = [key[left] for key in keys], (at[left] + 1) & self._mask

    def _are(self, at: Array, values: Sequence[Any]) -> Array:
        """Where the slots hold these values."""
        return np.logical_and.reduce(
            [slots[at] == value for slots, value in zip(self._slots, values, strict=True)]
        )

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
        return sum(slots.nbytes for slots in self._slots)
