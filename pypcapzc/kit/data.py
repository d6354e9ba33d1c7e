"""The kit's data: the patches, which lie in the wheel or beside the package in a source tree."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def patches_dir() -> Path:
    """The folder with the patches, their series, and ``sources.toml``."""
    inside = _PACKAGE / "_data" / "patches"
    return inside if inside.is_dir() else _PACKAGE.parent / "patches"
