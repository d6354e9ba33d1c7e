"""What a terminal shows: consoles, live progress, sizes, packet lines."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

REFRESH = 0.25
"""Seconds between two looks of the progress line."""


def standard_output() -> Console:
    """The console of standard output: text goes out as it is, and is not broken into lines."""
    from rich.console import Console  # here and below: most runs of most commands need none of it

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def wrapped(text: str, indent: str, first: str | None = None) -> str:
    """The text in lines that fit the terminal, indented; in one line where standard output is none."""
    first = indent if first is None else first
    console = standard_output()
    if not console.is_terminal:
        return first + text
    width = max(console.width, len(indent) + 20)
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def size(count: float) -> str:
    """Bytes for people, as 12.3 MB (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def packets(count: int) -> str:
    """The number with its noun."""
    return f"{count:,} packet{'' if count == 1 else 's'}"


class Progress:
    """One line that is written over: packets, rate, bytes, drops.  Nothing where nobody would see it."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._shown = (time.monotonic(), 0)

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return self._live is not None and time.monotonic() >= self._shown[0] + REFRESH

    def update(self, packets: int, nbytes: int, dropped: int | None = None) -> None:
        """Show these totals."""
        if self._live is None:
            return
        now = time.monotonic()
        then, before = self._shown
        rate = (packets - before) / (now - then)
        self._shown = (now, packets)
        from rich.text import Text

        text = Text(f"{packets:,} packets   {rate:,.0f}/s   {size(nbytes)}")
        if dropped is not None:
            text.append("   ").append(f"{dropped:,} dropped", "bold red" if dropped else "")
        self._live.update(text, refresh=True)


@contextmanager
def progress(wanted: bool) -> Iterator[Progress]:
    """A Progress on standard error where that is a terminal."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield Progress(live)


def packet_line(ts_ns: int, data: memoryview, wirelen: int) -> str:
    """One packet: time of day, bytes present and on the wire, the first bytes."""
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{clock}.{rest:09d}  {len(data):5d}/{wirelen:<5d}  {bytes(data[:16]).hex(' ', 2)}"
