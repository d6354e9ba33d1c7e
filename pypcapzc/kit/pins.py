"""``patches/sources.toml``: what the tarballs of each libpcap version are, byte for byte, and where from."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .failures import PinError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "sources.toml"


@dataclass(frozen=True)
class Debian:
    """The Debian source package that holds a tarball."""

    source: str
    version: str
    suite: str


@dataclass(frozen=True)
class Tarball:
    """One tarball whose hash is known."""

    file: str
    names: tuple[str, ...]
    """Other names under which the same bytes are found."""
    sha256: str
    url: str | None = None
    debian: Debian | None = None


@dataclass(frozen=True)
class Pin:
    """The sources of one libpcap version: tarballs any of which will do."""

    version: str
    tarballs: tuple[Tarball, ...]

    def hashes(self) -> list[str]:
        """Every sha256 that will do."""
        return [tarball.sha256 for tarball in self.tarballs]


def read(patches: Path) -> dict[str, Mapping[str, Any]]:
    """The file, version -> its table."""
    path = patches / FILE
    try:
        with path.open("rb") as file:
            versions: dict[str, Mapping[str, Any]] = tomllib.load(file)["versions"]
    except FileNotFoundError:
        raise PinError(f"{path} is missing: install pypcapzc again, or get the whole source tree") from None
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise PinError(f"{path} is damaged ({error}): restore it") from error
    return versions


def pin_of(patches: Path, version: str, *, tree_will_do: bool = False) -> Pin:
    """The pin of a version, with at least one hash.

    ``tree_will_do``: it may have none; then there is no tarball to be verified, but a tree of the user's.
    """
    tables = read(patches)
    if version not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise PinError(
            f"no pin for libpcap {version} in {FILE}; there are pins for {known}: choose with --libpcap"
        )
    listed = [_tarball(table, version) for table in tables[version].get("tarballs", [])]
    pin = Pin(version, tuple(tarball for tarball in listed if tarball.sha256))
    if not pin.tarballs and not tree_will_do:
        raise PinError(
            f"the pin of libpcap {version} in {patches / FILE} is empty: nobody has read its sha256 yet; "
            f"fill it in from a tarball whose signature you have checked"
        )
    return pin


def _tarball(table: Mapping[str, Any], version: str) -> Tarball:
    sha256 = str(table.get("sha256", "")).strip()
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise PinError(f"the pin of libpcap {version} in {FILE} is no sha256: {sha256!r}; correct it")
    packaged = table.get("debian")
    return Tarball(
        file=str(table["file"]),
        names=tuple(table.get("names", ())),
        sha256=sha256,
        url=table.get("url") or None,
        debian=Debian(packaged["source"], packaged["version"], packaged["suite"]) if packaged else None,
    )
