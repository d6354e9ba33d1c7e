"""Putting a build where it is used.

The host's goes where the loader looks first, others under their target's name.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import companion, paths
from . import manifest as manifests
from .recipe import SONAME
from .sources import incoming
from .store import LICENSE
from .targets import HOST


def folder_name(target: str, stock: bool) -> str:
    """The folder of a target's results: unpatched ones never lie where the loader looks."""
    return target.replace(":", "-") + ("-stock" if stock else "")


def destinations(target: str, stock: bool, out: Path | None) -> list[Path]:
    """Where results go, the one to report first."""
    name = folder_name(target, stock)
    found = [out / name] if out is not None else []
    if out is None or (target == HOST and not stock):
        found.append(paths.installed_libraries_dir(name))
    return found


def put(library: Path, manifest: Mapping[str, Any], extra: bytes | None, folder: Path) -> Path:
    """Copy a library, its manifest and, where there is one, the companion library into a folder.

    Each file appears in one step: a process that has the old library open keeps the old one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (license_ := library.with_name(LICENSE)).is_file():
        with incoming(folder / LICENSE) as temporary:
            shutil.copyfile(license_, temporary)
    with incoming(folder / SONAME) as temporary:
        shutil.copyfile(library, temporary)
    if extra is not None:
        with incoming(folder / companion.FILE) as temporary:
            temporary.write_bytes(extra)
    with incoming(folder / manifests.FILE) as temporary:
        temporary.write_text(manifests.dump(manifest))
    return folder / SONAME
