"""Lent blocks: the patched libpcap hands over its buffers as they are (pcap_zc_next(3PCAP))."""

from __future__ import annotations

import mmap
import threading
import warnings
from ctypes import addressof, byref, c_uint32, c_uint64
from typing import Any

from .. import companion
from ..block import Block
from ..handle import Handle
from ..leases import RECORD, Copy, Lease, exporter_type
from ..libpcap.extension import MECHANISMS, PCAP_ERROR_ZC_EOF, PCAP_ERROR_ZC_HELD, Extension, pcap_zc_block
from .base import Pace, Sifted, Source
from .stock import file_header

_AGAIN, _FOUND = 2, 3
"""Of pczc_sift() in csrc/profiles.c: there may be more, but others should have their turn; a block is lent in
which the sieve has found something."""


def _to_page_end(address: int, size: int) -> int:
    """Bytes from ``address`` to the end of the page in which its ``size`` bytes end.

    Memory is mapped in whole pages, so that much is there, and exporters of few sizes will do.
    """
    return -(-(address + size) // mmap.PAGESIZE) * mmap.PAGESIZE - address


def _memory(address: int, size: int) -> Any:
    return exporter_type(_to_page_end(address, size)).from_address(address)


class LentBlock(Lease):
    """One block of the library's, until pcap_zc_release(); its index lives as long."""

    lent = True

    def __init__(self, extension: Extension, pcap: Any, block: pcap_zc_block, out: set[LentBlock]) -> None:
        self._extension, self._pcap, self._block, self._out = extension, pcap, block, out
        out.add(self)
        self._base, self._index = block.base, block.index
        self.nbytes, self.count = block.length, block.count

    def export(self) -> Any:
        return _memory(self._base, self.nbytes)

    def index(self, keeper: Any) -> memoryview:
        size = self.count * RECORD.size
        exporter = _memory(self._index, size)
        exporter.keeper = keeper
        return memoryview(exporter).cast("B")[:size]

    def located(self, exporter: Any) -> tuple[int, Any]:
        return self._index, exporter

    def give_back(self) -> None:
        # Beside a running pcap_zc_next() and after pcap_close(): the library allows both.
        self._extension.pcap_zc_release(self._pcap, byref(self._block))
        self._out.discard(self)


def _copied(lease: Lease) -> Lease:
    """The same in memory of its own; the lease is given back."""
    exporter = lease.export()
    copy = Copy(memoryview(exporter).cast("B")[: lease.nbytes], lease.index(exporter))
    lease.give_back()
    return copy


class _Shared:
    """A lease of which parts are handed out; it goes back with the last of them."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._parts = 0
        self._lock = threading.RLock()

    def join(self) -> None:
        with self._lock:
            self._parts += 1

    def leave(self) -> None:
        with self._lock:
            self._parts -= 1
            if self._parts == 0:
                self.lease.give_back()


class Part(Lease):
    """Some consecutive packets of a lease."""

    def __init__(self, whole: _Shared, start: int, count: int) -> None:
        self._whole, self._start, self.count = whole, start, count
        self.lent, self.nbytes = whole.lease.lent, whole.lease.nbytes
        whole.join()

    def export(self) -> Any:
        return self._whole.lease.export()

    def index(self, keeper: Any) -> memoryview:
        begin = self._start * RECORD.size
        return self._whole.lease.index(keeper)[begin : begin + self.count * RECORD.size]

    def located(self, exporter: Any) -> tuple[int, Any]:
        index, keeper = self._whole.lease.located(exporter)
        return index + self._start * RECORD.size, keeper

    def give_back(self) -> None:
        self._whole.leave()

    def skip(self, count: int) -> None:
        """Let go of the first ``count`` packets, and keep some."""
        self._start += count
        self.count -= count

    def divided(self, count: int) -> tuple[Part, Part]:
        """The first ``count`` packets and the others, in place of this part."""
        first = Part(self._whole, self._start, count)
        others = Part(self._whole, self._start + count, self.count - count)
        self._whole.leave()
        return first, others


class PatchedSource(Source):
    """Lent blocks of one handle."""

    def __init__(
        self, handle: Handle, extension: Extension, *, linger: float, live: bool, pace: Pace | None = None
    ) -> None:
        super().__init__(handle, linger=linger, live=live, pace=pace)
        self._extension = extension
        self._rest: Part | None = None
        self._told = False
        self._sift_calls = companion.ZcCalls(
            *extension.addresses("pcap_zc_next", "pcap_zc_next_viewed", "pcap_zc_release")
        )
        with handle.borrow() as pcap:
            info = extension.info(pcap)
        self._block_size = info.block_size
        self._out: set[LentBlock] = set()
        self.lent = MECHANISMS[info.mechanism] != "bpf_read"
        """Not where libpcap has one buffer, into which read(2) copies: a program that asks for the next block
        while a view of the last is alive, be it the variable of a loop, would wait for itself."""

    @property
    def file_header(self) -> bytes:
        with self._handle.borrow() as pcap:
            return file_header(self._c, pcap)

    @property
    def held(self) -> int:
        return len(self._out)  # pcap_zc_info() would be an ioctl on BPF, which restarts the read timeout

    @property
    def at_hand(self) -> bool:
        return self._rest is not None

    def close(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.give_back()

    def _was_partial(self, lease: Lease) -> bool:
        # The kernel hands over a buffer as full when the next packet does not fit: rarely less than half.
        return super()._was_partial(lease) and lease.nbytes < self._block_size // 2

    def _take(self, limit: int) -> Lease | None:
        with self._handle.borrow() as pcap:
            lease: Lease | None = self._rest
            self._rest = None
            if lease is None:
                lease = self._borrow_block(pcap)
            if lease is None or lease.count <= limit:
                return lease
            return self._split(lease, limit)

    def sift(self, sieve: int, limit: int) -> Sifted | None:
        fast = companion.current()
        if fast is None or self.pace is not None or not self.lent or self.exhausted:
            return super().sift(sieve, limit)
        self._raise_failure()
        with self._handle.borrow() as pcap:
            before = found = Sifted(0, None, False)
            rest, self._rest = self._rest, None  # close(), even by a signal handler, gives back what is there
            if rest is not None:
                before = found = self._sift_rest(fast, rest, sieve, limit)
            if before.block is None and before.passed < limit:
                found = self._sift_blocks(fast, pcap, sieve, limit - before.passed)
                found = found._replace(passed=before.passed + found.passed)
        if found.block is None and not found.passed:
            self._raise_failure()
            return None
        return found

    def _sift_rest(self, fast: companion.Companion, rest: Part, sieve: int, limit: int) -> Sifted:
        count = min(rest.count, limit)
        exporter = rest.export()
        index, keeper = rest.located(exporter)
        status = fast.sieve(sieve, addressof(exporter), rest.nbytes, index, count)
        del keeper
        if status == 0:
            if count < rest.count:
                rest.skip(count)
                self._rest = rest
            else:
                rest.give_back()
            return Sifted(count, None, False)
        return Sifted(0, Block(self._split(rest, count) if count < rest.count else rest), status > 0)

    def _sift_blocks(self, fast: companion.Companion, pcap: Any, sieve: int, limit: int) -> Sifted:
        block, passed, looked = pcap_zc_block(), c_uint64(), c_uint32()
        status = fast.sift(
            *(pcap, byref(self._sift_calls), sieve, limit),
            *(byref(block), byref(passed), byref(looked)),
        )
        count, first = passed.value, looked.value
        lease = self._accept(1 if status == _FOUND else status, pcap, block) if status != _AGAIN else None
        if lease is None:
            return Sifted(count, None, False)
        if status != _FOUND and first:
            self._rest = Part(_Shared(lease), first, lease.count - first)
            return Sifted(count, None, False)
        wanted = first or limit - count
        return Sifted(count, Block(self._split(lease, wanted) if wanted < lease.count else lease), first > 0)

    def _borrow_block(self, pcap: Any) -> Lease | None:
        block = pcap_zc_block()
        return self._accept(self._extension.pcap_zc_next(pcap, byref(block), 0), pcap, block)

    def _accept(self, status: int, pcap: Any, block: pcap_zc_block) -> Lease | None:
        """What pcap_zc_next() has given."""
        if status == 1:
            lease = LentBlock(self._extension, pcap, block, self._out)
            return lease if self.lent else _copied(lease)
        if status == PCAP_ERROR_ZC_EOF:
            self.exhausted = True
        else:
            self._note(status, pcap)
        return None

    def _note(self, status: int, pcap: Any) -> None:
        if status == PCAP_ERROR_ZC_HELD:  # pcap_dispatch() gives it, too
            self._tell()
        else:
            super()._note(status, pcap)

    def _split(self, lease: Lease, limit: int) -> Part:
        """The first ``limit`` packets; the others are kept for the next call."""
        if isinstance(lease, Part):
            part, self._rest = lease.divided(limit)
            return part
        whole = _Shared(lease)
        self._rest = Part(whole, limit, lease.count - limit)
        return Part(whole, 0, limit)

    def _tell(self) -> None:
        """Say once that the program keeps all blocks."""
        if not self._told:
            self._told = True
            warnings.warn(
                f"{self._handle.name}: all blocks of the buffer are held by this program, and packets are "
                "dropped until it lets go of some; keep data with block.copy() or bytes(view), or ask for "
                "a larger buffer_size",
                RuntimeWarning,
                stacklevel=2,
            )
