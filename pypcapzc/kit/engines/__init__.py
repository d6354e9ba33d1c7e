"""Where a build runs.

An engine turns a patched tree into a library; all else is the same for every engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..targets import Target

Report = Callable[[str], None]
"""Takes one line that says what is being done."""

NAMES = ("auto", "local")
"""What ``--engine`` takes."""


@dataclass(frozen=True)
class Job:
    """One build: ``work`` holds the patched tree in ``src``, and is the engine's to fill."""

    target: Target
    version: str
    work: Path
    log: Path
    report: Report
    seconds: float = 1200.0
    """The engine gives up after so long."""


class Engine(Protocol):
    """What an engine must do."""

    name: str

    def versions(self) -> dict[str, str]:
        """The versions of all its tools, for the manifest."""

    def identity(self, target: Target) -> dict[str, str]:
        """What of it shapes the result: the tools' versions and the sysroot."""

    def sysroot(self, target: Target) -> str:
        """Whose headers and libraries it builds against."""

    def build(self, job: Job) -> Path:
        """Configure and compile; returns the library, somewhere under ``job.work``."""


def choose(name: str) -> Engine:
    """The engine of this name; ``auto`` is the local one."""
    from .local import LocalEngine

    if name not in NAMES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(NAMES)}")
    return LocalEngine()
