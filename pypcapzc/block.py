"""Block: many packets in one piece of memory, which its source gets back.

Ownership.  A block hands its memory out through one exporter, a ctypes array of which it keeps only a
weak reference.  Every memoryview slice and numpy array keeps that exporter alive (releasing one
memoryview does not: slices survive it), so as long as the exporter lives a view is out, and the memory
is not given back.  The exporter's own death gives back a block that nobody wants any more.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import struct
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from . import companion
from .companion import Stamp
from .errors import BlockInUseError, BlockReleasedError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_R = TypeVar("_R", bound=bytes)

RECORD = struct.Struct("=QIIII")
"""One index record, as the patched libpcap writes it: u64 ts_ns, u32 offset, caplen, wirelen, flags."""

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


@lru_cache(maxsize=256)
def exporter_type(size: int) -> Any:
    """The exporter class for ``size`` bytes: kept, since a ctypes array type costs 15 microseconds to make.

    Sources round their sizes up (``rounded``), so that there are few.
    """
    return type(f"Exporter{size}", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": size})


def rounded(size: int) -> int:
    """``size`` rounded up to a power of two, at least a page: what memory for ``size`` bytes is made of."""
    return max(4096, 1 << (size - 1).bit_length()) if size > 1 else 4096


class Lease(ABC):
    """Memory that a source has handed over, to be given back exactly once."""

    lent: bool
    """True: the kernel's (or the reader's) own buffer.  False: a copy, made once in C."""
    nbytes: int
    count: int

    savefile_unit: int | None = None
    """Where the ``nbytes`` bytes are savefile records in this host's byte order as they lie: the nanoseconds
    in one unit of their fractions, 1 or 1000."""

    @property
    def packet_bytes(self) -> int:
        """Sum of all caplens."""
        return sum(self.index(None).cast("I")[3::6])

    @abstractmethod
    def export(self) -> Any:
        """A new exporter (see exporter_type) of at least ``nbytes`` bytes."""

    @abstractmethod
    def index(self, keeper: Any) -> memoryview:
        """``count`` records (see RECORD), format B.

        Where they are part of what is given back, the view keeps ``keeper``, an exporter, alive.
        """

    def located(self, exporter: Any) -> tuple[int, Any]:
        """The address of that index, and what keeps it and the exporter alive."""
        index = self.index(exporter)
        return companion.address(index), (exporter, index)

    def packets(self) -> Iterable[tuple[int, bytes]]:
        """(ts_ns, bytes) of each packet, in Python alone; the memory is not needed any more then.

        All is copied once more, since slicing bytes takes a third of the time of copying views.
        """
        exporter = self.export()
        data, index = bytes(memoryview(exporter).cast("B")[: self.nbytes]), bytes(self.index(exporter))
        return [
            (ts_ns, data[offset : offset + caplen])
            for ts_ns, offset, caplen, _, _ in RECORD.iter_unpack(index)
        ]

    @abstractmethod
    def give_back(self) -> None:
        """Hand the memory back; called once, from any thread, when no view is out.  Must not raise."""


_forks = 0
"""How many forks lie between this process and the one that imported this module."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class _Watch(weakref.ref[Any]):
    """Tells a custody when its exporter has died.

    weakref.finalize does the same in 7 microseconds, which is a tenth of what a block of packets costs.
    """

    __slots__ = ("custody",)
    custody: _Custody | None


_watches: dict[int, _Watch] = {}
"""Those whose exporter lives; they keep its custody until then, whatever becomes of the block."""
_exiting = False


def _exporter_died(watch: weakref.ref[Any], forget: Callable[[int], object] = _watches.pop) -> None:
    assert isinstance(watch, _Watch)
    forget(id(watch))
    custody, watch.custody = watch.custody, None
    if custody is not None and not _exiting:
        custody.views_died()


@atexit.register
def _exit() -> None:
    """The memory goes with the process, and modules that giving back needs may be gone before it."""
    global _exiting
    _exiting = True


class _Custody:
    """A lease together with the views of it: outlives the Block when views do.

    In a forked child the lease is the parent's: nothing is given back there, and no new view is made.
    """

    __slots__ = ("_exporter", "_forks", "_lock", "lease", "retired", "returned")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._forks = _forks
        self.retired = False  # no new views
        self.returned = False  # given back
        self._exporter: _Watch | None = None
        # Re-entrant: the garbage collector may run views_died() inside any of these sections.
        self._lock = threading.RLock()

    @property
    def elsewhere(self) -> bool:
        """This is a forked child.  Asked before the lock, which another thread may have held at the fork."""
        return self._forks != _forks

    def exporter(self) -> Any:
        if self.elsewhere:
            raise BlockReleasedError("the block belongs to the parent of this forked process")
        with self._lock:
            if self.retired:
                raise BlockReleasedError(
                    "the block was released; keep data with block.copy() or bytes(view) before that"
                )
            exporter = self._exporter() if self._exporter is not None else None
            if exporter is None:
                exporter = self.lease.export()
                # Not a __del__ of the exporter: while that runs, the weak reference still gives the dying
                # object.  _exporter_died() runs when it gives None.
                watch = self._exporter = _Watch(exporter, _exporter_died)
                watch.custody = self
                _watches[id(watch)] = watch
            return exporter

    def in_use(self) -> bool:
        return self._exporter is not None and self._exporter() is not None

    def retire(self) -> None:
        """No more views; give back now, or when the last view dies."""
        if self.elsewhere:
            return
        with self._lock:
            self.retired = True
            if not self.in_use():
                self._return()

    def release(self) -> None:
        if self.elsewhere:
            raise BlockReleasedError("the block belongs to the parent of this forked process")
        with self._lock:
            if self.retired:
                raise BlockReleasedError("the block was already released")
            if self.in_use():
                raise BlockInUseError(
                    "a memoryview or numpy array of this block is alive; delete it first "
                    "(a slice counts, and so does memoryview.release() of only the first view)"
                )
            self.retired = True
            self._return()

    def views_died(self) -> None:
        if self.elsewhere:
            return
        with self._lock:
            # A newer exporter may be alive already: the one that died is not always the current one.
            if self.retired and not self.in_use():
                self._return()

    def _return(self) -> None:
        if not self.returned:
            self.returned = True
            self.lease.give_back()


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
        self._custody = _Custody(lease)

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


class Copy(Lease):
    """Private memory that holds the copy of another block."""

    lent = False

    def __init__(self, data: memoryview, index: memoryview) -> None:
        self.nbytes, self.count = data.nbytes, index.nbytes // RECORD.size
        self._data = bytearray(rounded(self.nbytes))
        self._data[: self.nbytes] = data
        self._index = bytes(index)

    def export(self) -> Any:
        return exporter_type(len(self._data)).from_buffer(self._data)

    def index(self, keeper: Any) -> memoryview:
        return memoryview(self._index)

    def give_back(self) -> None:
        """Nothing to do: the memory dies with its last user."""
