"""``pypcapzc build --all``: every target, each in a process of its own, two at a time where memory allows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from .terminal import size

NEEDED = 2 << 30
"""Bytes that one build may take."""
_MOST = 2
"""make runs on all processors already; a second build fills the gaps of configure and of linking."""


@dataclass
class Outcome:
    """What came of one target."""

    target: str
    seconds: float = 0.0
    result: dict[str, Any] | None = None
    lines: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the result, or why there is none."""
        return self.result or {"target": self.target, "error": self.said(), "seconds": round(self.seconds, 2)}

    def said(self) -> str:
        """The one line of a failure."""
        lines = [line for line in self.lines if line.startswith("pypcapzc: ")]
        return lines[-1].removeprefix("pypcapzc: ") if lines else "it ended without a word"


def at_once() -> int:
    """How many builds fit into memory and processors."""
    return max(1, min(_MOST, os.cpu_count() or 1, available() // NEEDED))


def available() -> int:
    """Bytes of memory that can be had; where the system does not say, as much as one build takes."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return NEEDED


def build_all(targets: Sequence[str], arguments: Sequence[str]) -> list[Outcome]:
    """Build them; what one of them fails at does not stop the others, an interruption does."""
    outcomes = [Outcome(target) for target in targets]
    waiting = list(reversed(outcomes))
    running: dict[subprocess.Popen[str], threading.Thread] = {}
    limit = at_once()
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                process, thread = _started(waiting.pop(), arguments)
                running[process] = thread
            time.sleep(0.1)
            for process in [process for process in running if process.poll() is not None]:
                running.pop(process).join()
    except BaseException:
        _stopped(running)
        raise
    return outcomes


def _started(outcome: Outcome, arguments: Sequence[str]) -> tuple[subprocess.Popen[str], threading.Thread]:
    # In a session of its own: Ctrl-C comes from us, once, and not from the terminal as well.
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, "build", "--json", "--target", outcome.target, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    thread = threading.Thread(target=_follow, args=(process, outcome), daemon=True)
    thread.start()
    return process, thread


# SIGINT may have been ignored where this was started in the background.
_CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pypcapzc.cli import main
sys.exit(main())
"""


def _follow(process: subprocess.Popen[str], outcome: Outcome) -> None:
    began = time.monotonic()
    assert process.stderr is not None
    assert process.stdout is not None
    with process.stderr, process.stdout:
        for line in process.stderr:
            outcome.lines.append(line.rstrip("\n"))
            click.echo(line.rstrip("\n"), err=True)
        output = process.stdout.read()
    outcome.seconds = time.monotonic() - began
    if process.wait() == 0:
        (outcome.result,) = json.loads(output)["results"]


def _stopped(running: dict[subprocess.Popen[str], threading.Thread]) -> None:
    for process in running:
        process.send_signal(signal.SIGINT)
    for process, thread in running.items():
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        thread.join(5)


def show(outcomes: Sequence[Outcome]) -> None:
    """The table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("target", "engine", "sysroot", "size", "sha256", "checks", "seconds"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("size", "seconds") else "left")
    for outcome in outcomes:
        row = outcome.result
        if row is None:
            table.add_row(outcome.target, "-", "-", "-", "-", "failed", f"{outcome.seconds:.1f}")
            continue
        table.add_row(
            outcome.target,
            row["engine"],
            row["sysroot"],
            size(row["size"]),
            row["sha256"][:16],
            checks(row["checks"]),
            f"{row['seconds']:.1f}" + (" (cached)" if row["cached"] else ""),
        )
    console = Console(stderr=True, highlight=False, width=max(160, Console(stderr=True).width))
    console.print(table)
    for outcome in outcomes:
        if outcome.result is None:
            click.echo(f"{outcome.target}: {outcome.said()}", err=True)


def checks(rows: Sequence[dict[str, Any]]) -> str:
    """As ``11 ok``, with what could not be tried."""
    passed = sum(row["passed"] is True for row in rows)
    untried = sum(row["passed"] is None for row in rows)
    return f"{passed} ok" + (f", {untried} not tried" if untried else "")
