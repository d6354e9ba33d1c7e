"""``pypcapzc capture``."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from .. import platforms
from ..capture import Capture, Mode
from ..draining import remaining
from ..errors import PcapError
from ..live import open_live
from ..sources.live import MAXIMUM_SNAPLEN
from ..zerocopy import InUse
from . import options as shared
from .outcome import Exit, code_of, warn
from .output import chosen, opened_files, output_options
from .tally import Tally
from .terminal import REFRESH, Progress, packets, progress, size

_TIMEOUT_MS = 100


@click.command(short_help="Count packets, write them to a savefile, or print them.")
@click.option("-i", "--device", required=True, metavar="DEV", help="The device; see `pypcapzc devices`.")
@shared.filter_option
@output_options
@shared.count_option
@click.option("--duration", type=shared.SECONDS, metavar="S", help="Stop after S seconds.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "zerocopy", "buffered"]),
    default="auto",
    show_default=True,
    help="auto: lent blocks where they can be had; zerocopy: lent, or an error; buffered: copied.",
)
@click.option(
    "--buffer-size",
    type=shared.buffer_size,
    metavar="N",
    help="Bytes of the kernel's buffer, as 256M.  [default: libpcap's, 2M on Linux]",
)
@click.option(
    "--snaplen",
    type=click.IntRange(1, MAXIMUM_SNAPLEN),
    metavar="N",
    default=MAXIMUM_SNAPLEN,
    show_default=True,
    help="Bytes kept of each packet.",
)
@click.option("--no-promisc", is_flag=True, help="Do not put the device into promiscuous mode.")
@click.option("--immediate", is_flag=True, help="Deliver each packet at once, at a price under load.")
@shared.print_option
@shared.json_option
def capture(
    device: str,
    filter_: str | None,
    count: int | None,
    duration: float | None,
    mode: Mode,
    buffer_size: int | None,
    snaplen: int,
    no_promisc: bool,
    immediate: bool,
    show: bool,
    as_json: bool,
    **files: Any,
) -> int:
    """Capture packets: count them, write them to a savefile, or print them.

    Ctrl-C ends it, after the packets that the kernel has already taken; a second Ctrl-C at once.
    """
    output = chosen(**files)
    shared.check_standard_output(output.target, as_json, show)
    opened = open_live(
        device,
        snaplen=snaplen,
        promisc=not no_promisc,
        timeout_ms=_TIMEOUT_MS,
        buffer_size=buffer_size,
        immediate=immediate,
        mode=mode,
        filter=filter_,
    )
    with opened, Tally(output.open(opened), show) as tally:
        session = _Session(opened, tally, count, duration)
        in_use = opened.zero_copy
        with _interruptible(session):
            if not as_json:
                warn(f"capturing on {device}; {in_use.reason}")
                if in_use.clipped:
                    warn(f"the buffer is smaller than asked for: {in_use.clipped}")
            with progress(not show) as line:
                session.run(line)
        summary = session.summary(in_use)
        written = output.written(tally.sink)
    if as_json:
        click.echo(json.dumps(summary))
    else:
        click.echo(_text(summary, written), err=output.target == "-" or show)
    if session.failure is not None:
        warn(str(session.failure))
        return code_of(session.failure)
    return Exit.INTERRUPTED if session.interrupted else Exit.DONE


class _Session:
    """One run of the command."""

    def __init__(self, opened: Capture, tally: Tally, count: int | None, duration: float | None) -> None:
        self.opened, self.tally = opened, tally
        self._count, self._duration = count, duration
        self.interrupted = False
        self.failure: PcapError | None = None

    def interrupt(self) -> None:
        """End it; the second time at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.opened.breakloop()

    def run(self, line: Progress) -> None:
        """Capture until it is to end; a failure is kept, after all that was captured before it."""
        try:
            if self._capture(line) and self.opened.stop():
                self._take_the_rest(line)
        except PcapError as error:
            self.failure = error
        try:
            self.tally.close()
        except PcapError as error:
            self.failure = self.failure or error

    def _capture(self, line: Progress) -> bool:
        """True where it ends with packets still coming, False where the count or the files are complete."""
        deadline = math.inf if self._duration is None else time.monotonic() + self._duration
        while not self.interrupted and (left := deadline - time.monotonic()) > 0:
            wanted = None if self._count is None else self._count - self.tally.packets
            if wanted == 0:
                return False
            self._take(min(left, REFRESH), wanted)
            if self.tally.finished:
                return False
            self._show(line)
        return True

    def _take(self, timeout: float, wanted: int | None) -> None:
        """What comes within ``timeout`` seconds."""
        if self.tally.sink is not None and not self.tally.show:
            self.tally.take_from(self.opened, timeout, wanted)
            return
        for block in self.opened.blocks(timeout, wanted):
            self.tally.take(block)
            if self.tally.finished:
                return

    def _take_the_rest(self, line: Progress) -> None:
        """What the kernel has taken already."""
        for block in remaining(self.opened, self.tally.packets, _TIMEOUT_MS):
            self.tally.take(block)
            self._show(line)

    def _show(self, line: Progress) -> None:
        if line.due():
            line.update(self.tally.packets, self.tally.nbytes, self.opened.stats().dropped)

    def summary(self, in_use: InUse) -> dict[str, Any]:
        """The object of ``--json``."""
        stats = self.opened.stats()
        matched: int | None = stats.received
        if platforms.current().counts_before_filter:
            descriptor = self.opened.zero_copy.descriptor
            matched = descriptor.matched if descriptor is not None else None
        return {
            "captured": self.tally.packets,
            "received": stats.received,
            "matched": matched,
            "dropped": stats.dropped,
            "dropped_by_interface": stats.dropped_by_interface,
            "bytes": self.tally.nbytes,
            "seconds": round(self.tally.seconds, 6),
            "mode": "zerocopy" if in_use.shared else "buffered",
            "mechanism": in_use.mechanism,
            "lent": in_use.lent,
            "device": self.opened.name,
            "reason": in_use.reason,
            "interrupted": self.interrupted,
            "buffer_size": in_use.granted_bytes,
            "clipped": in_use.clipped,
            "files": opened_files(self.tally.sink),
        }


@contextmanager
def _interruptible(session: _Session) -> Iterator[None]:
    """Ctrl-C (SIGINT) and SIGTERM end the waiting, and lose no packet that was taken."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        session.interrupt()

    # An ignored SIGINT (a shell's background job) stays ignored.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _text(summary: dict[str, Any], written: str) -> str:
    seconds = max(summary["seconds"], 1e-9)
    before_filter = platforms.current().counts_before_filter
    return (
        f"{packets(summary['captured'])} captured ({size(summary['bytes'])} in {seconds:.2f} s, "
        f"{summary['captured'] / seconds:,.0f}/s){written}\n"
        f"{summary['received']:,} received {'before' if before_filter else 'by'} the filter, "
        f"{summary['dropped']:,} dropped by the kernel, "
        f"{summary['dropped_by_interface']:,} dropped by the interface\n"
        f"{'blocks lent by the kernel' if summary['mode'] == 'zerocopy' else 'packets copied'} "
        f"(mechanism {summary['mechanism']})"
    )
