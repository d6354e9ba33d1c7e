"""Rotation: one file after the other, each packet in exactly one of them.

When a file is full and what the next is called are as tcpdump(8) has it, -C, -G and -W; only the clock is
that of the packets, so that reading a savefile gives the files that capturing gave.
"""

from __future__ import annotations

import errno
import time
import warnings
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from . import zstd
from .block import Block
from .dumper import Sink
from .errors import DumpError
from .leases import RECORD

_NANOSECONDS = 1_000_000_000
_SUFFIXES = (zstd.SUFFIX, ".parquet")
"""By these a file's kind is told, so they stay behind what is added to a name."""


@dataclass(frozen=True)
class Rotation:
    """When to begin another file, and how many there may be.

    ``size``     bytes: a packet that comes when the file is larger than that goes into another (-C)
    ``seconds``  a packet so long after the file's beginning goes into another, and the target is a
                 strftime(3) format of local time (-G)
    ``files``    with ``size``: after so many names, the first is used again; with ``seconds`` alone: so many
                 files, and no packet after those; with both: so many names between two beginnings (-W)
    """

    size: int | None = None
    seconds: int | None = None
    files: int | None = None

    def __post_init__(self) -> None:
        for name in ("size", "seconds", "files"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it is at least 1, or None")
        if self.size is None and self.seconds is None:
            raise ValueError("a rotation is by size, by seconds, or by both")

    def name(self, target: str, count: int, ts_ns: int) -> str:
        """The ``count``-th file, from 0, since the last beginning, which was at ``ts_ns``."""
        suffix = next((suffix for suffix in _SUFFIXES if target.endswith(suffix)), "")
        stem = target.removesuffix(suffix)
        if self.seconds is not None:
            stem = _strftime(stem, ts_ns)
        if self.size is None:
            return stem + suffix
        digits = len(str(self.files - 1)) if self.files is not None and self.files > 1 else 0
        return f"{stem}{count:0{digits}d}{suffix}" if count or digits else stem + suffix


def _strftime(target: str, ts_ns: int) -> str:
    when = time.localtime(ts_ns // _NANOSECONDS)
    try:
        return time.strftime(target, when)
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"{target!r} is no strftime(3) format: {error}") from None


class Rotating:
    """Writes blocks into one file after the other; a Sink with the accounts of all of them.

    ``finished`` is True when the last file that there may be is full: the packet that would have begun
    another, and all after it, are not written.  ``opened`` is the number of files, ``name`` that of the last.
    """

    def __init__(
        self, target: str, rotation: Rotation, open_file: Callable[[str], Sink], began_ns: int | None
    ) -> None:
        """``open_file`` makes or replaces the file of a name.

        ``began_ns``: when the first file begins, which is then made at once; None: with the first packet.
        """
        self._target, self._rotation, self._open = target, rotation, open_file
        self._packets = self._nbytes = self._size = 0  # of the files before the current one
        self._sink: Sink | None = None
        self._began_ns, self._count, self._beginnings = 0, 0, 0
        self.finished = False
        self.opened = 0
        self.name = target
        if rotation.seconds is not None and "%" not in target:
            warnings.warn(
                f"{target}: each file will replace the one before; give it a name with a time format that "
                "changes as often as the files, as %Y%m%d-%H%M%S",
                RuntimeWarning,
                stacklevel=3,
            )
        if began_ns is not None:
            self._begin(began_ns)

    @property
    def packets(self) -> int:
        """Whole packets written, into all files."""
        return self._packets + (self._sink.packets if self._sink is not None else 0)

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return self._nbytes + (self._sink.nbytes if self._sink is not None else 0)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._size + (self._sink.size if self._sink is not None else 0)

    @property
    def records_unit(self) -> None:
        """Where one file ends is seen by the index of a block."""

    def write_records(self, data: memoryview, count: int) -> None:
        """Not to be had."""
        raise TypeError("packets go into files in rotation by blocks")

    def write(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Append the packets of a block, or some of them, each to the file that it belongs to.

        Raises DumpError, or OSError where the next file cannot be made; ``packets`` is right then.
        """
        first, last, _ = slice(start, stop).indices(len(block))
        while first < last and not self.finished:
            sink, fresh = self._next_file(block, first)
            if sink is None:
                return
            # A new file takes one packet at least, however small the limit is.
            end = min(max(self._room(sink, block, first), first + fresh), last)
            if end > first:
                sink.write(block, first, end)
            first = end

    def room(self, block: Block, start: int, limit: int) -> int:
        """Of all files together."""
        return start if self.size > limit else len(block)

    def close(self) -> None:
        """Finish the last file.  Raises DumpError as that does."""
        sink = self._sink
        try:
            if sink is not None:
                sink.close()
        finally:
            self._leave()

    def _room(self, sink: Sink, block: Block, first: int) -> int:
        """The packet, from ``first`` on, with which another file begins; ``len(block)`` where none does."""
        count = len(block)
        if self._rotation.seconds is not None:
            ends = self._end_ns()
            if RECORD.unpack_from(block.index, (count - 1) * RECORD.size)[0] >= ends:
                # Where packets are not in order of time this finds one of those at the boundary.
                times = block.index.cast("Q")[::3]
                count = first + bisect_left(times[first:].tolist(), ends)
        size = self._rotation.size
        return count if size is None else min(count, sink.room(block, first, size))

    def _end_ns(self) -> int:
        """From when on a packet is too late for this file: whole seconds, as tcpdump counts."""
        assert self._rotation.seconds is not None
        return (self._began_ns // _NANOSECONDS + self._rotation.seconds) * _NANOSECONDS

    def _next_file(self, block: Block, first: int) -> tuple[Sink | None, bool]:
        """The file for packet ``first``, and whether it is new; None where there may be no more."""
        if self._sink is None and self.opened and not self.finished:
            raise DumpError(f"{self.name}: closed, or it could not be made", errno.EBADF)
        ts_ns: int = RECORD.unpack_from(block.index, first * RECORD.size)[0]
        size, files = self._rotation.size, self._rotation.files
        fresh = False
        if self._sink is None:
            fresh = True
            self._begin(ts_ns)
        elif self._rotation.seconds is not None and ts_ns >= self._end_ns():
            self.close()
            if size is None and files is not None and self._beginnings >= files:
                self.finished = True
                return None, False
            fresh = True
            self._begin(ts_ns)
        assert self._sink is not None
        if size is not None and self._sink.size > size and not fresh:
            self.close()
            self._count += 1
            if files is not None and self._count >= files:
                self._count = 0
            fresh = True
            self._open_file()
        return self._sink, fresh

    def _begin(self, ts_ns: int) -> None:
        self._began_ns, self._count = ts_ns, 0
        self._beginnings += 1
        self._open_file()

    def _open_file(self) -> None:
        name = self._rotation.name(self._target, self._count, self._began_ns)
        try:
            self._sink = self._open(name)
        except OSError as error:
            if isinstance(error, DumpError) or not self.opened:
                raise
            why = f"{name}: {error.strerror}; {self.packets} whole packets were written before"
            raise DumpError(why, error.errno) from error
        self.name = name
        self.opened += 1

    def _leave(self) -> None:
        """Take over the account of the current file."""
        sink, self._sink = self._sink, None
        if sink is not None:
            self._packets += sink.packets
            self._nbytes += sink.nbytes
            self._size += sink.size

    def __enter__(self) -> Rotating:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
