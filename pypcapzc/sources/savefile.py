"""Savefiles: regular files, pipes, standard input, and whatever else in Python can be read from."""

from __future__ import annotations

import ctypes
import io
import os
import selectors
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from .. import zstd
from ..constants import PCAP_ERRBUF_SIZE, PCAP_TSTAMP_PRECISION_NANO
from ..errors import CaptureClosedError, PcapError, SavefileError
from ..handle import Handle
from ..leases import Lease
from ..libpcap import Library, extension, library
from ..libpcap.cstdio import ReaderStream, close_stream, open_descriptor
from ..waker import Waker
from .base import Source
from .framing import Framer
from .patched import PatchedSource
from .stock import StockSource

_OBJECT_BUFFER = 256 * 1024
_PIPE_BUFFER = 64 * 1024


class Readable(Protocol):
    """What open_offline() can read besides paths: any binary file object."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; b"" at the end."""


class _Pipe:
    """Reads a pipe, terminal or socket so that Ctrl-C and close() from another thread interrupt it."""

    def __init__(self, fd: int, waker: Waker) -> None:
        self._fd, self._waker = fd, waker
        self.framer = Framer()
        self._selector = selectors.PollSelector()
        self._selector.register(fd, selectors.EVENT_READ)
        self._selector.register(waker.fileno(), selectors.EVENT_READ)

    def read(self, size: int) -> bytes:
        ready = {key.fd for key, _ in self._selector.select()}
        if self._fd not in ready:
            raise CaptureClosedError("reading was broken off in the middle of the stream")
        data = os.read(self._fd, size)
        self.framer.feed(data)
        return data

    def close(self) -> None:
        self._selector.close()
        os.close(self._fd)


class SavefileSource(StockSource):
    """Copied batches from a savefile: what is no regular file is read through Python, so that it can be
    interrupted, and is copied with every libpcap.

    From a pipe a batch has only packets that are there already: libpcap returns from a batch when it is
    full, so one that is too large would keep the first packets back.  With a filter nobody knows how many
    will pass, and a batch has one packet.
    """

    def __init__(
        self, handle: Handle, stream: ReaderStream | None, pipe: _Pipe | None, file: BinaryIO | None = None
    ) -> None:
        super().__init__(handle, scale=1, linger=0, live=False)
        self._stream, self._pipe, self._file = stream, pipe, file
        self._taken = 0

    @property
    def at_hand(self) -> bool:
        """The pipe was read further than packets were asked for."""
        return self._pipe is not None and self._pipe.framer.packets > self._taken

    def _take(self, limit: int) -> Lease | None:
        if self._pipe is not None:
            there = 1 if self.filtered else self._pipe.framer.packets - self._taken
            limit = min(limit, max(1, there))
        batch = super()._take(limit)
        if batch is not None:
            self._taken += batch.count
        return batch

    def _note(self, status: int, pcap: Any) -> None:
        if status < 0 and self._stream is not None and self._stream.error is not None:
            error, self._stream.error = self._stream.error, None
            if not isinstance(error, Exception):
                raise error
            self._failure = self._failure or _unreadable(self._handle.name, error)
            return
        super()._note(status, pcap)

    def close(self) -> None:
        """Let go of the pipe too."""
        super().close()
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            pipe.close()
        if self._file is not None:
            self._file.close()


def _unreadable(name: str, error: Exception) -> PcapError:
    if isinstance(error, PcapError):
        return error
    return SavefileError(f"{name}: cannot be read: {error}")


