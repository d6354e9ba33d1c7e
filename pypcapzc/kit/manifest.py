"""The manifest of a build: what went in, what did it, what came out.  No path and no date of the machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from .engines import Engine
from .patching import Applied, Patch
from .recipe import SONAME, configure_arguments, fingerprint
from .sources import Source
from .targets import Target

KIT = 1
"""Raised when the kit would make other bits of the same input."""
FILE = "manifest.json"


def key_of(source_sha256: str, series: Sequence[Patch], target: Target, engine: Engine) -> str:
    """The hash of all that decides the bits: what is built once need not be built again."""
    what = {
        "kit": KIT,
        "source": source_sha256,
        "patches": [patch.sha256 for patch in series],
        "target": fingerprint(target),
        "tools": engine.identity(target),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def make(
    *,
    key: str,
    source: Source,
    applied: Sequence[Applied],
    target: Target,
    engine: Engine,
    stock: bool,
    library: bytes,
    checks: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The manifest of a library that was just built."""
    return {
        "pypcapzc": __version__,
        "kit": KIT,
        "key": key,
        "libpcap": source.version,
        "stock": stock,
        "source": source.as_dict(),
        "patches": [
            {"file": one.patch.name, "sha256": one.patch.sha256, "hunks_moved": one.moved} for one in applied
        ],
        "target": target.name,
        "engine": engine.name,
        "sysroot": engine.sysroot(target),
        "tools": engine.versions(),
        "configure": configure_arguments(target),
        "soname": SONAME,
        "sha256": hashlib.sha256(library).hexdigest(),
        "size": len(library),
        "checks": list(checks),
    }


def dump(manifest: Mapping[str, Any]) -> str:
    """As text."""
    return json.dumps(manifest, indent=2) + "\n"
