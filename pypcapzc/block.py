"""Block: many packets in one piece of memory, which its source gets back (leases.py)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from . import companion
from .companion import Stamp
from .leases import RECORD, Copy, Custody, Lease

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_R = TypeVar("_R", bound=bytes)

FIELDS = ("ts_ns", "offset", "caplen", "wirelen", "flags")
_FORMATS = ("u8", "u4", "u4", "u4", "u4")


class Header(NamedTuple):
    """What is known of one packet besides its bytes."""

    ts_ns: int
    """Nanoseconds since the epoch."""
    offset: int
    """Where in ``block.data`` its first byte is."""
    caplen: int
    """Bytes present."""
    wirelen: int
    """Bytes on the wire; more than caplen where the packet was cut to snaplen."""
    flags: int
    """None defined yet: 0."""


class Headers:
    """The headers of a block without numpy: ``headers[i]`` is a Header, ``headers["caplen"]`` a column.

    A column is a strided, read-only memoryview of ints over the index itself; nothing is copied.
    With numpy installed ``block.headers`` is a structured array with the same field names instead.
    """

    __slots__ = ("_index",)

    def __init__(self, index: memoryview) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.nbytes // RECORD.size

    @overload
    def __getitem__(self, key: str) -> memoryview: ...
    @overload
    def __getitem__(self, key: int) -> Header: ...
    def __getitem__(self, key: str | int) -> memoryview | Header:
        if isinstance(key, str):
            if key == "ts_ns":
                return self._index.cast("Q")[::3]
            if key not in FIELDS:
                raise KeyError(f"no field {key!r}; a header has {', '.join(FIELDS)}")
            return self._index.cast("I")[FIELDS.index(key) + 1 :: 6]
        return Header(*RECORD.unpack_from(self._index, _position(key, len(self)) * RECORD.size))

    def __iter__(self) -> Iterator[Header]:
        return map(Header._make, RECORD.iter_unpack(self._index))

    def __repr__(self) -> str:
        return f"<Headers of {len(self)} packets: {', '.join(FIELDS)}>"


def _position(i: int, count: int) -> int:
    if not -count <= i < count:
        raise IndexError(f"packet {i} of a block of {count}")
    return i % count


@cache
def _numpy() -> Any:
    """The numpy module and the dtype of an index record, or None where numpy is not installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy, numpy.dtype(list(zip(FIELDS, _FORMATS, strict=True)))


