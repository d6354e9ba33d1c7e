"""The libraries that are measured, and a virtual environment of its own for each peer."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_INSTALL_TIMEOUT = 600

BYTES = "time, bytes"
VIEWS = "time, view"
COLUMN = "sum of a column"
DISSECTED = "dissected packet"
IN_C = "counted or written out, in C"
"""What is done with each packet: figures are to be compared only within one kind of work."""


@dataclass(frozen=True)
class Way:
    """One way in which the users of a library read packets."""

    name: str
    work: str
    copies: int | None = None
    """How often a packet's bytes are copied from the kernel's ring to what Python gets, as read in the
    library's source; None where the consumer tells."""
    kinds: tuple[str, ...] = ("drain", "live", "savefile")
    part: int = 1
    """It gets one packet in so many of a drained ring or a savefile, being slow."""
    laps: int = 1
    """How often a ring is filled and drained: it gets so many times the packets."""


@dataclass(frozen=True)
class Contestant:
    """A library, the module of its consumer, and the ways in which it is measured."""

    name: str
    module: str
    ways: tuple[Way, ...]
    requirement: str | None = None
    """What pip installs; None for what runs with the Python of the benchmark."""
    imports: str = ""
    """The module that the peer installs."""
    stock: bool = False
    """pypcapzc on the system's libpcap, whatever else is there."""
    retire_ms: int | None = None
    """Its own timeout, where that cannot be set."""
    marked: bool = True
    """Whether it ends with the marker frame; else it ends when it is told to."""
    runner: tuple[str, ...] = ()
    """What stands between Python and ``-m MODULE``: how pypcapzc takes a peer's place."""

    @property
    def distribution(self) -> str:
        """The name under which pip knows it."""
        return (self.requirement or "").partition("==")[0]


_OURS = (Way("blocks", COLUMN), Way("iterator", BYTES), Way("views", VIEWS))
_NOT_DRAINED = ("live", "savefile")  # its ring cannot be made large enough to hold what is drained

CONTESTANTS = (
    Contestant("pypcapzc", "benchmarks.consumers.pypcapzc", _OURS),
    Contestant("pypcapzc-stock", "benchmarks.consumers.pypcapzc", _OURS, stock=True),
    Contestant(
        "pypcap",
        "benchmarks.consumers.pypcap",
        (Way("iterator", BYTES, 2), Way("readpkts", BYTES, 1, ("drain", "savefile"))),
        "pypcap==1.3.0",
        "pcap",
    ),
    Contestant(
        "pcapy-ng",
        "benchmarks.consumers.pcapy_ng",
        (
            Way("next", BYTES, 2, ("drain", "savefile")),
            Way("dispatch", BYTES, 1),
            Way("next_batch", BYTES, 3),
        ),
        "pcapy-ng==2.1.0",
        "pcapy",
    ),
    Contestant(
        "pcap-ct",
        "benchmarks.consumers.pypcap",
        (Way("iterator", BYTES, 2, part=4), Way("readpkts", BYTES, 1, ("drain", "savefile"), part=4)),
        "pcap-ct==1.3.0b3",
        "pcap",
    ),
    Contestant(
        "python-libpcap",
        "benchmarks.consumers.python_libpcap",
        (Way("iterator", BYTES, 2, _NOT_DRAINED),),
        "python-libpcap==0.5.4",
        "pylibpcap",
    ),
    Contestant(
        "scapy",
        "benchmarks.consumers.scapy",
        (Way("raw", BYTES, 1, part=10), Way("sniff", DISSECTED, 1, ("drain", "savefile"), part=100)),
        "scapy==2.8.0",
        "scapy",
    ),
    Contestant(
        "dpkt",
        "benchmarks.consumers.dpkt",
        (Way("reader", BYTES, None, ("savefile",)),),
        "dpkt==1.9.8",
        "dpkt",
    ),
    Contestant(
        "tcpdump",
        "benchmarks.consumers.tcpdump",
        (Way("reference", IN_C, 1),),
        retire_ms=1000,
        marked=False,
    ),
)
REFERENCE = ("pypcap", "iterator")
"""What ratios refer to."""
OWN = ("pypcapzc", "pypcapzc-stock")


class PeerError(Exception):
    """A peer cannot be had here; the message says why."""


def default_folder() -> Path:
    """Where the peers' environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "pypcapzc" / "bench"


def interpreter(contestant: Contestant, folder: Path, *, install: bool) -> str:
    """The Python that runs this contestant's consumer; its environment is made if need be.

    Without ``install`` that is an environment made before, or the Python of this process if the peer is
    installed there.  Raises PeerError.
    """
    if contestant.requirement is None:
        _require_here(contestant)
        return sys.executable
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    home = folder / f"{contestant.requirement.replace('==', '-')}-{version}"
    python = home / "bin" / "python"
    if os.path.exists(home / "complete") and os.access(python, os.X_OK):
        return str(python)
    if not install:
        if _installed_here(contestant):
            return sys.executable
        raise PeerError(f"{contestant.name}: not installed")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    _checked(contestant, [sys.executable, "-m", "venv", str(home)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _checked(contestant, [*pip, contestant.requirement])
    (home / "complete").touch()
    return str(python)


def variables(contestant: Contestant) -> dict[str, str]:
    """Environment variables with which its consumer runs."""
    found = {"PYTHONPATH": str(ROOT)}
    if (contestant.name in OWN or contestant.runner) and (more := os.environ.get("PYTHONPATH")):
        found["PYTHONPATH"] += os.pathsep + more
    if contestant.stock:
        found["PYPCAPZC_LIBPCAP"] = ctypes.util.find_library("pcap") or "libpcap.so"
    return found


def _require_here(contestant: Contestant) -> None:
    if contestant.name == "tcpdump" and shutil.which("tcpdump") is None:
        raise PeerError("tcpdump: not installed (Debian: apt-get install tcpdump)")
    if contestant.name not in OWN:
        return
    from pypcapzc import zerocopy

    patched = zerocopy.status().library.patched
    if contestant.stock and not patched:
        raise PeerError("pypcapzc on a patched libpcap: none is in use here (`pypcapzc build` makes one)")
    if contestant.stock and ctypes.util.find_library("pcap") is None:
        raise PeerError("pypcapzc-stock: this system has no libpcap of its own")


def _installed_here(contestant: Contestant) -> bool:
    """Whether the Python of this process has the peer, and no other one that installs the same module."""
    rivals = (
        other for other in CONTESTANTS if other is not contestant and other.imports == contestant.imports
    )
    return _has(contestant.distribution) and not any(_has(other.distribution) for other in rivals)


def _has(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


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
