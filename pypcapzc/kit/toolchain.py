"""The tools: zig's C compiler, flex, bison and m4 from PyPI, and what every POSIX system has.

No system compiler is used.  ``make``, ``patch``, ``sed`` and ``awk`` come from the system; configure and
libpcap's Makefile are written for them.  flex and bison both run m4, which their wheels do not bring.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from .failures import ToolError

INSTALL = "pip install 'pypcapzc[kit]'"
_POSIX = ("sh", "make", "patch", "sed", "awk", "grep", "tr", "expr", "uname")


@dataclass(frozen=True)
class Tool:
    """A program and its version."""

    name: str
    path: Path
    version: str


@dataclass(frozen=True)
class Toolchain:
    """Everything a build runs."""

    zig: Tool
    flex: Tool
    bison: Tool
    m4: Tool
    make: Tool
    patch: Tool

    def shaping(self) -> dict[str, str]:
        """The versions of the tools that shape the result: another version is another build."""
        return {tool.name: tool.version for tool in (self.zig, self.flex, self.bison)}

    def versions(self) -> dict[str, str]:
        """The versions of all."""
        return {**self.shaping(), **{tool.name: tool.version for tool in (self.m4, self.make, self.patch)}}

    def write_wrappers(self, folder: Path, flags: Sequence[str]) -> None:
        """Make cc, ar, ranlib, flex and bison programs of this folder; cc adds these flags."""
        folder.mkdir(parents=True, exist_ok=True)
        commands = {
            "cc": [str(self.zig.path), "cc", *flags],
            "ar": [str(self.zig.path), "ar"],
            "ranlib": [str(self.zig.path), "ranlib"],
            "flex": [str(self.flex.path)],
            "bison": [str(self.bison.path)],
        }
        for name, command in commands.items():
            path = folder / name
            # M4 is where flex and bison look for it before PATH.
            setting = f"M4={shlex.quote(str(self.m4.path))} " if name in ("flex", "bison") else ""
            path.write_text(f'#!/bin/sh\n{setting}exec {shlex.join(command)} "$@"\n')
            path.chmod(0o755)


def _zig() -> Path | None:
    spec = find_spec("ziglang")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "zig" if folders else None


def _flex() -> Path | None:
    # The wheel has no module, only the program, in whichever folder the installer puts scripts.
    for file in metadata.files("flex-bin") or ():
        if file.name == "flex":
            return Path(str(file.locate())).resolve()
    return None


def _bison() -> Path | None:
    if find_spec("bison_bin") is None:
        return None
    import bison_bin

    return Path(bison_bin.get_binary_path())


def _m4() -> Path | None:
    # Not the script of that name, which wants cmeel's own environment, but the program itself.
    for file in metadata.files("cmeel-m4") or ():
        if file.name == "m4" and file.parent.name == "bin" and "cmeel.prefix" in file.parts:
            return Path(str(file.locate())).resolve()
    return None


_WHEELS: dict[str, tuple[str, Callable[[], Path | None]]] = {
    "zig": ("ziglang", _zig),
    "flex": ("flex-bin", _flex),
    "bison": ("bison-bin", _bison),
    "m4": ("cmeel-m4", _m4),
}
_SYSTEM_TOO = ("m4",)
"""What may come from the system on every platform, as it does not shape the result."""


def _from_wheel(name: str) -> Tool | None:
    distribution, locate = _WHEELS[name]
    try:
        path = locate()
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
    return Tool(name, path, f"{distribution} {version}") if path and path.is_file() else None


def _from_system(name: str) -> Tool | None:
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    found = shutil.which(name, path=folders)
    return Tool(name, Path(found), _said_version(found, name)) if found else None


def _said_version(program: str, name: str) -> str:
    """The first line of ``--version`` (``zig version``); BSD's make has no such option."""
    asked = [program, "version" if name == "zig" else "--version"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else "unknown"


def _find(name: str) -> Tool | None:
    """A tool; only where no wheels exist (FreeBSD) do the system's zig, flex and bison serve too."""
    if name not in _WHEELS:
        return _from_system(name)
    tool = _from_wheel(name)
    system_too = name in _SYSTEM_TOO or sys.platform.startswith("freebsd")
    return _from_system(name) if tool is None and system_too else tool


def why_not() -> str | None:
    """What is missing and how to get it; None where builds can run."""
    lacking = [name for name in _WHEELS if _find(name) is None]
    if lacking:
        how = f"pkg install {' '.join(lacking)}" if sys.platform.startswith("freebsd") else INSTALL
        return f"{_listed(lacking)} to build with {_verb(lacking)} not installed here: {how}"
    return _why_no_checks(_POSIX)


def why_no_checks() -> str | None:
    """What is missing of what every engine needs here, to patch the sources and to check the result."""
    return _why_no_checks(("patch",))


def _why_no_checks(programs: Sequence[str]) -> str | None:
    if find_spec("elftools") is None:
        return f"pyelftools, which checks the result, is not installed here: {INSTALL}"
    lacking = [name for name in programs if _from_system_path(name) is None]
    if lacking:
        return (
            f"{_listed(lacking)} {_verb(lacking)} missing here: have the system's package manager install "
            f"{'it' if len(lacking) == 1 else 'them'} (Debian: apt-get install {' '.join(lacking)})"
        )
    return None


def _from_system_path(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def find() -> Toolchain:
    """The tools, or ToolError."""
    if reason := why_not():
        raise ToolError(reason)
    tools = {name: _find(name) for name in (*_WHEELS, "make", "patch")}
    present = {name: tool for name, tool in tools.items() if tool is not None}
    return Toolchain(**present)
