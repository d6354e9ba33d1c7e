"""Tally: where the packets of a command go, and how many there were."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import click

from ..block import RECORD, Block
from ..dumper import Dumper
from ..errors import DumpError
from .terminal import packet_line


@dataclass
class Tally:
    """Counts blocks after they were written and before they are printed: what is counted is in the file."""

    dumper: Dumper | None
    show: bool
    packets: int = 0
    nbytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    started: float = field(default_factory=time.monotonic)

    def take(self, block: Block) -> None:
        """Write, count and print a block.  Raises DumpError after counting what was written."""
        if self.dumper is not None:
            before = self.dumper.packets
            try:
                self.dumper.write(block)
            except OSError:
                self._count(block, self.dumper.packets - before)
                raise
        self._count(block, len(block))
        if self.show:
            self._print(block)

    def _print(self, block: Block) -> None:
        data = block.data
        lines = [
            packet_line(ts_ns, data[offset : offset + caplen], wirelen)
            for ts_ns, offset, caplen, wirelen, _ in RECORD.iter_unpack(block.index)
        ]
        try:
            click.echo("\n".join(lines))
        except OSError as error:
            if self.dumper is None:  # nothing else to report: click ends quietly where the reader has left
                raise
            raise DumpError(f"standard output: {error.strerror}", error.errno) from error

    def _count(self, block: Block, packets: int) -> None:
        if packets:
            times = block.index.cast("Q")[::3]
            self.first_ns = times[0] if self.first_ns is None else self.first_ns
            self.last_ns = times[packets - 1]
        self.packets += packets
        if packets == len(block):
            self.nbytes += block.packet_bytes
        else:
            self.nbytes += sum(block.index.cast("I")[3::6][:packets])

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.started
