"""SHA256SUMS of a folder of packages, as ``sha256sum -c`` takes it; signed on request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..failures import PackageError
from ..sources import incoming, sha256_of

FILE = "SHA256SUMS"
SIGNATURE = f"{FILE}.asc"


def write(folder: Path, key: str | None) -> list[Path]:
    """Sum up every file of the folder; ``key`` is what gpg knows the signing key by."""
    if key is not None and shutil.which("gpg") is None:
        raise PackageError("gpg, which signs, is not installed here (Debian: apt-get install gpg)")
    files = sorted(path for path in folder.iterdir() if path.is_file() and _counts(path.name))
    with incoming(folder / FILE) as temporary:
        temporary.write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in files))
    (folder / SIGNATURE).unlink(missing_ok=True)  # an older one would be of older sums
    if key is None:
        return [folder / FILE]
    with incoming(folder / SIGNATURE) as temporary:
        _sign(folder / FILE, temporary, key)
    return [folder / FILE, folder / SIGNATURE]


def _counts(name: str) -> bool:
    return name not in (FILE, SIGNATURE) and not name.startswith(".")


def _sign(path: Path, signature: Path, key: str) -> None:
    command = ["gpg", "--batch", "--yes", "--armor", "--detach-sign", "--local-user", key]
    done = subprocess.run(
        [*command, "--output", str(signature), str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PackageError(f"gpg cannot sign with the key {key!r} ({said}): see gpg --list-secret-keys")
