"""Decoding: packets whose every field is known, odd ones, one more field, and who owns the results."""

# ruff: noqa: E402 - what needs numpy is imported once it is known to be there

from __future__ import annotations

import struct
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'pypcapzc[numpy]'")

import pypcapzc
from lab import savefiles
from pypcapzc import datalinks as dlt
from pypcapzc import decode
from pypcapzc.block import Block
from pypcapzc.errors import BlockReleasedError
from support.leases import Ledger
from support.packets import block_of

MACS = bytes.fromhex("025a43000002025a43000001")
IPV4 = bytes.fromhex("450000281c46400040060000c0000201c6336402")  # 192.0.2.1 to 198.51.100.2, TCP, 40 bytes
TCP = bytes.fromhex("d43101bb00000001000000025012fff0beef0000")  # 54321 to 443, SYN ACK
IPV6 = bytes.fromhex("60012345000c1140" + "20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")
UDP = bytes.fromhex("14e914e9000c1234") + b"mdns"
SYN_ACK = MACS + b"\x08\x00" + IPV4 + TCP


def one(packet: bytes, datalink: int = dlt.DLT_EN10MB, snaplen: int = 1 << 20) -> Any:
    return decode.fields(block_of([packet], snaplen=snaplen, gap=b"\xff" * 70), datalink)[0]


def test_tcp_over_ipv4() -> None:
    row = one(SYN_ACK + bytes(6))  # padded to 60 bytes
    L = decode  # noqa: N806
    assert row["layers"] == L.LINK | L.IPV4 | L.ADDRESSES | L.PORTS | L.TCP | L.PAYLOAD
    assert (row["link_dst"], row["link_src"]) == (0x025A43000002, 0x025A43000001)
    assert (row["ip_length"], row["ip_id"], row["ip_flags"], row["ip_ttl"]) == (40, 0x1C46, 2, 64)
    assert (row["src_port"], row["dst_port"]) == (54321, 443)
    assert (row["tcp_seq"], row["tcp_ack"], row["tcp_flags"], row["tcp_window"]) == (1, 2, 0x12, 0xFFF0)
    assert (row["network_offset"], row["transport_offset"]) == (14, 34)
    assert (row["payload_offset"], row["payload_length"]) == (54, 0)
    assert decode.addresses(row) == [ip_address("192.0.2.1")]
    assert decode.addresses(row, "dst") == [ip_address("198.51.100.2")]


@pytest.mark.parametrize("family", [10, 24, 28, 30])
@pytest.mark.parametrize("order", "<>")
def test_udp_over_ipv6_in_null(family: int, order: str) -> None:
    row = one(struct.pack(order + "I", family) + IPV6 + UDP, dlt.DLT_NULL)
    assert (
        row["layers"] & (decode.IPV6 | decode.UDP | decode.PORTS) == decode.IPV6 | decode.UDP | decode.PORTS
    )
    assert (row["flow_label"], row["ip_ttl"], row["udp_length"], row["checksum"]) == (0x12345, 64, 12, 0x1234)
    assert (row["src_port"], row["dst_port"]) == (5353, 5353)
    assert (row["payload_offset"], row["payload_length"]) == (52, 4)
    assert decode.addresses(row, "dst") == [ip_address("2001:db8::2")]


def test_snaplen_20_has_the_link_layer() -> None:
    row = one(SYN_ACK, snaplen=20)
    assert row["layers"] == decode.LINK | decode.PAYLOAD | decode.TRUNCATED
    assert (row["ethertype"], row["payload_offset"], row["payload_length"]) == (0x0800, 14, 6)
    assert not row["ip_version"]


def test_snaplen_38_has_the_ports() -> None:
    row = one(SYN_ACK, snaplen=38)
    found = decode.LINK | decode.IPV4 | decode.ADDRESSES | decode.PORTS | decode.PAYLOAD | decode.TRUNCATED
    assert row["layers"] == found
    assert (row["src_port"], row["dst_port"], row["tcp_seq"]) == (54321, 443, 0)
    assert (row["payload_offset"], row["payload_length"]) == (34, 4)


def tagged(count: int) -> bytes:
    tags = b"".join(struct.pack(">HH", 0x88A8 if n == 0 else 0x8100, 100 + n) for n in range(count))
    return MACS + tags + b"\x08\x00" + IPV4 + TCP


def test_stacked_tags() -> None:
    for count in range(decode.MAX_VLAN_TAGS + 1):
        row = one(tagged(count))
        assert row["layers"] & decode.TCP
        assert bool(row["layers"] & decode.VLAN) == (count > 0)
        assert row["vlan_count"] == count
        assert row["vlan_outer"] == (100 if count else 0)
        assert row["vlan_inner"] == (101 if count > 1 else 0)
        assert row["network_offset"] == 14 + 4 * count


