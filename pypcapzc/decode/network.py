"""ARP, IPv4 and IPv6."""

from __future__ import annotations

from .layout import (
    ADDRESSES,
    ARP,
    DEEP,
    FRAGMENT,
    IPV4,
    IPV6,
    MALFORMED,
    MAX_EXTENSIONS,
    MORE_FRAGMENTS,
)
from .numeric import np
from .part import Array, Part, gather
from .transport import transport

IPV4_TYPE, ARP_TYPE, IPV6_TYPE = 0x0800, 0x0806, 0x86DD

_ARP = np.dtype(
    [
        ("hardware", ">u2"),
        ("protocol", ">u2"),
        ("hardware_length", "u1"),
        ("protocol_length", "u1"),
        ("operation", ">u2"),
    ]
)
_ARP_ADDRESSES = np.dtype(
    [
        ("sender_hi", ">u2"),
        ("sender_lo", ">u4"),
        ("sender_ip", ">u4"),
        ("target_hi", ">u2"),
        ("target_lo", ">u4"),
        ("target_ip", ">u4"),
    ]
)
_IPV4 = np.dtype(
    [
        ("version_ihl", "u1"),
        ("tos", "u1"),
        ("length", ">u2"),
        ("id", ">u2"),
        ("fragment", ">u2"),
        ("ttl", "u1"),
        ("protocol", "u1"),
        ("checksum", ">u2"),
        ("src", ">u4"),
        ("dst", ">u4"),
    ]
)
_IPV6 = np.dtype(
    [
        ("first", ">u4"),
        ("length", ">u2"),
        ("next", "u1"),
        ("hops", "u1"),
        ("src_hi", ">u8"),
        ("src_lo", ">u8"),
        ("dst_hi", ">u8"),
        ("dst_lo", ">u8"),
    ]
)
# The first 8 bytes of an extension header; the last two fields are those of a fragment header.
_EXTENSION = np.dtype([("next", "u1"), ("length", "u1"), ("fragment", ">u2"), ("id", ">u4")])
_FRAGMENT_HEADER, _AUTHENTICATION, _NO_NEXT = 44, 51, 59
# IANA's "IPv6 Extension Header Types" whose length is readable, hence not ESP (50): hop-by-hop options,
# routing, fragment, authentication, destination options, mobility, HIP, Shim6.
_EXTENSIONS = np.isin(np.arange(256), (0, 43, _FRAGMENT_HEADER, _AUTHENTICATION, 60, 135, 139, 140))


def arp(part: Part) -> None:
    """Decode the ARP packets at ``at``."""
    part.whole(_ARP.itemsize, _arp)


def _arp(part: Part) -> None:
    rows = part.read(_ARP)
    part.mark(ARP)
    part.out["network_offset"] = part.at - part.start
    part.out["arp_operation"] = rows["operation"]
    usual = (rows["protocol"] == IPV4_TYPE) & (rows["hardware_length"] == 6) & (rows["protocol_length"] == 4)
    sizes = (rows["hardware_length"].astype("i8") + rows["protocol_length"]) * 2
    part.at = part.at + _ARP.itemsize
    there = part.at + sizes <= part.limit
    part.mark_short(~there)
    part.within(there & usual, _arp_addresses)
    part.within(there & ~usual, lambda some: _pass(some, sizes[there & ~usual]))


def _arp_addresses(part: Part) -> None:
    rows, out = part.read(_ARP_ADDRESSES), part.out
    part.mark(ADDRESSES)
    out["arp_sender"] = (rows["sender_hi"].astype("u8") << np.uint64(32)) | rows["sender_lo"].astype("u8")
    out["arp_target"] = (rows["target_hi"].astype("u8") << np.uint64(32)) | rows["target_lo"].astype("u8")
    out["src_lo"], out["dst_lo"] = rows["sender_ip"], rows["target_ip"]
    _pass(part, _ARP_ADDRESSES.itemsize)


def _pass(part: Part, size: int | Array) -> None:
    part.at = part.at + size
    part.enter_payload()


def _versioned(part: Part, version: int) -> Array:
    """Where the header at ``at`` (of which the first byte is there) has that version."""
    right = part.data[part.at] >> 4 == version
    part.mark_where(~right, MALFORMED)
    return right


def ipv4(part: Part) -> None:
    """Decode the IPv4 headers at ``at``, and what they carry."""
    part.whole(_IPV4.itemsize, _ipv4)


def _ipv4(part: Part) -> None:
    rows = part.read(_IPV4)
    first = rows["version_ihl"]
    right = (first >= 0x45) & (first <= 0x4F)
    if right.all():
        _ipv4_header(part, rows)
    else:
        part.mark_where(~right, MALFORMED)
        part.within(right, lambda some: _ipv4_header(some, some.read(_IPV4)))


