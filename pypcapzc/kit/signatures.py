"""Upstream's detached signatures, checked with gpg where all that it takes is at hand.

The sha256 pin is what decides; a signature says in addition who made the tarball.  One that is bad is an
error.  One that cannot be checked is not: the manifest tells why.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .failures import SourceError


def check(tarball: Path, keys: Path | None = None) -> str:
    """What came of it, in words for the manifest; SourceError for a bad signature."""
    signature = _beside(tarball, (".sig", ".asc"))
    if signature is None:
        return "not checked: no signature at hand"
    found = [key for key in (_beside(tarball, (".key",)), *_keys_in(keys)) if key]
    if not found:
        return "not checked: no public key at hand"
    gpg = shutil.which("gpg")
    if gpg is None:
        return "not checked: gpg is not installed"
    return _verify(gpg, tarball, signature, found)


def _beside(tarball: Path, suffixes: tuple[str, ...]) -> Path | None:
    candidates = (tarball.with_name(tarball.name + suffix) for suffix in suffixes)
    return next((path for path in candidates if path.is_file()), None)


def _keys_in(folder: Path | None) -> list[Path]:
    return sorted(folder.glob("*.asc")) if folder is not None and folder.is_dir() else []


def _verify(gpg: str, tarball: Path, signature: Path, keys: list[Path]) -> str:
    with tempfile.TemporaryDirectory(prefix="pypcapzc-gpg-") as home:
        base = [gpg, "--homedir", home, "--batch", "--no-autostart", "--no-auto-key-retrieve"]
        imported = subprocess.run([*base, "--import", *map(str, keys)], capture_output=True, check=False)
        if imported.returncode:
            return "not checked: gpg cannot read the public key"
        done = subprocess.run(
            [*base, "--trust-model", "always", "--status-fd", "1", "--verify", str(signature), str(tarball)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if good := re.search(r"^\[GNUPG:\] VALIDSIG (\S+)", done.stdout, re.MULTILINE):
        return f"good: {good[1]}"
    if re.search(r"^\[GNUPG:\] NO_PUBKEY", done.stdout, re.MULTILINE):
        return "not checked: made with a key that is not at hand"
    raise SourceError(
        f"the signature {signature.name} of {tarball} is bad: one of the two was changed; fetch both again"
    )
