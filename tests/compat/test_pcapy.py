"""The stand-in for pcapy where pcapy-ng need not be asked."""

from __future__ import annotations

import struct
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from lab import savefiles
from pypcapzc.compat import pcapy
from pypcapzc.sources.patched import PatchedSource


def test_a_few_of_many(tmp_path: Path) -> None:
    """The heads of one flow: most packets of a block are not made into objects."""
    savefiles.generate(tmp_path / "saved", 3000, 64)
    first: list[Any] = []
    pcapy.open_offline(str(tmp_path / "saved")).loop(3, lambda hdr, data: first.append((hdr.getts(), data)))
    heads: list[Any] = []
    reader = pcapy.open_offline(str(tmp_path / "saved"))
    counted = reader.loop_filtered(
        -1, lambda hdr, data, kind: heads.append((hdr.getts(), data)), admit_mask=2, flow_cutoff=3
    )
    assert heads == first
    assert counted == reader.filtered_stats() == (3, 2997, 2997, 3, 0)


@pytest.mark.parametrize("error", [ValueError, StopIteration, KeyboardInterrupt])
@pytest.mark.parametrize("call", ["loop", "loop_filtered"])
def test_a_callback_that_raises_loses_no_packet(
    tmp_path: Path, call: str, error: type[BaseException]
) -> None:
    savefiles.generate(tmp_path / "saved", 5000, (60, 1500))
    wanted: list[bytes] = []
    pcapy.open_offline(str(tmp_path / "saved")).loop(-1, lambda hdr, data: wanted.append(data))
    reader, found = pcapy.open_offline(str(tmp_path / "saved")), []

    def callback(_header: Any, data: bytes, *_kind: int) -> None:
        found.append(data)
        if len(found) % 1000 == 7:
            raise error

    raised = 0
    while True:
        try:
            getattr(reader, call)(-1, callback)
            break
        except error:
            raised += 1
    assert raised == 5
    assert found == wanted
    if call == "loop_filtered":
        assert reader.filtered_stats()[0] == 5000 - 4007  # those of the last call


def test_a_limit_counts_what_is_not_admitted(tmp_path: Path) -> None:
    savefiles.generate(tmp_path / "saved", 20_000, 64)
    reader = pcapy.open_offline(str(tmp_path / "saved"))
    counts = [reader.loop_filtered(7000, lambda *_: None, admit_mask=0)[:2] for _ in range(4)]
    assert counts == [(0, 7000), (0, 7000), (0, 6000), (0, 0)]
    assert reader.next()[0] is None


def _look_afterwards(reader: Any) -> None:
    """As on a patched libpcap of before pcap_zc_next_viewed()."""
    source = reader._opened().capture._source
    if isinstance(source, PatchedSource):
        assert source._sift_calls.next_viewed is not None
        source._sift_calls.next_viewed = None


@pytest.mark.parametrize("viewed", [True, False])
def test_limits_that_end_within_blocks(tmp_path: Path, viewed: bool) -> None:
    """Every packet is looked at once, whatever is admitted before and behind."""
    sources = [n % 7 if n // 3000 % 2 else 9 for n in range(30_000)]
    packets = [bytes(14) + b"\x45" + bytes(14) + bytes([n]) + n.to_bytes(4, "big") for n in sources]
    header = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    (tmp_path / "saved").write_bytes(
        header + b"".join(struct.pack("=IIII", n, 0, 34, 34) + each for n, each in enumerate(packets))
    )
    member = bytes([0, 0, 0, 3])
    reader, seen, admitted = pcapy.open_offline(str(tmp_path / "saved")), 0, 0
    if not viewed:
        _look_afterwards(reader)
    found: list[bytes] = []

    def keep(_header: Any, data: bytes, _kind: int) -> None:
        found.append(data)

    buffer = bytearray(100 * 39)
    for limit in cycle([1, 37, 1000, 5000, 100]):
        if limit == 100:
            written, dropped, overflow, used, *_ = reader.loop_to_buffer(limit, buffer, 4, member)
            assert overflow == 0
            found += [bytes(buffer[at + 5 : at + 39]) for at in range(0, used, 39)]
            count, admitted = written + dropped, admitted + written
        else:
            passed, dropped, *_ = reader.loop_filtered(limit, keep, 4, member)
            count, admitted = passed + dropped, admitted + passed
        seen += count
        if count < limit:
            break
    assert seen == 30_000
    assert admitted == len(found) == sources.count(3)
    assert all(data[30:] == member for data in found)


def test_rules_of_one_call_are_not_those_of_the_next(tmp_path: Path) -> None:
    """What a call remembers of flows ends with it, and a set that has been changed is another one."""
    savefiles.generate(tmp_path / "saved", 4000, 64)
    reader, found = pcapy.open_offline(str(tmp_path / "saved")), []
    heads = [reader.loop_filtered(500, lambda *_: None, 2, flow_cutoff=3)[0] for _ in range(2)]
    assert heads == [3, 3]

    reader.loop(1, lambda _header, data: found.append(data[26:30]))
    members: Any = bytearray(found[0])
    buffer = bytearray(1 << 20)
    for _ in range(2):
        assert reader.loop_to_buffer(500, buffer, 4, members)[0] == 500
        assert reader.loop_filtered(500, lambda *_: None, 4, members)[0] == 500
    members[3] ^= 1
    assert reader.loop_to_buffer(400, buffer, 4, members)[:2] == (0, 400)
    assert reader.loop_filtered(400, lambda *_: None, 4, members)[:2] == (0, 400)