def test_more_tags_than_are_looked_at() -> None:
    row = one(tagged(decode.MAX_VLAN_TAGS + 1))
    assert row["layers"] == decode.LINK | decode.VLAN | decode.DEEP | decode.PAYLOAD
    assert row["ethertype"] == 0x8100


def with_extensions(count: int) -> bytes:
    chain = bytes.fromhex("3c00010400000000") * (count - 1) + bytes.fromhex("1100010400000000")
    length = struct.pack(">H", len(chain) + len(UDP))
    return IPV6[:4] + length + b"\x3c" + IPV6[7:] + chain + UDP


def test_more_extension_headers_than_are_looked_at() -> None:
    most = one(with_extensions(decode.MAX_EXTENSIONS), dlt.DLT_IPV6)
    assert most["layers"] & decode.UDP
    assert most["ip_header_length"] == 40 + 8 * decode.MAX_EXTENSIONS
    row = one(with_extensions(decode.MAX_EXTENSIONS + 1), dlt.DLT_IPV6)
    assert row["layers"] == decode.LINK | decode.IPV6 | decode.ADDRESSES | decode.DEEP | decode.PAYLOAD
    assert row["protocol"] == 60


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (14, 0x65),  # version 6 behind IPv4's ethertype
        (14, 0x44),  # a header of 16 bytes
        (17, 19),  # a total length that does not hold the header
        (17, 30),  # nor the TCP header
        (46, 0x40),  # a TCP header of 16 bytes
        (46, 0xF0),  # of 60, which the total length does not hold
    ],
)
def test_contradictions(where: int, value: int) -> None:
    packet = bytearray(SYN_ACK + bytes(40))
    packet[where] = value
    row = one(bytes(packet))
    assert row["layers"] & (decode.MALFORMED | decode.TRUNCATED) == decode.MALFORMED
    assert row["payload_offset"] + row["payload_length"] <= len(packet)


def test_later_fragments_have_no_ports() -> None:
    first, later = bytearray(SYN_ACK), bytearray(SYN_ACK)
    first[20:22], later[20:22] = b"\x20\x00", b"\x00\x03"
    found = decode.fields(block_of([bytes(first), bytes(later), SYN_ACK]))
    parts = decode.FRAGMENT | decode.MORE_FRAGMENTS
    assert (found["layers"] & parts).tolist() == [parts, decode.FRAGMENT, 0]
    assert (found["layers"] & decode.TCP != 0).tolist() == [True, False, True]
    assert found["fragment_offset"].tolist() == [0, 24, 0]
    assert found["src_port"].tolist() == [54321, 0, 54321]
    assert found["payload_offset"].tolist() == [54, 34, 54]


def test_later_fragments_of_ipv6_are_not_walked() -> None:
    chain = bytes.fromhex("3c00000800000001") + bytes.fromhex("1100010400000000") + UDP
    length = struct.pack(">H", len(chain))
    packet = IPV6[:4] + length + b"\x2c" + IPV6[7:] + chain
    row = one(packet, dlt.DLT_IPV6)
    found = decode.LINK | decode.IPV6 | decode.ADDRESSES | decode.FRAGMENT | decode.PAYLOAD
    assert row["layers"] == found
    assert (row["protocol"], row["fragment_offset"], row["ip_id"]) == (60, 8, 1)
    assert (row["payload_offset"], row["ip_header_length"]) == (48, 48)


@pytest.mark.parametrize(("header", "protocol"), [(IPV4, 58), (IPV6, 1)])
def test_icmp_of_the_other_ip_is_not_decoded(header: bytes, protocol: int) -> None:
    packet = bytearray(header + bytes(20))
    packet[9 if header is IPV4 else 6] = protocol
    row = one(bytes(packet), dlt.DLT_RAW)
    assert row["protocol"] == protocol
    assert not row["layers"] & (decode.ICMP | decode.ICMPV6)


def test_arp_of_other_hardware_has_no_addresses() -> None:
    infiniband = struct.pack(">HHBBH", 32, 0x0800, 20, 4, 1) + bytes(48)
    row = one(MACS + b"\x08\x06" + infiniband + b"tail")
    assert row["layers"] == decode.LINK | decode.ARP | decode.PAYLOAD
    assert (row["arp_operation"], row["payload_offset"], row["payload_length"]) == (1, 70, 4)


def test_an_unknown_family_and_no_ip_at_all() -> None:
    assert one(b"\x63\0\0\0" + IPV4, dlt.DLT_NULL)["layers"] == decode.LINK | decode.PAYLOAD
    assert one(b"\x13" + IPV4, dlt.DLT_RAW)["layers"] & decode.MALFORMED
    assert one(b"", dlt.DLT_RAW)["layers"] == decode.TRUNCATED


def test_a_link_layer_that_is_not_known() -> None:
    with pytest.raises(ValueError, match=r"DLT_IEEE802_11_RADIO is not decoded; DLT_EN10MB, .* are"):
        decode.fields(block_of([SYN_ACK]), dlt.DLT_IEEE802_11_RADIO)
    with pytest.raises(ValueError, match="link-layer type 9999"):
        decode.fields(block_of([]), 9999)


