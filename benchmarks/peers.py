"""The libraries that are measured, and a virtual environment of its own for each peer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_INSTALL_TIMEOUT = 600


@dataclass(frozen=True)
class Contestant:
    """A library, the module of its consumer, and the ways in which it is measured."""

    name: str
    module: str
    ways: tuple[str, ...]
    requirement: str | None = None
    """What pip installs; None for this project itself, which runs from its source tree."""


CONTESTANTS = (
    Contestant("pypcapzc", "benchmarks.consumers.pypcapzc", ("iterator", "blocks")),
    Contestant("pypcap", "benchmarks.consumers.pypcap", ("iterator", "readpkts"), "pypcap==1.3.0"),
    Contestant(
        "pcapy-ng", "benchmarks.consumers.pcapy_ng", ("next", "dispatch", "next_batch"), "pcapy-ng==2.1.0"
    ),
)
REFERENCE = ("pypcap", "iterator")
"""What ratios refer to."""


class PeerError(Exception):
    """A peer cannot be had here; the message says why."""


def default_folder() -> Path:
    """Where the peers' environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "pypcapzc" / "bench"


def interpreter(contestant: Contestant, folder: Path, *, install: bool) -> str:
    """The Python that runs this contestant's consumer; its environment is made if need be."""
    if contestant.requirement is None:
        return sys.executable
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    home = folder / f"{contestant.requirement.replace('==', '-')}-{version}"
    python = home / "bin" / "python"
    if os.path.exists(home / "complete") and os.access(python, os.X_OK):
        return str(python)
    if not install:
        raise PeerError(f"{contestant.name} is not installed in {folder}")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    _checked(contestant, [sys.executable, "-m", "venv", str(home)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _checked(contestant, [*pip, contestant.requirement])
    (home / "complete").touch()
    return str(python)


def _checked(contestant: Contestant, command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{contestant.name} cannot be installed: {error}") from error
    if done.returncode:
        last = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise PeerError(f"{contestant.name} cannot be installed: {last}")
