"""Memory that blocks are made of, and when it goes back to where it came from.

Ownership.  A block hands its memory out through one exporter, a ctypes array.  Every memoryview slice and
numpy array keeps that exporter alive (releasing one memoryview does not: slices survive it), so as long as
it lives after the block has let go of it a view is out, and the memory is not given back.  The exporter's own
death gives back a block that nobody wants any more.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import struct
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from . import companion
from .errors import BlockInUseError, BlockReleasedError

RECORD = struct.Struct("=QIIII")
"""One index record, as the patched libpcap writes it: u64 ts_ns, u32 offset, caplen, wirelen, flags."""


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
    custody: Custody | None


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


class Custody:
    """A lease together with the views of it: outlives the Block when views do.

    In a forked child the lease is the parent's: nothing is given back there, and no new view is made.
    """

    __slots__ = ("_exporter", "_forks", "_kept", "_lock", "lease", "retired", "returned")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._forks = _forks
        self.retired = False  # no new views
        self.returned = False  # given back
        self._exporter: _Watch | None = None
        self._kept: Any = None  # the exporter, so that not each view has to make one; never once retired
        # Re-entrant: the garbage collector may run views_died() inside any of these sections.
        self._lock = threading.RLock()

    @property
    def elsewhere(self) -> bool:
        """This is a forked child.  Asked before the lock, which another thread may have held at the fork."""
        return self._forks != _forks

    def exporter(self) -> Any:
        if self.elsewhere:
            raise BlockReleasedError("the block belongs to the parent of this forked process")
        kept = self._kept  # who has it cannot lose it to another thread that releases the block meanwhile
        if kept is not None:
            return kept
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
            self._kept = exporter
            return exporter

    def _in_use(self) -> bool:
        """Whether a view is out.  With the lock held."""
        self._kept = None  # if nobody else has it, _exporter_died() is called here
        return self._exporter is not None and self._exporter() is not None

    def retire(self) -> None:
        """No more views; give back now, or when the last view dies."""
        if self.elsewhere:
            return
        with self._lock:
            self.retired = True
            if not self._in_use():
                self._return()

    def release(self) -> None:
        if self.elsewhere:
            raise BlockReleasedError("the block belongs to the parent of this forked process")
        with self._lock:
            if self.retired:
                raise BlockReleasedError("the block was already released")
            if self._in_use():
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
            if self.retired and not self._in_use():
                self._return()

    def _return(self) -> None:
        if not self.returned:
            self.returned = True
            self.lease.give_back()


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
