"""python-libpcap's functions: savefiles read, written and merged, and devices sniffed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .base import LibPcap, Sniff
from .open import OpenPcap

__all__ = ["LibPcap", "OpenPcap", "Sniff", "mpcap", "rpcap", "sniff", "wpcap"]


def rpcap(path: str, filters: str = "") -> Iterator[tuple[int, int, bytes]]:
    """(caplen, whole seconds since the epoch, bytes) of each packet of a savefile that matches."""
    return LibPcap(path, filters=filters).read()


def wpcap(v: bytes | Iterable[bytes], path: str) -> None:
    """Append a packet, or some, to a savefile."""
    with OpenPcap(path, "a") as file:
        file.write(v)


def mpcap(path: str, out_file: str, filters: str = "") -> None:
    """Append the packets of a savefile, or of all below a folder, that match."""
    with OpenPcap(out_file, "a", filters=filters) as file:
        file.write_path(path)


def sniff(*args: Any, **kwargs: Any) -> Iterator[tuple[int, float, bytes]]:
    """Sniff(...).capture()."""
    return Sniff(*args, **kwargs).capture()
