"""Our changes to libpcap: reading a series, and applying it without fuzz.

``patch -F0`` does the work: every line of context must be there as the patch has it.  A hunk may have moved
by some lines, as it does between two versions that share a patch; the manifest says so.  (patch-ng, from
PyPI, takes no such offset without fuzz, and would need each shared patch once per version.)
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .failures import PatchError


@dataclass(frozen=True)
class Patch:
    """One file of a series."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.path.name


@dataclass(frozen=True)
class Applied:
    """A patch that went in, and how many of its hunks had moved."""

    patch: Patch
    moved: int


def versions(patches: Path) -> list[str]:
    """The libpcap versions that have a series."""
    folder = patches / "series"
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def read_series(patches: Path, version: str) -> tuple[Patch, ...]:
    """The patches for a libpcap version, in their order."""
    path = patches / "series" / version
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(versions(patches)) or "none"
        raise PatchError(
            f"no patches for libpcap {version}; there are series for {known}: choose with --libpcap, "
            f"or build it unpatched with --stock"
        ) from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    return tuple(_read(patches / name, path) for name in names)


def _read(path: Path, series: Path) -> Patch:
    try:
        return Patch(path, hashlib.sha256(path.read_bytes()).hexdigest())
    except FileNotFoundError:
        raise PatchError(
            f"{series} lists {path.name}, which is missing: restore it or take the line out"
        ) from None


def mentions(series: Iterable[Patch], symbol: str) -> bool:
    """Whether a patch of the series adds this symbol."""
    pattern = re.compile(rf"^\+.*\b{re.escape(symbol)}\b".encode(), re.MULTILINE)
    return any(pattern.search(patch.path.read_bytes()) for patch in series)


def apply(series: Iterable[Patch], tree: Path, version: str, program: str = "patch") -> list[Applied]:
    """Apply the patches to a tree that is thrown away if one fails."""
    return [Applied(patch, _apply(patch, tree, version, program)) for patch in series]


def _apply(patch: Patch, tree: Path, version: str, program: str) -> int:
    with patch.path.open("rb") as file:
        done = subprocess.run(
            [program, "-p1", "-F0", "-f"],
            cwd=tree,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise PatchError(
            f"{patch.name} does not apply to libpcap {version}: {_failed(text)}. Nothing was built; make "
            f"the patch anew against that version, or take it out of series/{version}"
        )
    for left in (*tree.rglob("*.orig"), *tree.rglob("*.rej")):
        left.unlink()
    return len(re.findall(r"^Hunk #\d+ succeeded at \d+ \(offset", text, re.MULTILINE))


_FILE = re.compile(r"^patching file '?(.+?)'?(?: using Plan .*)?$", re.IGNORECASE)
_HUNK = re.compile(r"^Hunk #(\d+) FAILED at (\d+)", re.IGNORECASE)


def _failed(output: str) -> str:
    """Which hunk of which file, from what patch(1) said."""
    file, found = "", []
    for line in output.splitlines():
        if named := _FILE.match(line):
            file = named[1]
        elif hunk := _HUNK.match(line):
            found.append(f"hunk {hunk[1]} of {file} (line {hunk[2]})")
    if found:
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        return ", ".join(found[:4]) + more
    missing = re.search(r"^\|(?:---|\+\+\+) (?:[ab]/)?(\S+)", output, re.MULTILINE)
    if missing and "can't find file" in output:
        return f"hunk 1 of {missing[1]}: there is no such file"
    return " ".join(output.split())[-300:] or "patch gave no reason"
