"""Dumper: writes savefiles, and says exactly how many packets are in them."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Literal, Protocol

from . import companion, zstd
from .block import Block
from .errors import DumpError
from .leases import RECORD, rounded
from .sources import records

_NANOSECOND_MAGIC = 0xA1B23C4D  # pcap-savefile(5)
_IOV_MAX = 512  # pairs of header and data for one writev(2); the limit is 1024 everywhere

_BUFFER = 128 * 1024
"""Bytes laid out before they are written: few calls, and still in the cache when the kernel copies them."""

Compression = Literal["zstd"]


class Sink(Protocol):
    """What packets are written into: a Dumper, or another kind of file with the same accounts."""

    @property
    def packets(self) -> int:
        """Whole packets written."""

    @property
    def nbytes(self) -> int:
        """Their bytes: the sum of all caplens."""

    @property
    def size(self) -> int:
        """Bytes of the file so far."""

    @property
    def finished(self) -> bool:
        """All that may be written is: what is written now is left out."""

    @property
    def records_unit(self) -> int | None:
        """Where write_records() works: the nanoseconds in a unit of the file's fractions; else None."""

    def write_records(self, data: memoryview, count: int) -> None:
        """Append ``count`` packets that are savefile records in this machine's byte order."""

    def room(self, block: Block, start: int, limit: int) -> int:
        """The first packet of the block, from ``start`` on, that finds the file larger than ``limit`` bytes.

        ``len(block)`` where none does.
        """

    def write(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Append the packets ``start`` to ``stop`` of a block.  Raises DumpError, with right accounts."""

    def close(self) -> None:
        """Finish the file."""


class Dumper:
    """A savefile that is being written.

    Each write() goes to the file at once: what was counted is in it, whatever happens then.  Close it with
    ``close()`` or ``with``.  ``packets`` is the number of whole packets written, ``nbytes`` the sum of their
    caplens, ``size`` what the file has of bytes.
    """

    finished = False

    def __init__(self, target: Any, file_header: bytes, compress: Compression | None = None) -> None:
        """``target``: a path, "-" (standard output), a descriptor, or a file object with one.

        ``file_header`` is what libpcap itself begins such a file with; it fixes link-layer type, byte order
        and precision.  ``compress``: "zstd"; without it a path that ends in .zst is compressed, too.
        """
        self.packets = self.nbytes = self.size = 0
        self._buffer = bytearray()
        self._owned = False
        if compress not in (None, "zstd"):
            raise ValueError(f"compress is {compress!r}; it is 'zstd' or None")
        named = isinstance(target, str | bytes | os.PathLike) and os.fsdecode(target).endswith(zstd.SUFFIX)
        self._packer = zstd.Packer() if compress or named else None
        if target == "-":
            if sys.stdout is None:
                raise DumpError("standard output is closed", errno.EBADF)
            sys.stdout.flush()
            self._fd, self.name = 1, "standard output"
        elif isinstance(target, str | bytes | os.PathLike):
            self._fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            self._owned, self.name = True, os.fsdecode(target)
        elif isinstance(target, int):
            self._fd, self.name = target, f"descriptor {target}"
        else:
            target.flush()
            self._fd, self.name = target.fileno(), str(getattr(target, "name", target))
        magic = int.from_bytes(file_header[:4], sys.byteorder)
        self.records_unit: int = 1 if magic == _NANOSECOND_MAGIC else 1000
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        first = self._packer.pack(file_header) if self._packer is not None else file_header
        done, error = self._write(memoryview(first))
        self.size = done
        if error is not None:
            self._packer = None
            self.close()
            raise self._failure(error) from error

    def room(self, block: Block, start: int, limit: int) -> int:
        """See Sink.  A compressed file ends with a whole piece of a block: nobody knows what it comes to."""
        count = len(block)
        if self._packer is not None:
            return start if self.size > limit else count
        if self.size + block.nbytes + (count - start) * records.HEADER.size <= limit:
            return count
        sizes = map(records.HEADER.size.__add__, block.index.cast("I")[3 + 6 * start :: 6])
        before = list(accumulate(sizes, initial=self.size))
        return min(start + bisect_right(before, limit), count)

    def write(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Append the packets of a block, or some of them.

        Raises DumpError when that fails; ``packets`` counts what is whole in the file, and a regular file
        is cut after the last of them, so that it stays readable.
        """
        first, last, _ = slice(start, stop).indices(len(block))
        if first >= last:
            return
        if block.savefile_unit == self.records_unit:
            self._write_as_they_lie(block, first, last)
        elif (c := companion.current()) is not None:
            self._write_laid_out(c, block, first, last)
        else:
            self._write_parts(block, first, last)

    def write_records(self, data: memoryview, count: int) -> None:
        """Append ``count`` packets that are savefile records already, as pcap_dump(3PCAP) would write them.

        Byte order is this machine's, fractions count ``records_unit`` nanoseconds.  Raises DumpError.
        """
        self._append(data, count)

    def write_packets(self, packets: Iterable[tuple[int, bytes]]) -> None:
        """Append (ts_ns, bytes) pairs, as iterating a capture gives them; wirelen is taken to be caplen."""
        parts: list[bytes | memoryview] = []
        for ts_ns, data in packets:
            parts += (self._header(ts_ns, len(data), len(data)), data)
        self._append(memoryview(b"".join(parts)), len(parts) // 2)

    def close(self) -> None:
        """Close the file, where the dumper opened it; a later write() is an error.

        Raises DumpError where the end of a compressed file cannot be written; all packets are in it then.
        """
        fd, packer = self._fd, self._packer
        self._packer = None
        error = self._write(memoryview(packer.end()))[1] if packer is not None and fd >= 0 else None
        self._fd = -1
        if self._owned:
            self._owned = False
            os.close(fd)
        if error is not None:
            raise self._failure(error) from error

    def _write_as_they_lie(self, block: Block, first: int, last: int) -> None:
        """The bytes of the block are savefile records already."""
        data = block.data
        if (first, last) != (0, len(block)):
            index = block.index
            begin = RECORD.unpack_from(index, first * RECORD.size)[1] - records.HEADER.size
            _, offset, caplen, _, _ = RECORD.unpack_from(index, (last - 1) * RECORD.size)
            data = data[begin : offset + caplen]
        self._append(data, last - first)

    def _write_laid_out(self, c: companion.Companion, block: Block, first: int, last: int) -> None:
        """By way of a buffer, in which C puts one record after the other."""
        data, index = block.data, block.index
        base, records_at = companion.address(data), companion.address(index)
        step = max(1, _BUFFER // (data.nbytes // len(block) + records.HEADER.size))
        for begin in range(first, last, step):
            count, at = min(step, last - begin), records_at + begin * RECORD.size
            size = c.savefile_size(at, count, data.nbytes)
            if size > len(self._buffer):
                self._buffer = bytearray(rounded(size))
            out = memoryview(self._buffer)[:size]
            c.savefile_records(base, data.nbytes, at, count, self.records_unit, companion.address(out))
            self._append(out, count)

    def _write_parts(self, block: Block, first: int, last: int) -> None:
        data, index = block.data, block.index[first * RECORD.size : last * RECORD.size]
        parts: list[bytes | memoryview] = []
        for ts_ns, offset, caplen, wirelen, _ in RECORD.iter_unpack(index):
            parts += (self._header(ts_ns, caplen, wirelen), data[offset : offset + caplen])
            if len(parts) == _IOV_MAX:
                self._append_parts(parts)
                parts = []
        self._append_parts(parts)

    def _header(self, ts_ns: int, caplen: int, wirelen: int) -> bytes:
        seconds, rest = divmod(ts_ns, records.NANOSECONDS)
        return records.HEADER.pack(seconds & 0xFFFFFFFF, rest // self.records_unit, caplen, wirelen)

    def _append_parts(self, parts: list[bytes | memoryview]) -> None:
        """One writev(2), so that lent memory is not copied on its way."""
        if not parts:
            return
        if self._packer is not None:
            self._append(memoryview(b"".join(parts)), len(parts) // 2)
            return
        try:
            written = os.writev(self._fd, parts)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise self._failure(error) from error
        size = sum(map(len, parts))
        if written == size:
            self._count(size, len(parts) // 2)
        else:
            self._append(memoryview(b"".join(parts)), len(parts) // 2, written)

    def _append(self, data: memoryview, count: int, done: int = 0) -> None:
        """``data``, which is ``count`` records and of which ``done`` bytes were written."""
        if self._packer is not None:
            self._append_packed(self._packer.pack(data), data.nbytes, count)
            return
        done, error = self._write(data, done)
        if error is None:
            self._count(data.nbytes, count)
            return
        whole, size = records.whole(data, done)
        self._count(size, whole)
        if done > size:
            self._cut(done - size)
        raise self._failure(error) from error

    def _append_packed(self, packed: bytes, unpacked: int, count: int) -> None:
        """All of it or nothing: where it does not fit, the frame ends before it, and a new one begins."""
        done, error = self._write(memoryview(packed))
        if error is None:
            self._count(unpacked, count)
            self.size += len(packed) - unpacked
            return
        self._cut(done)
        _, unfinished = self._write(memoryview(zstd.END))
        self._packer = zstd.Packer() if unfinished is None and self._regular else None
        self.size += len(zstd.END)
        failure = self._failure(error)
        if self._packer is None:  # what comes after it could not be read
            self.close()
        raise failure from error

    def _count(self, size: int, count: int) -> None:
        self.size += size
        self.packets += count
        self.nbytes += size - count * records.HEADER.size

    def _cut(self, size: int) -> None:
        """Take the last ``size`` bytes back, where the target can."""
        if self._regular:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.lseek(self._fd, -size, os.SEEK_CUR))

    def _write(self, data: memoryview, done: int = 0) -> tuple[int, OSError | None]:
        """write(2) until all is written: how many bytes were, and why not all."""
        while done < data.nbytes:
            try:
                done += os.write(self._fd, data[done:])
            except BlockingIOError:
                _wait_until_writable(self._fd)
            except OSError as error:
                return done, error
        return done, None

    def _failure(self, error: OSError) -> DumpError:
        what = (
            "was closed by its reader"
            if error.errno == errno.EPIPE
            else f"cannot be written: {error.strerror}"
        )
        return DumpError(f"{self.name} {what}; {self.packets} whole packets were written before", error.errno)

    def __enter__(self) -> Dumper:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_owned", False):
            with contextlib.suppress(DumpError):
                self.close()


def _wait_until_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
