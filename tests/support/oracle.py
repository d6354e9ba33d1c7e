"""What dpkt, which takes packets apart one by one, says of a packet, in the fields of pypcapzc.decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dpkt

from pypcapzc import datalinks as dlt
from pypcapzc import decode

Row = dict[str, int]


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _ports(row: Row, header: Any) -> None:
    row["src_port"], row["dst_port"] = header.sport, header.dport
    row["layers"] |= decode.PORTS


def _payload(row: Row, offset: int, length: int) -> None:
    row["layers"] |= decode.PAYLOAD
    row["payload_offset"], row["payload_length"] = offset, length


def _tcp(row: Row, header: Any, at: int, size: int) -> int:
    _ports(row, header)
    row["tcp_seq"], row["tcp_ack"], row["tcp_window"] = header.seq, header.ack, header.win
    row["tcp_urgent"], row["checksum"] = header.urp, header.sum
    row["tcp_flags"] = header._off_flags & 0xFFF
    row["tcp_header_length"] = header.off * 4
    _payload(row, at + header.off * 4, len(header.data))
    return decode.TCP


def _udp(row: Row, header: Any, at: int, size: int) -> int:
    _ports(row, header)
    row["udp_length"], row["checksum"] = header.ulen, header.sum
    room = len(header.data)
    _payload(row, at + 8, min(room, header.ulen - 8) if header.ulen else room)
    return decode.UDP


def _sctp(row: Row, header: Any, at: int, size: int) -> int:
    _ports(row, header)
    row["sctp_tag"], row["sctp_checksum"] = header.vtag, header.sum
    _payload(row, at + 12, size - 12)
    return decode.SCTP


def _icmp(row: Row, header: Any, at: int, size: int) -> int:
    row["icmp_type"], row["icmp_code"], row["checksum"] = header.type, header.code, header.sum
    row["icmp_rest"] = _number(bytes(header)[4:8])
    _payload(row, at + 8, size - 8)
    return decode.ICMPV6 if isinstance(header, dpkt.icmp6.ICMP6) else decode.ICMP


_TRANSPORTS: dict[type, Callable[[Row, Any, int, int], int]] = {
    dpkt.tcp.TCP: _tcp,
    dpkt.udp.UDP: _udp,
    dpkt.sctp.SCTP: _sctp,
    dpkt.icmp.ICMP: _icmp,
    dpkt.icmp6.ICMP6: _icmp,
}


def _transport(row: Row, header: Any, at: int, size: int) -> None:
    _payload(row, at, size)
    if (read := _TRANSPORTS.get(type(header))) is not None:
        bit = read(row, header, at, size)
        row["layers"] |= bit
        row["transport_offset"] = at


def _ipv4(row: Row, ip: Any, at: int, room: int) -> None:
    row["layers"] |= decode.IPV4 | decode.ADDRESSES
    row["ip_version"], row["network_offset"] = ip.v, at
    row["src_lo"], row["dst_lo"] = _number(ip.src), _number(ip.dst)
    row["ip_length"], row["ip_header_length"], row["ip_id"] = ip.len, ip.hl * 4, ip.id
    row["ip_tos"], row["ip_ttl"], row["protocol"], row["ip_checksum"] = ip.tos, ip.ttl, ip.p, ip.sum
    row["ip_flags"] = ip.rf << 2 | ip.df << 1 | ip.mf
    row["fragment_offset"] = ip.offset * 8
    if ip.offset or ip.mf:
        row["layers"] |= decode.FRAGMENT | (decode.MORE_FRAGMENTS if ip.mf else 0)
    size = (ip.len or room) - ip.hl * 4
    _transport(row, ip.data, at + ip.hl * 4, size)


def _ipv6(row: Row, ip: Any, at: int, room: int) -> None:
    row["layers"] |= decode.IPV6 | decode.ADDRESSES
    row["ip_version"], row["network_offset"] = ip.v, at
    for side, raw in (("src", ip.src), ("dst", ip.dst)):
        row[f"{side}_hi"], row[f"{side}_lo"] = _number(raw[:8]), _number(raw[8:])
    row["ip_length"], row["ip_tos"], row["flow_label"] = ip.plen + 40, ip.fc, ip.flow
    row["ip_ttl"], row["protocol"] = ip.hlim, ip.p
    header = 40 + sum(extension.length for extension in ip.all_extension_headers)
    row["ip_header_length"] = header
    fragment = ip.extension_hdrs.get(44)
    if fragment is not None:
        row["ip_id"], row["fragment_offset"] = fragment.id, fragment.frag_off * 8
        row["layers"] |= decode.FRAGMENT | (decode.MORE_FRAGMENTS if fragment.m_flag else 0)
    size = (ip.plen + 40 if ip.plen else room) - header
    _transport(row, ip.data, at + header, size)


def _arp(row: Row, arp: Any, at: int) -> None:
    row["layers"] |= decode.ARP | decode.ADDRESSES
    row["network_offset"], row["arp_operation"] = at, arp.op
    row["arp_sender"], row["arp_target"] = _number(arp.sha), _number(arp.tha)
    row["src_lo"], row["dst_lo"] = _number(arp.spa), _number(arp.tpa)


def _network(row: Row, header: Any, at: int, size: int) -> None:
    if isinstance(header, dpkt.ip.IP):
        _ipv4(row, header, at, size - at)
    elif isinstance(header, dpkt.ip6.IP6):
        _ipv6(row, header, at, size - at)
    elif isinstance(header, dpkt.arp.ARP):
        _arp(row, header, at)
        _payload(row, at + 28, size - at - 28)
    else:
        _payload(row, at, size - at)


def _ethernet(row: Row, raw: bytes) -> None:
    frame = dpkt.ethernet.Ethernet(raw)
    row["link_src"], row["link_dst"] = _number(frame.src), _number(frame.dst)
    tags = getattr(frame, "vlan_tags", [])
    row["ethertype"] = tags[-1].type if tags else frame.type
    row["vlan_count"] = len(tags)
    if tags:
        row["layers"] |= decode.VLAN
    for name, tag in zip(("vlan_outer", "vlan_inner"), tags, strict=False):
        row[name] = tag.pri << 13 | tag.cfi << 12 | tag.id
    _network(row, frame.data, 14 + 4 * len(tags), len(raw))


def _cooked(row: Row, raw: bytes, header: Any) -> None:
    row["ethertype"], row["cooked_type"], row["cooked_hardware"] = header.ethtype, header.type, header.hrd
    if header.hlen == 6:
        row["link_src"] = _number(header.hdr[:6])
    if isinstance(header, dpkt.sll2.SLL2):
        row["cooked_interface"] = header.intindex
    _network(row, header.data, header.__hdr_len__, len(raw))


def _bare(row: Row, raw: bytes, header: Any, at: int) -> None:
    row["ethertype"] = 0x0800 if isinstance(header, dpkt.ip.IP) else 0x86DD
    _network(row, header, at, len(raw))


def expected(datalink: int, raw: bytes) -> Row:
    """The fields that are not 0; of whole packets only, since dpkt gives up where it lacks bytes."""
    row: Row = {"layers": decode.LINK}
    if datalink == dlt.DLT_EN10MB:
        _ethernet(row, raw)
    elif datalink == dlt.DLT_LINUX_SLL:
        _cooked(row, raw, dpkt.sll.SLL(raw))
    elif datalink == dlt.DLT_LINUX_SLL2:
        _cooked(row, raw, dpkt.sll2.SLL2(raw))
    elif datalink in (dlt.DLT_NULL, dlt.DLT_LOOP):
        _bare(row, raw, dpkt.loopback.Loopback(raw).data, 4)
    else:
        _bare(row, raw, dpkt.ip.IP(raw) if raw[0] >> 4 == 4 else dpkt.ip6.IP6(raw), 0)
    return {name: value for name, value in row.items() if value}
