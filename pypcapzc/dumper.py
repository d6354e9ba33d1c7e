"""Dumper: writes savefiles, and says exactly how many packets are in them."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import sys
from collections.abc import Iterable
from typing import Any

from .block import RECORD, Block
from .errors import DumpError
from .sources import records

_NANOSECOND_MAGIC = 0xA1B23C4D  # pcap-savefile(5)
_IOV_MAX = 512  # pairs of header and data for one writev(2); the limit is 1024 everywhere


class Dumper:
    """A savefile that is being written.

    Each write() goes to the file at once: what was counted is in it, whatever happens then.  Close it with
    ``close()`` or ``with``.  ``packets`` is the number of whole packets written.
    """

    def __init__(self, target: Any, file_header: bytes) -> None:
        """``target``: a path, "-" (standard output), a descriptor, or a file object with one.

        ``file_header`` is what libpcap itself begins such a file with; it fixes link-layer type, byte order
        and precision.
        """
        self.packets = 0
        self._owned = False
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
        self._unit = 1 if magic == _NANOSECOND_MAGIC else 1000
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        _, error = self._write(memoryview(file_header))
        if error is not None:
            self.close()
            raise self._failure(error) from error

    def write(self, block: Block) -> None:
        """Append all packets of a block.

        Raises DumpError when that fails; ``packets`` counts what is whole in the file, and a regular file
        is cut after the last of them, so that it stays readable.
        """
        if block.savefile_unit == self._unit:
            self._write_records(block.data, len(block))
            return
        data = block.data
        parts: list[bytes | memoryview] = []
        for ts_ns, offset, caplen, wirelen, _ in RECORD.iter_unpack(block.index):
            parts += (self._header(ts_ns, caplen, wirelen), data[offset : offset + caplen])
            if len(parts) == _IOV_MAX:
                self._write_parts(parts)
                parts = []
        self._write_parts(parts)

    def write_packets(self, packets: Iterable[tuple[int, bytes]]) -> None:
        """Append (ts_ns, bytes) pairs, as iterating a capture gives them; wirelen is taken to be caplen."""
        parts: list[bytes | memoryview] = []
        for ts_ns, data in packets:
            parts += (self._header(ts_ns, len(data), len(data)), data)
        self._write_records(memoryview(b"".join(parts)), len(parts) // 2)

    def close(self) -> None:
        """Close the file, where the dumper opened it; a later write() is an error."""
        fd, self._fd = self._fd, -1
        if self._owned:
            self._owned = False
            os.close(fd)

    def _header(self, ts_ns: int, caplen: int, wirelen: int) -> bytes:
        seconds, rest = divmod(ts_ns, records.NANOSECONDS)
        return records.HEADER.pack(seconds & 0xFFFFFFFF, rest // self._unit, caplen, wirelen)

    def _write_parts(self, parts: list[bytes | memoryview]) -> None:
        """One writev(2), so that lent memory is not copied on its way."""
        if not parts:
            return
        try:
            written = os.writev(self._fd, parts)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise self._failure(error) from error
        if written == sum(len(part) for part in parts):
            self.packets += len(parts) // 2
        else:
            self._write_records(memoryview(b"".join(parts)), len(parts) // 2, written)

    def _write_records(self, data: memoryview, count: int, done: int = 0) -> None:
        done, error = self._write(data, done)
        if error is None:
            self.packets += count
            return
        whole, size = records.whole(data, done)
        self.packets += whole
        if self._regular and done > size:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.lseek(self._fd, size - done, os.SEEK_CUR))
        raise self._failure(error) from error

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
            self.close()


def _wait_until_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
