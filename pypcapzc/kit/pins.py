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
class Upstream:
    """The tarball as upstream publishes it."""

    file: str
    sha256: str
    urls: tuple[str, ...]
    signature: str | None
    """Where its detached signature is."""


@dataclass(frozen=True)
class Debian:
    """The same in a Debian source package."""

    package: str
    version: str
    suite: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Pin:
    """The sources of one libpcap version; an archive whose hash nobody could read is None here."""

    version: str
    upstream: Upstream | None
    debian: Debian | None

    def hashes(self) -> dict[str, str]:
        """sha256 -> file name, upstream's first."""
        return {archive.sha256: archive.file for archive in (self.upstream, self.debian) if archive}


def read(patches: Path) -> dict[str, Mapping[str, Any]]:
    """The file, version -> its table."""
    path = patches / FILE
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        raise PinError(
            f"{path} is missing: install pypcapzc again, or name the folder with the patches"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise PinError(f"{path} is damaged: {error}") from error
    listed = document.get("libpcap", document)
    if isinstance(listed, list):
        return {str(table["version"]): table for table in listed}
    return {str(version): table for version, table in listed.items()}


def pin_of(patches: Path, version: str) -> Pin:
    """The pin of a version, with at least one hash."""
    tables = read(patches)
    if version not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise PinError(
            f"no pin for libpcap {version} in {FILE}; there are pins for {known}: choose with --libpcap"
        )
    table = tables[version]
    pin = Pin(version, _upstream(table, version), _debian(table.get("debian"), version))
    if not pin.hashes():
        raise PinError(
            f"the pin of libpcap {version} in {patches / FILE} is empty: nobody has read its sha256 yet; "
            f"fill it in from a tarball whose signature you have checked"
        )
    return pin


def _sha256(table: Mapping[str, Any], version: str) -> str | None:
    value = str(table.get("sha256", "")).strip()
    if value and not re.fullmatch("[0-9a-f]{64}", value):
        raise PinError(f"the pin of libpcap {version} in {FILE} is no sha256: {value!r}; correct it")
    return value or None


def _upstream(table: Mapping[str, Any], version: str) -> Upstream | None:
    sha256 = _sha256(table, version)
    if sha256 is None:
        return None
    urls = table.get("urls", table.get("url", []))
    return Upstream(
        file=str(table.get("file", f"libpcap-{version}.tar.xz")),
        sha256=sha256,
        urls=(urls,) if isinstance(urls, str) else tuple(urls),
        signature=table.get("signature") or None,
    )


def _debian(table: Mapping[str, Any] | None, version: str) -> Debian | None:
    sha256 = _sha256(table, version) if table else None
    if table is None or sha256 is None:
        return None
    return Debian(
        package=str(table.get("package", "libpcap")),
        version=str(table["version"]),
        suite=str(table["suite"]),
        file=str(table["file"]),
        sha256=sha256,
    )
