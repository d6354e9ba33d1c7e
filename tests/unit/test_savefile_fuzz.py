"""Savefiles at random and real ones damaged at random: what comes out is what pcap_next_ex() gives."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pypcapzc
from lab import savefiles
from lab.savefiles import Interface, Packet
from pypcapzc import zerocopy
from pypcapzc.errors import SavefileError
from support import reference

PACKETS = [
    Packet(1_700_000_000 * 10**9 + n * 1001, bytes([n]) * (n * 13 % 90), n * 13 % 90 + n) for n in range(12)
]


def _files() -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    for byteorder in ("little", "big"):
        for nano in (True, False):
            file = io.BytesIO()
            savefiles.write_pcap(file, PACKETS, byteorder=byteorder, nano=nano)
            made[f"pcap {byteorder} {nano}"] = file.getvalue()
        file = io.BytesIO()
        interfaces = (Interface(), Interface(1, 262144, 6), Interface(1, 262144, 0x80 | 20))
        packets = [packet._replace(interface=n % 3) for n, packet in enumerate(PACKETS)]
        savefiles.write_pcapng(file, packets, byteorder=byteorder, interfaces=interfaces)
        made[f"pcapng {byteorder}"] = file.getvalue()
    for linktype in (
        189,
        220,
        113,
        228,
        276,
        4000,
        65540,
    ):  # USB, whose headers libpcap swaps, cooked, IPv4, unknown
        file = io.BytesIO()
        savefiles.write_pcap(file, PACKETS, byteorder="big", linktype=linktype)
        made[f"linktype {linktype}"] = file.getvalue()
    return made


FILES = _files()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file with a few bytes changed, put in, or taken out."""
    content = bytearray(draw(st.sampled_from(sorted(FILES.values()))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content) - 1))
        kind = draw(st.sampled_from(["flip", "set", "insert", "delete", "repeat", "length", "cut"]))
        if kind == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            content[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=20))
        elif kind == "delete":
            del content[place : place + draw(st.integers(1, 20))]
        elif kind == "repeat":
            content[place:place] = content[place : place + draw(st.integers(1, 200))]
        elif kind == "length":
            content[place : place + 4] = draw(
                st.sampled_from([0, 1, 12, 65535, 262144, 2**31, 2**32 - 1])
            ).to_bytes(4, draw(st.sampled_from(["little", "big"])))
        else:
            del content[place:]
        if not content:
            return b""
    return bytes(content)


def _ours(source: Any, by: str, mode: Any) -> tuple[bool, list[tuple[int, bytes]], str | None]:
    found: list[tuple[int, bytes]] = []
    try:
        capture = pypcapzc.open_offline(source, mode=mode)
    except SavefileError as error:
        return False, found, str(error)
    with capture:
        try:
            if by == "blocks":
                for block in capture.blocks():
                    found += [(ts_ns, bytes(view)) for ts_ns, view in block]
                    headers: Any = block.headers
                    assert headers["caplen"].tolist() == [len(view) for _, view in block]
            else:
                for packet in capture:
                    found.append(packet)
        except SavefileError as error:
            return True, found, str(error)
    return True, found, None


def _compare(content: bytes, folder: Path, by: str) -> None:
    """Lent (with a patched library), copied, and through a stream: each as pcap_next_ex() reads it."""
    lent = zerocopy.status().library.patched
    for mode, source in (("auto", folder / "reference"), ("buffered", folder / "reference"), ("auto", None)):
        libpcaps = reference.read_bytes(content, folder, lent and mode == "auto" and source is not None)
        wanted = [(ts_ns, data) for ts_ns, data, _ in libpcaps.packets]
        opened, packets, error = _ours(source or io.BytesIO(content), by, mode)
        assert opened == libpcaps.opened
        assert packets == wanted
        assert (error is None) == (libpcaps.error is None)
        if libpcaps.error:
            assert error is not None
            assert libpcaps.error.rpartition(": ")[2] in error


@settings(max_examples=1500, deadline=None)
@given(content=damaged(), by=st.sampled_from(["blocks", "iteration"]))
def test_damaged_files(folder: Path, content: bytes, by: str) -> None:
    _compare(content, folder, by)


_MAGICS = [content[:24] for content in FILES.values()] + [b""]


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from(_MAGICS), rest=st.binary(max_size=300), by=st.sampled_from(["blocks", "iteration"])
)
def test_bytes_at_random(folder: Path, start: bytes, rest: bytes, by: str) -> None:
    _compare(start + rest, folder, by)


@pytest.mark.parametrize("name", FILES)
def test_undamaged(folder: Path, name: str) -> None:
    _compare(FILES[name], folder, "blocks")
    error = reference.read_bytes(FILES[name], folder).error
    # libpcap 1.10.5 refuses a link-layer type of more than 16 bits, 1.10.3 reads it
    assert error is None or (name == "linktype 65540" and "reserved field" in error)
