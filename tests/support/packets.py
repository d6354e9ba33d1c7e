"""Packets of every kind that pypcapzc.decode knows, and blocks of them with poison around each packet."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st

from pypcapzc import datalinks as dlt
from pypcapzc.block import Block
from pypcapzc.leases import RECORD, rounded
from support.leases import Ledger

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
DATA = st.binary(max_size=40)


class Laid(Ledger):
    """Packets with bytes between them that belong to none."""

    def __init__(self, packets: Sequence[bytes], caplens: Sequence[int], gap: bytes) -> None:
        # Not super().__init__: it lays the packets close.
        self.count, self.returned = len(packets), 0
        self._index, laid = bytearray(), bytearray(gap)
        for number, (packet, caplen) in enumerate(zip(packets, caplens, strict=True)):
            self._index += RECORD.pack(number, len(laid), caplen, len(packet), 0)
            laid += packet[:caplen] + gap
        self.nbytes = len(laid)
        self._memory = laid.ljust(rounded(len(laid)), b"\0")


def block_of(packets: Sequence[bytes], *, snaplen: int = 1 << 20, gap: bytes = b"") -> Block:
    """A block of the packets, each cut to ``snaplen``, with ``gap`` before, between and behind them."""
    return Block(Laid(packets, [min(len(packet), snaplen) for packet in packets], gap))


@st.composite
def _tcp(draw: st.DrawFn) -> bytes:
    options: bytes = draw(st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)))
    offset_flags = (5 + len(options) // 4) << 12 | draw(st.integers(0, 0xFFF))
    numbers: list[int] = [draw(field) for field in (U16, U16, U32, U32)]
    rest = [draw(U16) for _ in range(3)]
    header: bytes = struct.pack(">HHIIHHHH", *numbers, offset_flags, *rest)
    return header + options + draw(DATA)


@st.composite
def _udp(draw: st.DrawFn) -> bytes:
    data = draw(DATA)
    length = draw(st.sampled_from([8 + len(data), 8 + len(data), 0, 8, 8 + len(data) // 2, 9000]))
    return struct.pack(">HHHH", draw(U16), draw(U16), length, draw(U16)) + data


def _icmp(types: Sequence[int]) -> st.SearchStrategy[bytes]:
    def pack(kind: int, code: int, checksum: int, rest: int, data: bytes) -> bytes:
        return struct.pack(">BBHI", kind, code, checksum, rest) + data

    return st.builds(pack, st.sampled_from(types), U8, U16, U32, st.binary(min_size=24, max_size=40))


@st.composite
def _sctp(draw: st.DrawFn) -> bytes:
    data = draw(DATA)
    chunk = struct.pack(">BBH", 0, 3, 4 + len(data)) + data + bytes(-len(data) % 4)
    return struct.pack(">HHII", draw(U16), draw(U16), draw(U32), draw(U32)) + chunk


_OTHER = st.tuples(st.sampled_from([2, 4, 41, 47, 50, 89, 136, 200]), DATA)


def _with(number: int, body: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[int, bytes]]:
    return body.map(lambda data: (number, data))


_COMMON = [_with(6, _tcp()), _with(17, _udp()), _with(132, _sctp())]
_OVER_IPV4: st.SearchStrategy[tuple[int, bytes]] = st.one_of(*_COMMON, _with(1, _icmp([0, 3, 8, 11])), _OTHER)
# Not ESP (50) over IPv6: dpkt takes it for an extension header.
_OVER_IPV6: st.SearchStrategy[tuple[int, bytes]] = st.one_of(
    *_COMMON, _with(58, _icmp([1, 128, 129, 135])), _OTHER.filter(lambda pair: pair[0] != 50)
)


@st.composite
def ipv4(draw: st.DrawFn) -> bytes:
    """With options, as a fragment, and with a total length of 0, each now and then."""
    protocol, body = draw(_OVER_IPV4)
    options: bytes = draw(st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)))
    fragment = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x8000, 1, 0x2001, 0x1FFF, 0x3ABC]))
    header = 20 + len(options)
    length = draw(st.sampled_from([header + len(body)] * 3 + [0]))
    first = (0x40 | header // 4, draw(U8), length, draw(U16), fragment, draw(U8), protocol, draw(U16))
    fixed: bytes = struct.pack(">BBHHHBBHII", *first, draw(U32), draw(U32))
    return fixed + options + body


def _extension(number: int, following: int, units: int, filler: bytes) -> bytes:
    if number == 51:  # in units of 4, less 2
        return struct.pack(">BB", following, 1 + 2 * units) + filler.ljust(10 + 8 * units, b"\x07")
    if number == 43:  # routing: pairs of 8 bytes hold addresses
        return struct.pack(">BB", following, 2 * units) + filler.ljust(6 + 16 * units, b"\x05")
    size = 6 + 8 * units  # options: one PadN
    return struct.pack(">BBBB", following, units, 1, size - 2) + bytes(size - 2)


@st.composite
def ipv6(draw: st.DrawFn) -> bytes:
    """With up to three extension headers, the last of them perhaps that of a fragment."""
    following, body = draw(_OVER_IPV6)
    if draw(st.integers(0, 3)) == 0:
        fragment = draw(st.sampled_from([0, 1, 8, 9, 0xFFF8, 0x1239]))
        body = struct.pack(">BBHI", following, 0, fragment, draw(U32)) + body
        following = 44
        others = 0 if fragment > 7 else draw(st.integers(0, 2))  # dpkt looks at the first header only
    else:
        others = draw(st.integers(0, 3))
    for _ in range(others):
        number = draw(st.sampled_from([0, 43, 51, 60]))
        body = _extension(number, following, draw(st.integers(0, 2)), draw(st.binary(max_size=6))) + body
        following = number
    length = draw(st.sampled_from([len(body)] * 3 + [0]))
    header: bytes = struct.pack(">IHBB", 0x60000000 | draw(U32) & 0xFFFFFFF, length, following, draw(U8))
    return (
        header + draw(st.binary(min_size=16, max_size=16)) + draw(st.binary(min_size=16, max_size=16)) + body
    )


@st.composite
def arp(draw: st.DrawFn) -> bytes:
    """Of IPv4 over Ethernet."""
    addresses = draw(st.binary(min_size=20, max_size=20))
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, draw(U16)) + addresses


NETWORK = st.one_of(
    ipv4().map(lambda data: (0x0800, data)),
    ipv6().map(lambda data: (0x86DD, data)),
    arp().map(lambda data: (0x0806, data)),
    DATA.map(lambda data: (0x88CC, data)),
)
IP = st.one_of(ipv4(), ipv6())


@st.composite
def ethernet(draw: st.DrawFn) -> bytes:
    """With up to two tags, and now and then with padding behind what it carries."""
    kind, body = draw(NETWORK)
    tags = draw(st.sampled_from([(), (), (0x8100,), (0x88A8,), (0x88A8, 0x8100), (0x8100, 0x8100)]))
    header: bytes = draw(st.binary(min_size=12, max_size=12).filter(lambda raw: raw[:2] != b"\x01\x00"))
    for tag in tags:
        header += struct.pack(">HH", tag, draw(U16))
    header += struct.pack(">H", kind)
    stated = (kind == 0x0800 and body[2:4] != b"\0\0") or (kind == 0x86DD and body[4:6] != b"\0\0")
    return header + body + (b"\xfe" * draw(st.integers(0, 20)) if stated else b"")


@st.composite
def cooked(draw: st.DrawFn) -> bytes:
    """Linux cooked, version 1."""
    kind, body = draw(NETWORK)
    first = (draw(st.integers(0, 4)), draw(U16), draw(st.sampled_from([6, 0, 8])))
    return (
        struct.pack(">HHH", *first) + draw(st.binary(min_size=8, max_size=8)) + struct.pack(">H", kind) + body
    )


@st.composite
def cooked2(draw: st.DrawFn) -> bytes:
    """Linux cooked, version 2."""
    kind, body = draw(NETWORK)
    first = (kind, 0, draw(st.integers(1, 1 << 30)), draw(U16), draw(st.integers(0, 4)))
    length = draw(st.sampled_from([6, 0, 8]))
    return struct.pack(">HHIHBB", *first, length) + draw(st.binary(min_size=8, max_size=8)) + body


@st.composite
def null(draw: st.DrawFn) -> bytes:
    """NULL or LOOP, in either byte order."""
    body = draw(IP)
    family = 2 if body[0] >> 4 == 4 else draw(st.sampled_from([24, 28, 30]))
    return struct.pack(draw(st.sampled_from("<>")) + "I", family) + body


BY_LINK: dict[int, st.SearchStrategy[bytes]] = {
    dlt.DLT_EN10MB: ethernet(),
    dlt.DLT_LINUX_SLL: cooked(),
    dlt.DLT_LINUX_SLL2: cooked2(),
    dlt.DLT_RAW: IP,
    dlt.DLT_IPV4: ipv4(),
    dlt.DLT_IPV6: ipv6(),
    dlt.DLT_NULL: null(),
    dlt.DLT_LOOP: null(),
}


@st.composite
def mutated(draw: st.DrawFn, made: st.SearchStrategy[bytes]) -> bytes:
    """A packet with some bytes changed, cut out or put in, mostly in its headers."""
    packet = bytearray(draw(made))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(packet), 80)))
        packet[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(packet)