@pytest.mark.parametrize("packets", [[], [b""], [b"", b"", b""]])
def test_nothing_to_read(packets: list[bytes]) -> None:
    found = decode.fields(block_of(packets))
    assert found["layers"].tolist() == [decode.TRUNCATED] * len(packets)
    values, there = decode.field(block_of(packets), 0, ">u2")
    assert values.tolist() == [0] * len(packets)
    assert not there.any()


# --- one more field --------------------------------------------------------------------------------------

OFFSETS = st.one_of(st.integers(-4, 60), st.sampled_from([-(2**63), 2**63 - 1, 2**32]))


@given(st.lists(st.tuples(st.binary(max_size=40), OFFSETS), max_size=20))
@settings(deadline=None)
def test_field_is_what_struct_unpacks(made: list[tuple[bytes, int]]) -> None:
    packets, offsets = [packet for packet, _ in made], [offset for _, offset in made]
    block = block_of(packets, gap=b"\xff" * 8)
    values, there = decode.field(block, np.array(offsets, "i8"), ">u4")
    wanted = [offset >= 0 and offset + 4 <= len(packet) for packet, offset in made]
    assert there.tolist() == wanted
    assert values.tolist() == [
        struct.unpack_from(">I", packet, offset)[0] if ok else 0
        for (packet, offset), ok in zip(made, wanted, strict=True)
    ]
    at_two, _ = decode.field(block, 2, "<u2")
    assert at_two.tolist() == [
        struct.unpack_from("<H", packet, 2)[0] if len(packet) >= 4 else 0 for packet in packets
    ]


def test_field_of_several_values() -> None:
    block = block_of([SYN_ACK, SYN_ACK[:30]])
    values, there = decode.field(block, 26, [("src", ">u4"), ("dst", ">u4")])
    assert values["src"].tolist() == [0xC0000201, 0]
    assert there.tolist() == [True, False]
    macs, _ = decode.field(block, 6, "(6,)u1")
    assert macs.shape == (2, 6)
    assert macs[1].tobytes() == MACS[6:]
    with pytest.raises(TypeError, match="plain bytes"):
        decode.field(block, 0, object)


def test_field_at_the_payload() -> None:
    block = block_of([MACS + b"\x86\xdd" + IPV6 + UDP, SYN_ACK])
    found = decode.fields(block)
    values, there = decode.field(block, found["payload_offset"], "S4")
    assert values.tolist() == [b"mdns", b""]
    assert there.tolist() == [True, False]


# --- whose memory ----------------------------------------------------------------------------------------


def test_results_keep_no_block() -> None:
    ledger = Ledger([SYN_ACK] * 3 + [MACS])
    block = Block(ledger)
    found = decode.fields(block)
    values, there = decode.field(block, 12, ">u2")
    before = found.copy()
    assert sys.getrefcount(block) == 2
    block.release()  # raises BlockInUseError if anything kept a view
    assert ledger.returned == 1
    assert (found == before).all()
    assert found["src_port"].tolist() == [54321] * 3 + [0]
    assert values.tolist() == [0x0800] * 3 + [0]
    assert there.tolist() == [True] * 3 + [False]
    for array in (found, values, there):
        array[:] = np.zeros((), array.dtype)  # nobody else's, and writable
    with pytest.raises(BlockReleasedError):
        decode.fields(block)
    with pytest.raises(BlockReleasedError):
        decode.field(block, 0, "u1")


def test_blocks_of_a_savefile(tmp_path: Path) -> None:
    path = tmp_path / "mixed.pcap"
    savefiles.generate(path, 9000, (60, 1500))
    seen = 0
    with pypcapzc.open_offline(path) as capture:
        for block in capture.blocks():
            found = decode.fields(block, capture.datalink)
            views = block[:]
            assert (found["layers"] & decode.UDP != 0).all()
            ports = [struct.unpack_from(">HH", view, 34) for view in views]
            assert list(zip(found["src_port"].tolist(), found["dst_port"].tolist(), strict=True)) == ports
            assert (found["payload_length"] == [len(view) - 42 for view in views]).all()
            del views
            block.release()
            seen += len(found)
    assert seen == 9000


@pytest.mark.parametrize("module", ["decode", "selection"])
def test_without_numpy_it_says_what_to_install(module: str) -> None:
    code = f"import sys; sys.modules['numpy'] = None; import pypcapzc.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: this needs numpy: pip install 'pypcapzc[numpy]'" in done.stderr


def test_a_field_by_the_blocks_own_method() -> None:
    block = block_of([SYN_ACK, SYN_ACK[:10]])
    values, there = block.field(12, ">u2")
    assert (values.tolist(), there.tolist()) == ([int.from_bytes(SYN_ACK[12:14], "big"), 0], [True, False])
    block.release()
    with pytest.raises(BlockReleasedError):
        block.field(12, ">u2")
