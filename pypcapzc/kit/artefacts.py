"""``docker/pins.toml``: what the build images are made of, byte for byte, and where it is from.

What nobody could read yet is empty there.  ``pins refresh`` fills it in, in that file or, where that belongs
to somebody else, in ``pins.toml`` under pypcapzc's data folder, which is asked for what the first leaves
empty.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import paths
from . import data
from .failures import PinError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "pins.toml"
REFRESH = "pypcapzc kit pins refresh"
PROCESSORS = ("amd64", "arm64")


@dataclass(frozen=True)
class Image:
    """A base image."""

    name: str
    digest: str

    @property
    def reference(self) -> str:
        """The name with the digest in place of the tag."""
        return f"{self.name.rpartition(':')[0]}@{self.digest}"


@dataclass(frozen=True)
class Wheel:
    """A tool's wheel for one processor."""

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A release's base.txz."""

    release: str
    file: str
    sha256: str
    urls: tuple[str, ...]


def packaged() -> Path:
    """The file that comes with pypcapzc."""
    return data.docker_dir() / FILE


def own() -> Path:
    """The file of this user."""
    return paths.data_dir() / FILE


def load(path: Path) -> dict[str, Any]:
    """One of the files."""
    try:
        with path.open("rb") as file:
            pins: dict[str, Any] = tomllib.load(file)
    except FileNotFoundError:
        raise PinError(f"{path} is missing: install pypcapzc again, or get the whole source tree") from None
    except tomllib.TOMLDecodeError as error:
        raise PinError(f"{path} is damaged ({error}): restore it") from error
    return pins


def read() -> dict[str, Any]:
    """All pins."""
    pins = load(packaged())
    if own().is_file():
        _fill(pins, load(own()))
    return pins


def _fill(pins: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(pins.get(key), dict):
            _fill(pins[key], value)
        elif not pins.get(key):
            pins[key] = value


def image(key: str = "base") -> Image:
    """A base image; its digest may be empty."""
    table = _of(read(), "images", key)
    return Image(table["name"], table["digest"])


def pinned_image(key: str = "base") -> Image:
    """The same, refused where the digest is empty."""
    found = image(key)
    if not found.digest:
        raise PinError(
            f"the pin of the image {found.name} is empty, nobody has read its digest yet: "
            f"`{REFRESH}` fills it in; or name an image that you have with --base-image"
        )
    return found


def wheels(processor: str) -> list[Wheel]:
    """The tools for a processor."""
    found = []
    for name, table in _of(read(), "wheels").items():
        if processor not in table:
            raise PinError(f"no pin of {name} for {processor} in {FILE}: `{REFRESH}` fills it in")
        pin = table[processor]
        if not pin["sha256"]:
            raise PinError(f"the pin of {name} for {processor} is empty: `{REFRESH}` fills it in")
        found.append(Wheel(name, table["version"], pin["file"], pin["sha256"]))
    return found


def sysroots(target: str) -> list[Archive]:
    """The releases of FreeBSD with a pin for this target, the oldest first; a hash may be empty."""
    tables: Mapping[str, Any] = read().get("sysroots", {}).get(target, {})
    found = [
        Archive(
            release,
            table["file"],
            table["sha256"],
            tuple(table[k] for k in ("url", "archive") if table.get(k)),
        )
        for release, table in tables.items()
    ]
    return sorted(found, key=lambda archive: tuple(map(int, archive.release.split("."))))


def _of(pins: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        if key not in pins:
            raise PinError(f"{packaged()} has no [{'.'.join(keys)}]: restore it")
        pins = pins[key]
    return pins