def _ipv4_header(part: Part, rows: Array) -> None:
    out, fragment = part.out, rows["fragment"].astype("u2")
    part.mark(IPV4 | ADDRESSES)
    out["ip_version"] = 4
    out["network_offset"] = part.at - part.start
    out["ip_tos"], out["ip_ttl"], out["protocol"] = rows["tos"], rows["ttl"], rows["protocol"]
    out["ip_id"], out["ip_checksum"] = rows["id"], rows["checksum"]
    out["src_lo"], out["dst_lo"] = rows["src"], rows["dst"]
    out["ip_flags"] = fragment >> 13
    header = (rows["version_ihl"] & 15) * np.uint8(4)
    length = rows["length"].astype("i8")
    out["ip_header_length"], out["ip_length"] = header, length
    part.kind = rows["protocol"].copy()
    if (fragment & 0x3FFF).any():
        _note_fragments(part, (fragment & 0x1FFF) * np.uint16(8), fragment & 0x2000 != 0)
    enough = length >= header
    if not enough.all():
        # A total length of 0 is what a sender's own capture has before the card cuts a large segment.
        unknown = length == 0
        part.mark_where(~enough & ~unknown, MALFORMED)
        length = np.where(unknown, part.end - part.at, np.maximum(length, header))
        enough |= unknown
    part.limit = np.minimum(part.limit, part.at + length)
    part.at = part.at + header
    there = part.at <= part.limit
    if not there.all():
        part.mark_short(~there)
    part.within(there & enough, _carried)


def _note_fragments(part: Part, offset: Array, more: Array) -> None:
    part.out["fragment_offset"] = offset
    part.mark_where(more | (offset != 0), FRAGMENT)
    part.mark_where(more, MORE_FRAGMENTS)


def _carried(part: Part) -> None:
    """What follows IP's headers; only at the beginning of a packet is that a header again."""
    part.enter_payload()
    later = part.out["fragment_offset"]
    if later.any():
        part.within(later == 0, transport)
    else:
        transport(part)


def ipv6(part: Part) -> None:
    """Decode the IPv6 headers at ``at``, their extension headers, and what they carry."""
    part.whole(_IPV6.itemsize, lambda some: some.within(_versioned(some, 6), _ipv6_header))


def _ipv6_header(part: Part) -> None:
    rows, out = part.read(_IPV6), part.out
    first = rows["first"].astype("u4")
    part.mark(IPV6 | ADDRESSES)
    out["ip_version"] = 6
    out["network_offset"] = part.at - part.start
    out["ip_tos"], out["flow_label"] = (first >> 20) & 0xFF, first & 0xFFFFF
    out["ip_ttl"] = rows["hops"]
    for name in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        out[name] = rows[name]
    length = rows["length"].astype("i8")
    out["ip_length"] = length + _IPV6.itemsize
    # 0 is for jumbograms (RFC 2675), and for large segments of a sender's own; or nothing follows.
    unknown = (length == 0) & (rows["next"] != _NO_NEXT)
    stated = part.at + _IPV6.itemsize + length
    part.limit = np.where(unknown, part.limit, np.minimum(part.limit, stated))
    part.depth = 0
    _extended(part, np.full(part.at.size, _IPV6.itemsize), rows["next"].copy())


def _extended(part: Part, size: Array, kind: Array) -> None:
    """Past the IPv6 or extension header of ``size`` bytes, which says what follows."""
    out = part.out
    part.at, part.kind = part.at + size, kind
    out["protocol"] = kind
    out["ip_header_length"] += size.astype("u2")
    part.enter_payload()
    first = out["fragment_offset"] == 0  # of later fragments the chain of headers is not repeated
    further = _EXTENSIONS[kind]
    part.within(first & ~further, transport)
    further &= first
    if not further.any():
        return
    if part.depth == MAX_EXTENSIONS:
        part.mark_where(further, DEEP)
    else:
        part.within(further, lambda some: some.whole(_EXTENSION.itemsize, _extension))


def _extension(part: Part) -> None:
    rows = part.read(_EXTENSION)
    length = rows["length"].astype("i8")
    size = (length + 1) * 8
    size = np.where(part.kind == _AUTHENTICATION, (length + 2) * 4, size)  # RFC 4302, 2.2
    is_fragment = part.kind == _FRAGMENT_HEADER
    size = np.where(is_fragment, 8, size)
    there = part.at + size <= part.limit
    part.mark_short(~there)
    part.depth += 1
    part.within(is_fragment, _fragment)
    part.within(there, lambda some: _extended(some, size[there], rows["next"][there]))


def _fragment(part: Part) -> None:
    rows = gather(part.data, part.at, _EXTENSION)
    part.out["ip_id"] = rows["id"]
    fragment = rows["fragment"].astype("u2")
    part.mark(FRAGMENT)
    part.out["fragment_offset"] = fragment & 0xFFF8
    part.mark_where(fragment & 1 != 0, MORE_FRAGMENTS)
