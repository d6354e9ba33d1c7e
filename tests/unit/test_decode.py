"""Decoding whole blocks, against dpkt, which decodes packet by packet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="numpy is not installed: pip install 'pypcapzc[numpy]'")

from pypcapzc import datalinks as dlt
from pypcapzc import decode
from support import oracle
from support.packets import BY_LINK, block_of, mutated

LINKS = list(BY_LINK)
GAPS = (b"", b"\x00" * 64, b"\xff" * 64, bytes(range(64)))
# Made like a TCP segment, an IPv6 header and a tag: what the bytes behind a cut packet most easily pass for.
LOOKALIKE = bytes.fromhex("4500002800004000400600000a0000010a0000020050005000000000000000005002000000000000")


def rows(found: Any) -> list[dict[str, int]]:
    """The fields that are not 0, packet by packet."""
    return [
        {name: value for name, value in zip(found.dtype.names, row, strict=True) if value}
        for row in found.tolist()
    ]


def several(datalink: int) -> st.SearchStrategy[list[bytes]]:
    return st.lists(BY_LINK[datalink], min_size=1, max_size=12)


# What a cut packet may have less of than the whole one: it is of the last header that is there.
GROWING = {
    *("layers", "payload_offset", "payload_length"),
    *("ethertype", "vlan_count", "protocol", "ip_header_length"),
}
ANY_LINK = st.sampled_from(LINKS)
LINK_AND_PACKETS = ANY_LINK.flatmap(lambda link: st.tuples(st.just(link), several(link)))


@given(LINK_AND_PACKETS)
@settings(max_examples=200, deadline=None)
def test_fields_are_those_that_dpkt_finds(made: tuple[int, list[bytes]]) -> None:
    datalink, packets = made
    found = rows(decode.fields(block_of(packets, gap=b"\xa5" * 3), datalink))
    for packet, row in zip(packets, found, strict=True):
        assert row == oracle.expected(datalink, packet), packet.hex()


@pytest.mark.parametrize("datalink", LINKS, ids=dlt.dlt_name)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_cut_packet_has_what_lies_before_the_cut(datalink: int, data: st.DataObject) -> None:
    packet = data.draw(BY_LINK[datalink])
    whole = rows(decode.fields(block_of([packet]), datalink))[0]
    # All lengths in one block: the packet cut after 0, 1, 2, ... bytes.
    cut = [packet[:length] for length in range(len(packet) + 1)]
    found = rows(decode.fields(block_of(cut, gap=packet), datalink))
    before = 0
    for length, row in enumerate(found):
        kept = row["layers"] & ~(decode.TRUNCATED | decode.PAYLOAD)
        assert kept & ~whole["layers"] == 0
        assert kept | before == kept, "a header that was there is gone in a longer packet"
        assert {name for name in row if name not in GROWING and row[name] != whole[name]} == set()
        assert row.get("payload_offset", 0) + row.get("payload_length", 0) <= length
        before = kept
    assert found[-1] == whole


@pytest.mark.parametrize("snaplen", [0, 1, 13, 14, 20, 34, 38, 54, 74])
@given(packets=several(dlt.DLT_EN10MB))
@settings(max_examples=20, deadline=None)
def test_bytes_behind_caplen_make_no_difference(snaplen: int, packets: list[bytes]) -> None:
    found = [
        decode.fields(block_of(packets, snaplen=snaplen, gap=gap)).tobytes() for gap in (*GAPS, LOOKALIKE)
    ]
    assert len(set(found)) == 1


@given(LINK_AND_PACKETS, st.data())
@settings(max_examples=150, deadline=None)
def test_garbage_neither_raises_nor_spills(made: tuple[int, list[bytes]], data: st.DataObject) -> None:
    datalink, packets = made
    changed = mutated(BY_LINK[datalink])
    packets += data.draw(st.lists(st.one_of(changed, st.binary(max_size=100)), min_size=1, max_size=12))
    found = decode.fields(block_of(packets, gap=LOOKALIKE), datalink)
    # Each packet comes out as if it were alone, whatever its neighbours are.
    alone = [decode.fields(block_of([packet]), datalink)[0] for packet in packets]
    assert found.tolist() == [row.item() for row in alone]
    ends = found["payload_offset"].astype("i8") + found["payload_length"]
    assert all(end <= len(packet) for end, packet in zip(ends.tolist(), packets, strict=True))
    assert all(found["transport_offset"] <= [len(packet) for packet in packets])
