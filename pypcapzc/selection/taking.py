"""Taking chosen packets out of a block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import companion, decode
from ..block import Block
from ..companion import Stamp
from ..decode.numeric import np
from ..leases import RECORD, Lease, exporter_type, rounded
from .hashing import Array

_RECORD_HEADER = 16  # of a savefile: seconds, fraction, caplen, wirelen (pcap-savefile(5))
_NANOSECONDS = np.uint64(1_000_000_000)


def _windows(data: Array, size: int) -> Array:
    """All runs of ``size`` bytes in ``data``, as numpy's void, which it moves as plain bytes."""
    return np.ndarray((data.size - size + 1,), f"V{size}", data, 0, (1,))


def move(source: Array, begin: Array, sizes: Array, target: Array, to: Array) -> None:
    """Copy runs of bytes of any sizes with no step per run: by the binary digits of the sizes."""
    left, done = sizes.astype("i8"), np.zeros(sizes.size, "i8")
    for digit in range(int(left.max(initial=0)).bit_length()):
        size = 1 << digit
        some = np.flatnonzero(left & size)
        if some.size:
            _windows(target, size)[(to + done)[some]] = _windows(source, size)[(begin + done)[some]]
            done[some] += size


class Chosen(Lease):
    """Some packets of a block, copied into memory of their own, as savefile records with nanoseconds."""

    lent = False
    savefile_unit = 1

    def __init__(self, block: Block, indices: Array) -> None:
        index = _rows(block, indices)
        self.count = index.size
        caplen = index["caplen"].astype("i8")
        ends = np.cumsum(caplen + _RECORD_HEADER)
        self.nbytes = int(ends[-1]) if self.count else 0
        self._memory = bytearray(rounded(self.nbytes))
        library = companion.current()
        if library is None:
            _write_records(_data(block), index, np.frombuffer(self._memory, "u1"), ends - caplen)
        else:
            (base, length, _), keeper = block.located()
            where = base, length, companion.address(index), self.count
            library.savefile_records(*where, self.savefile_unit, companion.address(self._memory))
            del keeper
        index["offset"] = ends - caplen
        self._index = index.tobytes()

    def export(self) -> Any:
        return exporter_type(len(self._memory)).from_buffer(self._memory)

    def index(self, keeper: Any) -> memoryview:
        return memoryview(self._index)

    def give_back(self) -> None:
        """Nothing to do: the memory dies with its last user."""


def _write_records(data: Array, index: Array, memory: Array, to: Array) -> None:
    """Savefile records, of which the packets' bytes are to be at ``to``."""
    move(data, index["offset"].astype("i8"), index["caplen"].astype("i8"), memory, to)
    headers = np.empty((index.size, 4), "u4")
    headers[:, 0], headers[:, 1] = index["ts_ns"] // _NANOSECONDS, index["ts_ns"] % _NANOSECONDS
    headers[:, 2], headers[:, 3] = index["caplen"], index["wirelen"]
    if index.size:
        raw = headers.view(f"V{_RECORD_HEADER}").ravel()
        _windows(memory, _RECORD_HEADER)[to - _RECORD_HEADER] = raw


def _data(block: Block) -> Array:
    return np.frombuffer(block.data, "u1") if block.nbytes else np.empty(0, "u1")


def _positions(indices: Any, count: int) -> Array:
    """As positions in a block of ``count`` packets, whatever was given: a mask, or positions in any order."""
    given = np.asarray(indices)
    if given.dtype == bool:
        if given.shape != (count,):
            raise ValueError(f"a mask of shape {given.shape} for {count} packets")
        return np.flatnonzero(given)
    if given.size == 0:
        return np.empty(0, "i8")
    if given.dtype.kind not in "iu" or given.ndim != 1:
        raise TypeError(f"positions are whole numbers in one dimension, not {given.dtype} in {given.ndim}")
    return np.ascontiguousarray(given, "i8")


def _rows(block: Block, indices: Any) -> Array:
    """Copies of the records at ``indices``.  Raises IndexError where one is outside of the block."""
    positions, library = _positions(indices, len(block)), companion.current()
    rows = np.empty(positions.size, decode.RECORDS)
    if library is None:
        if positions.size and not 0 <= positions.min() <= positions.max() < len(block):
            raise _outside(positions, len(block))
        index = np.frombuffer(block.index, decode.RECORDS)
        rows.view(f"V{RECORD.size}")[:] = index.view(f"V{RECORD.size}")[positions]
    elif positions.size:
        (_, _, records), keeper = block.located()
        wanted = companion.address(positions), positions.size, companion.address(rows)
        if library.rows(records, len(block), *wanted) != positions.size:
            raise _outside(positions, len(block))
        del keeper
    return rows


def _outside(positions: Array, count: int) -> IndexError:
    return IndexError(f"positions {positions.min()} to {positions.max()} in a block of {count} packets")


def take(block: Block, indices: Any) -> Block:
    """The packets at ``indices`` (positions or a mask) as a block in memory of its own.

    ``dumper.write(take(block, indices))`` writes them to a savefile with their times and wirelens.
    """
    return Block(Chosen(block, indices))


def each(block: Block, indices: Any) -> Iterator[tuple[int, bytes]]:
    """The packets at ``indices`` (positions or a mask) as (ts_ns, bytes), yours to keep, one after the other.

    They are copied when their turn comes, and until then this keeps the block like a view.
    """
    library = companion.current()
    if library is None:
        return iter(Chosen(block, indices).packets())
    index = _rows(block, indices)
    if not index.size:
        return iter(())
    (base, length, _), keeper = block.located()
    memory = base, length, companion.address(index)
    return library.iterate(Stamp.TIME, memory, index.size, (keeper, index))


def packets(block: Block, indices: Any) -> list[tuple[int, bytes]]:
    """The same as a list, of which the block knows nothing."""
    return list(each(block, indices))


def copy_into(block: Block, indices: Any, buffer: Any) -> Any:
    """Copy the packets at ``indices`` (positions or a mask), one after the other, into a writable buffer.

    ``buffer`` is any that has one: a bytearray, shared memory's ``buf``, a numpy array.  Gives the headers of
    the packets copied, an array as ``block.headers`` with offsets into the buffer; where the buffer is full,
    that is fewer than were asked for: go on with ``indices[len(headers):]``.  Nothing of block or buffer is
    kept.
    """
    target = np.frombuffer(buffer, "u1")
    if not target.flags.writeable:
        raise TypeError("the buffer is read-only")
    library = companion.current()
    if library is not None:
        return _gathered(library, block, _positions(indices, len(block)), target)
    index = _rows(block, indices)
    caplen = index["caplen"].astype("i8")
    ends = np.cumsum(caplen)
    count = int(np.searchsorted(ends, target.size, side="right"))
    index, caplen, to = index[:count].copy(), caplen[:count], (ends - caplen)[:count]
    move(_data(block), index["offset"].astype("i8"), caplen, target, to)
    index["offset"] = to
    return index


def _gathered(library: companion.Companion, block: Block, positions: Array, target: Array) -> Array:
    """copy_into() in C."""
    rows = np.empty(positions.size, decode.RECORDS)
    (base, length, records), keeper = block.located()
    wanted = companion.address(positions), positions.size, companion.address(rows)
    room = companion.address(target), target.size
    count = library.gather(base, length, records, len(block), *wanted, *room)
    del keeper
    if count < 0:
        raise _outside(positions, len(block))
    return rows if count == rows.size else rows[:count].copy()
