"""Tally: where the packets of a command go, and how many there were."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import click

from ..block import Block
from ..capture import Capture
from ..dumper import Sink
from ..errors import DumpError
from ..leases import RECORD
from .terminal import packet_line


@dataclass
class Tally:
    """Counts blocks after they were written and before they are printed: what is counted is in the file."""

    sink: Sink | None
    show: bool
    packets: int = 0
    nbytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """Everything that may be written is."""
        return self.sink is not None and self.sink.finished

    def take(self, block: Block) -> None:
        """Write, count and print a block.  Raises DumpError after counting what was written."""
        if self.sink is None:
            self._count(block, len(block), block.packet_bytes)
        else:
            before = self.sink.packets, self.sink.nbytes
            try:
                self.sink.write(block)
            finally:
                self._count(block, self.sink.packets - before[0], self.sink.nbytes - before[1])
        if self.show:
            self._print(block)

    def take_from(self, capture: Capture, timeout: float, count: int | None) -> None:
        """Write what comes within ``timeout`` seconds, at most ``count`` packets.  Raises DumpError."""
        assert self.sink is not None
        before = self.sink.packets, self.sink.nbytes
        try:
            capture.dump(self.sink, timeout, count)
        finally:
            self.packets += self.sink.packets - before[0]
            self.nbytes += self.sink.nbytes - before[1]

    def close(self) -> None:
        """Finish the files.  Raises DumpError; what is not in them then is no longer counted."""
        if self.sink is not None:
            try:
                self.sink.close()
            finally:
                self.packets, self.nbytes = self.sink.packets, self.sink.nbytes

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.sink is not None:
            self.sink.close()

    def _print(self, block: Block) -> None:
        data = block.data
        lines = [
            packet_line(ts_ns, data[offset : offset + caplen], wirelen)
            for ts_ns, offset, caplen, wirelen, _ in RECORD.iter_unpack(block.index)
        ]
        try:
            click.echo("\n".join(lines))
        except OSError as error:
            if self.sink is None:  # nothing else to report: click ends quietly where the reader has left
                raise
            raise DumpError(f"standard output: {error.strerror}", error.errno) from error

    def _count(self, block: Block, packets: int, nbytes: int) -> None:
        if packets > 0:
            index = block.index
            self.first_ns = RECORD.unpack_from(index)[0] if self.first_ns is None else self.first_ns
            self.last_ns = RECORD.unpack_from(index, (packets - 1) * RECORD.size)[0]
        self.packets += packets
        self.nbytes += nbytes

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.started
