"""Where a command writes packets: a savefile, files for analysis, one after the other or a single one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..capture import Capture
from ..dumper import Compression, Sink
from ..errors import PcapError
from ..rotation import Rotating, Rotation
from . import options as shared
from .outcome import one_line

_Command = TypeVar("_Command", bound=Callable[..., Any])
_UNITS = {"": 1_000_000, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}  # as tcpdump(8) has them
KINDS = ("parquet",)


def _file_size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Bytes: millions, or with K, M or G powers of 1024."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,15})([kmg]?)(ib)?", text, re.ASCII | re.IGNORECASE)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{text!r} is not a size; write 5 for 5,000,000 bytes, or 500K, 5M, 1G")
    return int(found[1]) * _UNITS[found[2].lower()]


@dataclass(frozen=True)
class Output:
    """What the options ask for."""

    target: str | None
    kind: str | None
    rotation: Rotation | None
    zstd: bool
    decode: bool

    def open(self, capture: Capture) -> Sink | None:
        """The files for packets of this capture."""
        if self.target is None:
            return None
        if self.kind is not None:
            return self._open_table(capture, self.target)
        compress: Compression | None = "zstd" if self.zstd else None
        if self.rotation is not None:
            return capture.dump_rotating(self.target, self.rotation, compress=compress)
        return capture.dump_open(self.target, compress=compress)

    def _open_table(self, capture: Capture, target: str) -> Sink:
        try:
            from ..export.parquet import ParquetWriter
        except ImportError as error:  # numpy, which the error says how to get
            raise PcapError(str(error)) from None
        datalink = capture.datalink if self.decode else None

        def made(name: str) -> Sink:
            return ParquetWriter(name, datalink=datalink)

        if self.rotation is None:
            return made(target)
        return Rotating(target, self.rotation, made, time.time_ns() if capture.live else None)

    def written(self, sink: Sink | None) -> str:
        """For the text of the totals: where the packets went."""
        if sink is None or self.target in (None, "-"):
            return ""
        if isinstance(sink, Rotating):
            files = "1 file" if sink.opened == 1 else f"{sink.opened:,} files"
            return f", written to {files}, the last {one_line(sink.name)}"
        return f", written to {one_line(str(self.target))}"


def opened_files(sink: Sink | None) -> int:
    """For the totals as JSON: how many files were begun."""
    if isinstance(sink, Rotating):
        return sink.opened
    return int(sink is not None)


def output_options(command: _Command) -> _Command:
    """The options that make an Output; see chosen()."""
    for option in (
        click.option("--decode", is_flag=True, help="With --to: header fields as columns, too."),
        click.option(
            "--zstd", is_flag=True, help="With -w: compressed, also where FILE does not end in .zst."
        ),
        click.option("-W", "file_count", type=click.IntRange(min=1), metavar="N", help=_FILES),
        click.option("-G", "file_seconds", type=click.IntRange(min=1), metavar="S", help=_SECONDS),
        click.option("-C", "file_size", callback=_file_size, metavar="SIZE", help=_SIZE),
        click.option("--to", metavar="KIND:FILE", help="Write a table for analysis: parquet:FILE."),
        shared.write_option,
    ):
        command = option(command)
    return command


_SIZE = "Begin another file (FILE1, FILE2) when one is larger: millions of bytes, or 500K, 5M, 1G."
_SECONDS = "Begin another file after S seconds; FILE is a strftime(3) format."
_FILES = "With -C: N files, over and over.  With -G alone: stop after N files."


def chosen(
    target: str | None,
    to: str | None,
    file_size: int | None,
    file_seconds: int | None,
    file_count: int | None,
    zstd: bool,
    decode: bool,
) -> Output:
    """What these options come to.  Raises click.UsageError where they do not go together."""
    kind = None
    if to is not None:
        if target is not None:
            raise click.UsageError("-w and --to: choose one")
        kind, colon, target = to.partition(":")
        if kind not in KINDS or not colon or not target:
            raise click.UsageError(f"--to takes parquet:FILE, not {to!r}")
        if target == "-":
            raise click.UsageError("a parquet file cannot be written to standard output")
    if decode and kind is None:
        raise click.UsageError("--decode is for --to")
    if zstd and (target is None or kind is not None):
        raise click.UsageError("--zstd is for -w (parquet files are compressed already)")
    rotation = None
    if file_size is not None or file_seconds is not None:
        if target is None or target == "-":
            raise click.UsageError("-C and -G are for files: give -w FILE or --to parquet:FILE")
        rotation = Rotation(file_size, file_seconds, file_count)
    elif file_count is not None:
        raise click.UsageError("-W limits the files of -C or -G: give one of them, too")
    return Output(target, kind, rotation, zstd, decode)
