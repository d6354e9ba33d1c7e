"""What is handed on: a pkg(8) package for FreeBSD, a tarball and a wheel for Linux, and their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import companion
from .. import manifest as manifests
from .. import targets
from ..failures import PackageError
from ..recipe import SONAME
from ..sources import incoming
from ..store import LICENSE
from ..targets import Target

EPOCH = 315532800
"""1980-01-01: the date of everything in a package, as a zip archive has no earlier one."""


@dataclass(frozen=True)
class Content:
    """A library that was built, with what must go along."""

    library: bytes
    manifest: dict[str, Any]
    license: bytes
    target: Target
    companion: bytes | None = None
    """The companion library, where it was built along."""

    @property
    def version(self) -> str:
        """libpcap's."""
        return str(self.manifest["libpcap"])


@dataclass(frozen=True)
class Options:
    """How it is packed."""

    in_place: bool = False
    """On FreeBSD: programs that were linked with the base system's libpcap get this one."""


def read(folder: Path) -> Content:
    """What lies in the folder of a result."""
    try:
        library = (folder / SONAME).read_bytes()
        manifest = json.loads((folder / manifests.FILE).read_text())
        license_ = (folder / LICENSE).read_bytes()
    except FileNotFoundError as error:
        raise PackageError(f"{error.filename} is missing: build it again with --force") from error
    except ValueError as error:
        raise PackageError(f"{folder / manifests.FILE} is damaged: build it again with --force") from error
    if hashlib.sha256(library).hexdigest() != manifest["sha256"]:
        raise PackageError(f"{folder / SONAME} is not what its manifest says: build it again with --force")
    return Content(
        library, manifest, license_, targets.parse(manifest["target"]), _companion(folder, manifest)
    )


def _companion(folder: Path, manifest: dict[str, Any]) -> bytes | None:
    if "companion" not in manifest:
        return None
    path = folder / companion.FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise PackageError(f"{path} is missing: build it again") from error
    if hashlib.sha256(content).hexdigest() != manifest["companion"]["sha256"]:
        raise PackageError(f"{path} is not what its manifest says: build it again")
    return content


def make(folder: Path, into: Path, options: Options) -> list[Path]:
    """Pack the result in a folder; each file appears whole or not at all."""
    from . import freebsd, tarball, wheel

    content = read(folder)
    if content.manifest["stock"]:
        raise PackageError("a library without patches is for comparison and is not packed: leave --stock out")
    makers: dict[str, tuple[Callable[[Content, Options], tuple[str, bytes]], ...]] = {
        "freebsd": (freebsd.pack,),
        "linux": (tarball.pack, wheel.pack),
    }
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for pack in makers[content.target.system]:
        name, data = pack(content, options)
        with incoming(into / name) as temporary:
            temporary.write_bytes(data)
        made.append(into / name)
    return made


def folder_of(out: Path | None, data: Path) -> Path:
    """Where packages go."""
    return (out or data) / "packages"
