"""The kit's data, which lies in the wheel or beside the package in a source tree: patches, and containers."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def _folder(name: str) -> Path:
    inside = _PACKAGE / "_data" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def patches_dir() -> Path:
    """The folder with the patches, their series, and ``sources.toml``."""
    return _folder("patches")


def docker_dir() -> Path:
    """The folder with the Dockerfiles, the scripts that engines run, and ``pins.toml``."""
    return _folder("docker")
