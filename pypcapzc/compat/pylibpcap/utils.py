"""Text for libpcap and back, and the savefiles below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator


def to_c_str(v: object) -> bytes:
    """Text as UTF-8; empty where it is no text."""
    try:
        return v.encode("utf-8") if isinstance(v, str) else b""
    except UnicodeEncodeError:
        return b""


def from_c_str(v: object) -> str:
    """UTF-8 as text; empty where it is none."""
    try:
        return v.decode("utf-8") if isinstance(v, bytes) else ""
    except UnicodeDecodeError:
        return ""


def get_pcap_file(path: str | bytes) -> Iterable[str]:
    """A file itself; of a folder, each file below it that has ".pcap" in its name."""
    name = from_c_str(path) if isinstance(path, bytes) else path
    return (name,) if os.path.isfile(name) else _below(name)


def _below(folder: str) -> Iterator[str]:
    for where, _, files in os.walk(folder):
        yield from (os.path.join(where, each) for each in files if ".pcap" in each)