class Block:
    """A batch of packets in one piece of read-only memory.

    ``block.lent`` says whose memory: True, the kernel's own buffer, lent until release; False, a copy
    made once in C, which is what a stock libpcap can give.

    Give it back with ``release()``, a ``with`` statement, the next step of ``capture.blocks()``, or by
    dropping it.  Views of it (``data``, ``block[i]``, ``headers``) stay valid as long as they live: the
    memory goes back when the last of them has died.  To keep data use ``copy()`` or ``bytes(view)``.
    """

    __slots__ = ("__weakref__", "_custody")

    def __init__(self, lease: Lease) -> None:
        self._custody = Custody(lease)

    @property
    def lent(self) -> bool:
        """True where these are the capture buffer's own bytes, False where they were copied."""
        return self._custody.lease.lent

    @property
    def released(self) -> bool:
        """True once the block takes no new views."""
        return self._custody.retired or self._custody.elsewhere

    @property
    def nbytes(self) -> int:
        """Length of ``data`` in bytes, what lies between the packets included."""
        return self._custody.lease.nbytes

    @property
    def packet_bytes(self) -> int:
        """Bytes of packets: the sum of all caplens."""
        return self._custody.lease.packet_bytes

    @property
    def data(self) -> memoryview:
        """All bytes of the block, read-only, format B; packet i is at headers[i].offset, caplen long.

        Raises BlockReleasedError after release.
        """
        view = memoryview(self._custody.exporter()).cast("B").toreadonly()
        return view[: self.nbytes]

    @property
    def headers(self) -> npt.NDArray[np.void] | Headers:
        """One header a packet: ts_ns (u64), offset, caplen, wirelen, flags (u32).

        A numpy structured array of shape (len(block),), read-only and uncopied; without numpy a Headers,
        which has the same fields.  Raises BlockReleasedError after release.
        """
        index = self.index
        found = _numpy()
        if found is None:
            return Headers(index)
        numpy, dtype = found
        array: npt.NDArray[np.void] = numpy.frombuffer(index, dtype)
        return array

    @property
    def index(self) -> memoryview:
        """The headers as they lie: one 24-byte record a packet (RECORD), read-only, format B."""
        return self._custody.lease.index(self._custody.exporter()).toreadonly()

    def __len__(self) -> int:
        return self._custody.lease.count

    @overload
    def __getitem__(self, key: int) -> memoryview: ...
    @overload
    def __getitem__(self, key: slice) -> list[memoryview]: ...
    def __getitem__(self, key: int | slice) -> memoryview | list[memoryview]:
        """Packet ``key`` as a read-only memoryview of caplen bytes; a slice gives a list of them."""
        data, index = self.data, self.index
        if isinstance(key, slice):
            spans = [RECORD.unpack_from(index, i * RECORD.size) for i in range(*key.indices(len(self)))]
            return [data[offset : offset + caplen] for _, offset, caplen, _, _ in spans]
        place = _position(key, len(self)) * RECORD.size
        _, offset, caplen, _, _ = RECORD.unpack_from(index, place)
        return data[offset : offset + caplen]

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        """(ts_ns, view) of each packet, in the order of capture."""
        data = self.data
        fast = self._each(Stamp.TIME, whole=data)
        if fast is not None:
            return fast
        spans = RECORD.iter_unpack(self.index)
        return ((ts_ns, data[offset : offset + caplen]) for ts_ns, offset, caplen, _, _ in spans)

    def pairs(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(ts_ns, bytes) of packets ``start`` to ``stop``, as of a slice: caplen bytes each, copied.

        Where the companion library is at hand they are copied when their turn comes, and until then the
        iterator keeps the block like a view; operator.length_hint() says how many are left.  Raises
        BlockReleasedError after release.
        """
        fast = self._each(Stamp.TIME, start, stop)
        if fast is not None:
            return fast
        kept = self._custody.exporter()
        pairs = list(self._custody.lease.packets())
        del kept
        return iter(pairs[start:stop])

    def pairs_in_seconds(
        self, start: int = 0, stop: int | None = None, *, fine: bool = False
    ) -> Iterator[tuple[float, bytes]]:
        """The same with the time in seconds, to the microsecond, as libpcap's struct timeval has it.

        ``fine`` keeps all nanoseconds, as far as a float has room: steps of 0.2 microseconds.
        """
        fast = self._each(Stamp.FINE_SECONDS if fine else Stamp.SECONDS, start, stop)
        if fast is not None:
            return fast
        pairs = self.pairs(start, stop)
        if fine:
            return iter([(ns // 1_000_000_000 + ns % 1_000_000_000 * 1e-9, data) for ns, data in pairs])
        return iter([(ns // 1_000_000_000 + ns // 1000 % 1_000_000 / 1e6, data) for ns, data in pairs])

    def triples_in_seconds(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, float, bytes]]:
        """(caplen, seconds, bytes): what pairs_in_seconds() gives, with the number of bytes in front."""
        fast = self._each(Stamp.LENGTH_SECONDS, start, stop)
        if fast is not None:
            return fast
        return iter([(len(data), when, data) for when, data in self.pairs_in_seconds(start, stop)])

    def triples_in_whole_seconds(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, int, bytes]]:
        """The same with whole seconds, an int."""
        fast = self._each(Stamp.LENGTH_WHOLE, start, stop)
        if fast is not None:
            return fast
        return iter([(len(data), ts_ns // 1_000_000_000, data) for ts_ns, data in self.pairs(start, stop)])

    def pairs_with_records(
        self, kind: type[_R], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[_R, bytes]]:
        """The same with the record (RECORD) in place of the time, each a ``kind``.

        That is a subclass of bytes with ``__slots__ = ()`` and a __hash__ of its own; its __new__ may not be
        called.
        """
        fast = self._each(Stamp.RECORD, start, stop, record=kind)
        if fast is not None:
            return fast
        packets, index, size = self.packets(start, stop), self.index, RECORD.size
        first, count = self._range(start, stop)
        records = (kind(index[at * size : (at + 1) * size]) for at in range(first, first + count))
        return iter(list(zip(records, packets, strict=True)))

    def packets(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """The bytes of packets ``start`` to ``stop``, as of a slice.  Raises BlockReleasedError."""
        fast = self._each(Stamp.NONE, start, stop)
        return list(fast) if fast is not None else [data for _, data in self.pairs(start, stop)]

    def times(self, start: int = 0, stop: int | None = None) -> list[int]:
        """The ts_ns of packets ``start`` to ``stop``, as of a slice.  Raises BlockReleasedError."""
        found: list[int] = self.index.cast("Q")[::3][start:stop].tolist()
        return found

    def located(self, start: int = 0) -> tuple[tuple[int, int, int], Any]:
        """For C code: the address and length of ``data``, the address of the record of packet ``start``.

        Then what keeps them there, like a view.  Raises BlockReleasedError after release.
        """
        exporter, lease = self._custody.exporter(), self._custody.lease
        index, keeper = lease.located(exporter)
        return (ctypes.addressof(exporter), lease.nbytes, index + start * RECORD.size), keeper

    def _each(
        self, stamp: Stamp, start: int = 0, stop: int | None = None, **extra: Any
    ) -> Iterator[Any] | None:
        """The companion library's iterator over packets ``start`` to ``stop``; None where it is missing."""
        fast = companion.current()
        if fast is None:
            return None
        first, count = self._range(start, stop)
        memory, keeper = self.located(first)
        return fast.iterate(stamp, memory, count, keeper, **extra)

    def field(self, offset: int | npt.ArrayLike, dtype: npt.DTypeLike) -> tuple[Any, npt.NDArray[np.bool_]]:
        """``decode.field()`` of this block: the ``dtype`` at ``offset`` of each packet, and who has it.

        Raises BlockReleasedError after release, ImportError where numpy is not installed.
        """
        from .decode import field  # numpy is imported no earlier than needed

        return field(self, offset, dtype)

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        """First packet and number of packets of a slice."""
        first, last, _ = slice(start, stop).indices(len(self))
        return first, max(last - first, 0)

    def copy(self) -> Block:
        """The same packets in memory of their own, which nobody asks back."""
        return Block(Copy(self.data, self.index))

    def release(self) -> None:
        """Give the block back now.

        Raises BlockInUseError while a view is alive, BlockReleasedError when that was done before.
        """
        self._custody.release()

    def retire(self) -> None:
        """Take no new views and give the block back when its last view dies; never raises."""
        self._custody.retire()

    @property
    def savefile_unit(self) -> int | None:
        """Where ``data`` is a run of savefile records as it lies: the nanoseconds in a unit of fraction."""
        return self._custody.lease.savefile_unit

    def __enter__(self) -> Block:
        return self

    def __exit__(self, *exc: object) -> None:
        self._custody.retire()

    def __del__(self) -> None:
        custody = getattr(self, "_custody", None)
        if custody is not None:
            custody.retire()

    def __repr__(self) -> str:
        state = "released" if self.released else "lent" if self.lent else "copied"
        return f"<Block of {len(self)} packets, {self.nbytes} bytes, {state}>"
