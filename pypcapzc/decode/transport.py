"""TCP, UDP, ICMP, ICMPv6 and SCTP."""

from __future__ import annotations

from collections.abc import Callable

from .layout import ICMP, ICMPV6, MALFORMED, PORTS, SCTP, TCP, UDP
from .numeric import np
from .part import Array, Part

_PORTS = np.dtype([("src", ">u2"), ("dst", ">u2")])
_TCP = np.dtype(
    [
        ("src", ">u2"),
        ("dst", ">u2"),
        ("seq", ">u4"),
        ("ack", ">u4"),
        ("offset_flags", ">u2"),
        ("window", ">u2"),
        ("checksum", ">u2"),
        ("urgent", ">u2"),
    ]
)
_UDP = np.dtype([("src", ">u2"), ("dst", ">u2"), ("length", ">u2"), ("checksum", ">u2")])
_ICMP = np.dtype([("type", "u1"), ("code", "u1"), ("checksum", ">u2"), ("rest", ">u4")])
_SCTP = np.dtype([("src", ">u2"), ("dst", ">u2"), ("tag", ">u4"), ("checksum", ">u4")])


def transport(part: Part) -> None:
    """Decode what IP carries, by ``kind``, the protocol number."""
    part.dispatch(_PROTOCOLS)


def _with_ports(part: Part, size: int, decode: Callable[[Part], None]) -> None:
    """Decode headers of ``size`` bytes; of those that are not whole the ports, if they are there."""
    there = part.at + size <= part.limit
    if there.all():
        decode(part)
        return
    part.mark_short(~there)
    part.within(there, decode)
    part.within(~there & (part.at + _PORTS.itemsize <= part.limit), _ports)


def _begin(part: Part, rows: Array, bits: int) -> None:
    part.mark(PORTS | bits)
    part.out["transport_offset"] = part.at - part.start
    part.out["src_port"], part.out["dst_port"] = rows["src"], rows["dst"]


def _ports(part: Part) -> None:
    _begin(part, part.read(_PORTS), 0)


def _tcp(part: Part) -> None:
    rows, out = part.read(_TCP), part.out
    _begin(part, rows, TCP)
    out["tcp_seq"], out["tcp_ack"] = rows["seq"], rows["ack"]
    out["tcp_window"], out["tcp_urgent"] = rows["window"], rows["urgent"]
    out["checksum"] = rows["checksum"]
    both = rows["offset_flags"].astype("u2")
    out["tcp_flags"] = both & 0xFFF
    size = (both >> 12).astype("i8") * 4
    out["tcp_header_length"] = size
    part.at = part.at + size
    there = (part.at <= part.limit) & (size >= _TCP.itemsize)
    if not there.all():
        part.mark_where(size < _TCP.itemsize, MALFORMED)
        part.mark_short(part.at > part.limit)
    part.within(there, Part.enter_payload)


def _udp(part: Part) -> None:
    rows, out = part.read(_UDP), part.out
    _begin(part, rows, UDP)
    length = rows["length"].astype("i8")
    out["udp_length"], out["checksum"] = length, rows["checksum"]
    part.at = part.at + _UDP.itemsize
    enough = length >= _UDP.itemsize
    if not enough.all():
        # 0 is for jumbograms (RFC 2675): then IP's length holds.
        unknown = length == 0
        part.mark_where(~enough & ~unknown, MALFORMED)
        length = np.where(unknown, 1 << 32, length)
        enough |= unknown
    part.limit = np.minimum(part.limit, part.at + (length - _UDP.itemsize))
    part.within(enough, Part.enter_payload)


def _sctp(part: Part) -> None:
    rows, out = part.read(_SCTP), part.out
    _begin(part, rows, SCTP)
    out["sctp_tag"], out["sctp_checksum"] = rows["tag"], rows["checksum"]
    part.at = part.at + _SCTP.itemsize
    part.enter_payload()


def _icmp(part: Part, version: int, bit: int) -> None:
    def decode(some: Part) -> None:
        rows, out = some.read(_ICMP), some.out
        out["transport_offset"] = some.at - some.start
        out["icmp_type"], out["icmp_code"] = rows["type"], rows["code"]
        out["checksum"], out["icmp_rest"] = rows["checksum"], rows["rest"]
        some.at = some.at + _ICMP.itemsize
        some.enter_payload(bit)

    part.within(part.out["ip_version"] == version, lambda some: some.whole(_ICMP.itemsize, decode))


_PROTOCOLS: dict[int, Callable[[Part], None]] = {
    6: lambda part: _with_ports(part, _TCP.itemsize, _tcp),
    17: lambda part: _with_ports(part, _UDP.itemsize, _udp),
    1: lambda part: _icmp(part, 4, ICMP),
    58: lambda part: _icmp(part, 6, ICMPV6),
    132: lambda part: _with_ports(part, _SCTP.itemsize, _sctp),
}