def open_savefile(source: Any, waker: Waker, lend: bool) -> tuple[Handle, Source]:
    """Open a path, "-" (standard input), a descriptor number, or a binary file object.

    ``lend``: give lent blocks where that is possible.

    Raises FileNotFoundError and other OSErrors as open() does, SavefileError where libpcap cannot read it.
    """
    if isinstance(source, int) or source == "-":
        fd = os.dup(0 if source == "-" else source)
        return _open_descriptor(
            fd, "standard input" if source in ("-", 0) else f"descriptor {source}", waker, lend
        )
    if isinstance(source, str | bytes | os.PathLike):
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        return _open_descriptor(fd, os.fsdecode(source), waker, lend)
    raw = source.raw if isinstance(source, io.BufferedReader) else source
    if isinstance(raw, io.FileIO):
        fd = os.dup(raw.fileno())
        if source.seekable():
            os.lseek(fd, source.tell(), os.SEEK_SET)  # what a BufferedReader has read ahead is not lost
        return _open_descriptor(fd, str(raw.name), waker, lend)
    if isinstance(source, io.TextIOBase) or not callable(getattr(source, "read", None)):
        raise TypeError("open_offline takes a path, a descriptor, or a file object opened in binary mode")
    stream = ReaderStream(_exact_reader(source), _OBJECT_BUFFER)
    return _open_stream(stream, str(getattr(source, "name", type(source).__name__)), None)


def _exact_reader(source: Readable) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        data = source.read(size)
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) > size:
            raise TypeError(f"read({size}) returned {type(data).__name__} of the wrong type or size")
        return bytes(data)

    return read


def _open_descriptor(fd: int, name: str, waker: Waker, lend: bool) -> tuple[Handle, Source]:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.close(fd)
        raise IsADirectoryError(f"{name} is a directory, not a savefile")
    if stat.S_ISREG(mode):
        if os.pread(fd, len(zstd.MAGIC), os.lseek(fd, 0, os.SEEK_CUR)) == zstd.MAGIC:
            return _open_compressed(fd, name)
        c = library()
        file = open_descriptor(fd)
        pcap, message = _open_file(c, file)
        if not pcap:
            close_stream(file)
            raise SavefileError(f"{name}: {message}")
        return _regular(Handle(c, pcap, name), lend)
    pipe = _Pipe(fd, waker)
    return _open_stream(ReaderStream(pipe.read, _PIPE_BUFFER), name, pipe)


def _open_compressed(fd: int, name: str) -> tuple[Handle, Source]:
    """What zstd has packed, as Dumper writes it: unpacked as it is read."""
    file = os.fdopen(fd, "rb", buffering=0)
    try:
        unpacked = zstd.reader(file)
        # read1(): where the file is cut, what is there of the last piece comes before the error.
        return _open_stream(ReaderStream(unpacked.read1, _OBJECT_BUFFER), name, None, file)
    except BaseException:
        file.close()
        raise


def _open_stream(
    stream: ReaderStream, name: str, pipe: _Pipe | None, file: BinaryIO | None = None
) -> tuple[Handle, Source]:
    c = library()
    pcap, message = _open_file(c, stream.file)
    if not pcap:
        stream.close()
        if pipe is not None:
            pipe.close()
        if isinstance(stream.error, Exception):
            raise _unreadable(name, stream.error) from stream.error
        if stream.error is not None:
            raise stream.error
        raise SavefileError(f"{name}: {message}")
    return _source(Handle(c, pcap, name), stream, pipe, file)


def _regular(handle: Handle, lend: bool) -> tuple[Handle, Source]:
    """A regular file: lent blocks from a patched library, else copied batches."""
    patch = extension.of(handle.c) if lend else None
    if patch is not None:
        with handle.borrow() as pcap:
            lends = patch.info(pcap).lent
        if lends:
            return handle, PatchedSource(handle, patch, linger=0, live=False)
    return _source(handle, None, None)


def _source(
    handle: Handle, stream: ReaderStream | None, pipe: _Pipe | None, file: BinaryIO | None = None
) -> tuple[Handle, Source]:
    try:
        return handle, SavefileSource(handle, stream, pipe, file)
    except BaseException:
        handle.close()
        if pipe is not None:
            pipe.close()
        raise


def _open_file(c: Library, file: int) -> tuple[Any, str]:
    """pcap_fopen_offline_with_tstamp_precision(3PCAP), since libpcap 1.5.1."""
    errbuf = ctypes.create_string_buffer(PCAP_ERRBUF_SIZE)
    pcap = c.pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, errbuf)
    return pcap, errbuf.value.decode(errors="replace")
