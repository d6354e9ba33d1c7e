"""Parquet files of packets, whole whatever happens to the disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any

from ..block import Block
from ..errors import DumpError, PcapError
from .arrow import COLUMNS, arrow, record_batch, schema

ROWS = 128 * 1024
"""Packets of a row group, which is what is written at a time."""
BYTES = 32 << 20
"""Or so many bytes."""
_SLACK = 64 << 10
_FOOTER = 512
"""Bytes that the footer takes at most for a column of a row group: two values of its statistics, offsets,
encodings."""
PART = ".part"


class ParquetWriter:
    """A Parquet file that is being written; a Sink (see dumper).

    A Parquet file can be read only when its end is written.  So it is called FILE.part until it is closed;
    and before a row group is written, room is taken for it and for the end.  Where the disk is full, the file
    is ended with the row groups before, and ``packets`` counts those in it.  Packets since the last row group
    are in memory: close() writes them.
    """

    finished = False
    records_unit = None

    def __init__(self, path: str, *, datalink: int | None = None, columns: Sequence[str] = COLUMNS) -> None:
        """``datalink``, the packets' link-layer type, adds ``columns``; see record_batch().

        Raises OSError where the file cannot be made, PcapError where pyarrow is not installed.
        """
        self.packets = self.nbytes = 0
        self._file: _File | None = None
        self._datalink, self._columns = datalink, columns
        parquet = _parquet()
        wanted = schema(columns if datalink is not None else ())
        self._names = wanted.names
        self.name = path
        self._file = _File(path + PART)
        self._pending: list[Any] = []
        self._pending_packets = self._pending_bytes = self._pending_size = 0
        self._groups = 0
        try:
            self._writer = parquet.ParquetWriter(
                arrow().PythonFile(self._file, mode="w"),
                wanted,
                compression="zstd",
                use_dictionary=[name for name in wanted.names if name not in ("data", "ts")],
                write_statistics=[name for name in wanted.names if name != "data"],
            )
        except OSError as error:
            raise self._lost(error) from error

    @property
    def size(self) -> int:
        """Bytes of the file, and of what will come into it before they are packed."""
        return (self._file.position if self._file is not None else 0) + self._pending_size

    def room(self, block: Block, start: int, limit: int) -> int:
        """See Sink.  A file ends with a whole piece of a block: nobody knows what that comes to."""
        return start if self.size > limit else len(block)

    def write_records(self, data: memoryview, count: int) -> None:
        """Not to be had."""
        raise TypeError("packets go into Parquet files by blocks")

    def write(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Append the packets of a block, or some of them.  Raises DumpError; ``packets`` is right then."""
        first, last, _ = slice(start, stop).indices(len(block))
        if self._file is None:
            raise DumpError(f"{self.name} is closed", errno.EBADF)
        if first >= last:
            return
        batch = record_batch(block, self._datalink, self._columns).slice(first, last - first)
        self._pending.append(batch)
        nbytes = sum(block.index.cast("I")[3::6][first:last])
        self._pending_packets += last - first
        self._pending_bytes += nbytes
        self._pending_size += batch.nbytes
        self.packets += last - first
        self.nbytes += nbytes
        if self._pending_packets >= ROWS or self._pending_size >= BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is in memory and the file's end, and give it its name.  Raises DumpError."""
        if self._file is not None:
            self._flush()
            self._finish()

    def _flush(self) -> None:
        """Write a row group."""
        if not self._pending or self._file is None:
            return
        table = arrow().Table.from_batches(self._pending)
        packets, nbytes = self._pending_packets, self._pending_bytes
        self._pending = []
        size, self._pending_size = self._pending_size, 0
        self._pending_packets = self._pending_bytes = 0
        self._groups += 1
        try:
            self._file.reserve(size + size // 8 + _SLACK + self._groups * len(self._names) * _FOOTER)
        except OSError as error:
            self.packets -= packets
            self.nbytes -= nbytes
            self._finish()
            raise self._failure(error) from error
        try:
            self._writer.write_table(table, row_group_size=max(packets, 1))
        except OSError as error:
            raise self._lost(error) from error

    def _finish(self) -> None:
        file = self._file
        if file is None:
            return
        try:
            self._writer.close()
            file.keep(self.name)
        except OSError as error:
            raise self._lost(error) from error
        self._file = None

    def _lost(self, error: OSError) -> DumpError:
        """The file cannot be ended, so that nothing of it can be read: take it away."""
        file, self._file = self._file, None
        self.packets = self.nbytes = 0
        if file is not None:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                self._writer.close()
            file.discard()
        return self._failure(error)

    def _failure(self, error: OSError) -> DumpError:
        # pyarrow passes an error of a Python file on; its own have the number alone.
        why = os.strerror(error.errno) if error.errno is not None else str(error)
        return DumpError(
            f"{self.name} cannot be written: {why}; {self.packets} whole packets were written before",
            error.errno,
        )

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            with contextlib.suppress(PcapError):
                self.close()


class _File:
    """What pyarrow writes into: all of it or an error, with room taken beforehand."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.position = 0
        self.closed = False

    def reserve(self, size: int) -> None:
        """Take room for so many bytes more.  Raises OSError where there is none."""
        try:
            os.posix_fallocate(self._fd, self.position, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV):  # cannot be had, as on ZFS
                raise

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < view.nbytes:
            done += os.write(self._fd, view[done:])
        self.position += done
        return done

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """The descriptor stays until keep() or discard()."""
        self.closed = True

    def keep(self, name: str) -> None:
        """Without the room that was not needed, under its own name."""
        os.ftruncate(self._fd, self.position)
        os.close(self._fd)
        os.replace(self._path, name)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
        with contextlib.suppress(OSError):
            os.unlink(self._path)


def _parquet() -> Any:
    arrow()
    import pyarrow.parquet

    return pyarrow.parquet
