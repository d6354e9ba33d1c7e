"""What decoding finds in a packet: the fields, and the bits that say which of them hold."""

from __future__ import annotations

from .numeric import np

# Bits of the field "layers".  Each says that a header is there with its fixed part whole, and that the fields
# of it hold; a field whose bit is not set is 0.

LINK = 1 << 0
"""Link-layer header: ethertype; addresses where the layer has them; ``cooked_*`` of Linux cooked captures."""
VLAN = 1 << 1
"""At least one VLAN tag: vlan_count, vlan_outer, vlan_inner (the second, where vlan_count > 1)."""
ARP = 1 << 2
"""arp_operation; with ADDRESSES also arp_sender and arp_target (Ethernet) and src_lo and dst_lo (IPv4)."""
IPV4 = 1 << 3
IPV6 = 1 << 4
ADDRESSES = 1 << 5
"""src_hi, src_lo, dst_hi, dst_lo: an IPv6 address in two halves, an IPv4 address in src_lo and dst_lo."""
FRAGMENT = 1 << 6
"""A part of an IP packet: fragment_offset (in bytes) and MORE_FRAGMENTS.  Only at offset 0 is there a
transport header, and that is decoded as in a whole packet."""
MORE_FRAGMENTS = 1 << 7
PORTS = 1 << 8
"""src_port and dst_port, of TCP, UDP or SCTP, whose header need not be whole."""
TCP = 1 << 9
UDP = 1 << 10
ICMP = 1 << 11
ICMPV6 = 1 << 12
SCTP = 1 << 13
PAYLOAD = 1 << 14
"""payload_offset and payload_length: what follows the last header whose end is known."""
TRUNCATED = 1 << 15
"""A header ends after caplen: the packet was cut, or its frame is too short."""
MALFORMED = 1 << 16
"""A header contradicts itself or the one before it; nothing behind it was decoded."""
DEEP = 1 << 17
"""More VLAN tags or IPv6 extension headers than MAX_VLAN_TAGS or MAX_EXTENSIONS; not decoded behind those."""

MAX_VLAN_TAGS = 8
MAX_EXTENSIONS = 12

TRANSPORTS = TCP | UDP | ICMP | ICMPV6 | SCTP

FIELDS = np.dtype(
    [
        ("layers", "u4"),
        ("ethertype", "u2"),  # after the VLAN tags; of raw IP and NULL what it would be
        ("ip_version", "u1"),  # 4, 6, or 0
        ("protocol", "u1"),  # of what IP carries, after IPv6's extension headers
        # offsets from the packet's first byte
        ("network_offset", "u4"),
        ("transport_offset", "u4"),  # with PORTS, ICMP, ICMPV6
        ("payload_offset", "u4"),
        ("payload_length", "u4"),  # of bytes present, without what pads an Ethernet frame
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        # link
        ("vlan_outer", "u2"),  # the tag's 16 bits: 3 of priority, 1, 12 of VLAN number
        ("vlan_inner", "u2"),
        ("link_src", "u8"),  # a MAC address as a number of 48 bits
        ("link_dst", "u8"),
        ("cooked_interface", "u4"),  # v2 only
        ("cooked_hardware", "u2"),  # ARPHRD_*
        ("cooked_type", "u1"),  # 0 to us, 1 broadcast, 2 multicast, 3 to others, 4 sent by us
        ("vlan_count", "u1"),
        # network
        ("ip_length", "u4"),  # IPv4's total length; of IPv6 40 + payload length; as the header has it
        ("ip_id", "u4"),  # of IPv6 that in the fragment header
        ("flow_label", "u4"),
        ("fragment_offset", "u2"),
        ("ip_header_length", "u2"),  # options and extension headers included, as far as decoded
        ("ip_checksum", "u2"),
        ("ip_tos", "u1"),  # type of service, traffic class
        ("ip_ttl", "u1"),  # hop limit
        ("arp_sender", "u8"),
        ("arp_target", "u8"),
        ("arp_operation", "u2"),
        ("ip_flags", "u1"),  # IPv4: 4 reserved, 2 do not fragment, 1 more fragments
        # transport
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("tcp_header_length", "u1"),
        ("tcp_flags", "u2"),  # 12 bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, ...
        ("tcp_seq", "u4"),
        ("tcp_ack", "u4"),
        ("tcp_window", "u2"),
        ("tcp_urgent", "u2"),
        ("checksum", "u2"),  # of TCP, UDP, ICMP
        ("udp_length", "u2"),
        ("icmp_rest", "u4"),  # the four bytes after ICMP's checksum: of an echo, identifier and number
        ("sctp_tag", "u4"),
        ("sctp_checksum", "u4"),
    ],
    align=True,
)
