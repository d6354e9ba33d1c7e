"""Where a build runs.

An engine turns a patched tree into a library; all else is the same for every engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .. import targets, toolchain
from ..failures import EngineError, KitError, ToolError, UnknownTargetError
from ..targets import Target
from ..trust import Trust

Report = Callable[[str], None]
"""Takes one line that says what is being done."""

NAMES = ("auto", "container", "local")
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


@dataclass(frozen=True)
class Options:
    """What the container engine can be told."""

    base_image: str | None = None
    """In place of the pinned one."""
    trust: Trust = field(default_factory=Trust)
    memory: int = 2 << 30
    processes: int = 512


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


def candidates(name: str, options: Options) -> list[Engine]:
    """The engines whose results will do, the preferred first; nothing is asked of any container engine."""
    from .container import ContainerEngine
    from .local import LocalEngine

    if name not in NAMES:
        raise ValueError(f"unknown engine {name!r}; there are {', '.join(NAMES)}")
    if name == "local":
        return [LocalEngine()]
    if name == "container":
        return [ContainerEngine(options)]
    found: list[Engine] = []
    reasons: list[str] = []
    for make in (LocalEngine, lambda: ContainerEngine(options)):
        try:
            found.append(make())
        except KitError as error:
            reasons.append(str(error))
    if not found:
        raise ToolError(reasons[0])
    return found


def choose(name: str, target: Target, options: Options, report: Report) -> Engine:
    """The engine that builds this.

    ``auto`` takes a container wherever the image is already there.  Where it would first have to be made, it
    does so for another system than this one, where the base image is named, and where the local engine lacks
    its tools; else a library for this host is built here in less time than that takes.
    """
    found = candidates(name, options)
    if name != "auto":
        return found[0]
    from .container import ContainerEngine

    others = [engine for engine in found if not isinstance(engine, ContainerEngine)]
    containers = [engine for engine in found if isinstance(engine, ContainerEngine)]
    if not containers:
        report("engine: local (docker-py is not installed)")
        return others[0]
    container = containers[0]
    make_image = not others or options.base_image is not None or not _is_host(target)
    reason = container.why_not(make_image=make_image)
    if reason is None:
        report(f"engine: container ({container.where()})")
        return container
    if not others:
        raise EngineError(f"no engine can build this: {toolchain.why_not()}; and no container: {reason}")
    report(f"engine: local ({reason})")
    return others[0]


def _is_host(target: Target) -> bool:
    try:
        return target.name == targets.host_name()
    except UnknownTargetError:
        return False
