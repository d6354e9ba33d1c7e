"""OpenPcap: a LibPcap for a ``with`` statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .base import LibPcap


class OpenPcap:
    """A savefile: see LibPcap for the arguments."""

    __module__ = "pylibpcap.open"

    def __init__(self, path: str, mode: str = "r", *args: Any, **kwargs: Any) -> None:
        self._pcapobj = LibPcap(path, mode, *args, **kwargs)

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """(caplen, whole seconds since the epoch, bytes) of each packet."""
        return self._pcapobj.read()

    def write(self, v: bytes | Iterable[bytes]) -> None:
        """Append a packet, or some."""
        self._pcapobj.write(v)

    def write_path(self, path: str) -> None:
        """Append the packets of a savefile, or of all below a folder."""
        self._pcapobj.write_path(path)

    def __enter__(self) -> OpenPcap:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pcapobj.close()
