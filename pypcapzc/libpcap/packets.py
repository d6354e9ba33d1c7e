"""The pseudo-headers that libpcap puts in front of packets, as ctypes classes under their C names.

From pcap/sll.h, vlan.h, usb.h, bluetooth.h, can_socketcan.h and nflog.h.  The fields are in the order and
the byte order of the packet; which of them are big-endian is said with the link-layer types
(www.tcpdump.org/linktypes.html).
"""

from __future__ import annotations

from ctypes import Structure, Union, c_char, c_int32, c_uint8, c_uint16, c_uint32, c_uint64
from typing import Any, ClassVar

from ..constants import SLL_ADDRLEN

__all__ = [
    "iso_rec",
    "nflog_hdr",
    "nflog_hdr_t",
    "nflog_hwaddr",
    "nflog_hwaddr_t",
    "nflog_packet_hdr",
    "nflog_packet_hdr_t",
    "nflog_timestamp",
    "nflog_timestamp_t",
    "nflog_tlv",
    "nflog_tlv_t",
    "pcap_4_byte_aligned_int64",
    "pcap_4_byte_aligned_uint64",
    "pcap_bluetooth_h4_header",
    "pcap_bluetooth_linux_monitor_header",
    "pcap_can_socketcan_hdr",
    "pcap_can_socketcan_xl_hdr",
    "pcap_usb_header",
    "pcap_usb_header_mmapped",
    "pcap_usb_setup",
    "sll2_header",
    "sll_header",
    "usb_isodesc",
    "vlan_tag",
]

_Fields = list[tuple[str, Any]]


class sll_header(Structure):  # noqa: N801
    """Linux cooked capture, version 1."""

    _fields_: ClassVar[_Fields] = [
        ("sll_pkttype", c_uint16),
        ("sll_hatype", c_uint16),
        ("sll_halen", c_uint16),
        ("sll_addr", c_uint8 * SLL_ADDRLEN),
        ("sll_protocol", c_uint16),
    ]


class sll2_header(Structure):  # noqa: N801
    """Linux cooked capture, version 2."""

    _fields_: ClassVar[_Fields] = [
        ("sll2_protocol", c_uint16),
        ("sll2_reserved_mbz", c_uint16),
        ("sll2_if_index", c_uint32),
        ("sll2_hatype", c_uint16),
        ("sll2_pkttype", c_uint8),
        ("sll2_halen", c_uint8),
        ("sll2_addr", c_uint8 * SLL_ADDRLEN),
    ]


class vlan_tag(Structure):  # noqa: N801
    """An 802.1Q tag."""

    _fields_: ClassVar[_Fields] = [("vlan_tpid", c_uint16), ("vlan_tci", c_uint16)]


class pcap_4_byte_aligned_uint64(Structure):  # noqa: N801
    """A 64-bit number at an address that is a multiple of 4 only (pcap/pcap-inttypes.h, 1.11)."""

    _fields_: ClassVar[_Fields] = [("halves", c_uint32 * 2)]


class pcap_4_byte_aligned_int64(Structure):  # noqa: N801
    """The same, signed."""

    _fields_: ClassVar[_Fields] = [("halves", c_uint32 * 2)]


class pcap_usb_setup(Structure):  # noqa: N801
    """The setup packet of a USB control transfer."""

    _fields_: ClassVar[_Fields] = [
        ("bmRequestType", c_uint8),
        ("bRequest", c_uint8),
        ("wValue", c_uint16),
        ("wIndex", c_uint16),
        ("wLength", c_uint16),
    ]


class iso_rec(Structure):  # noqa: N801
    """What an isochronous USB transfer has in place of a setup packet."""

    _fields_: ClassVar[_Fields] = [("error_count", c_int32), ("numdesc", c_int32)]


_USB_COMMON: _Fields = [
    ("id", pcap_4_byte_aligned_uint64),
    ("event_type", c_uint8),
    ("transfer_type", c_uint8),
    ("endpoint_number", c_uint8),
    ("device_address", c_uint8),
    ("bus_id", c_uint16),
    ("setup_flag", c_char),
    ("data_flag", c_char),
    ("ts_sec", pcap_4_byte_aligned_int64),
    ("ts_usec", c_int32),
    ("status", c_int32),
    ("urb_len", c_uint32),
    ("data_len", c_uint32),
]


class pcap_usb_header(Structure):  # noqa: N801
    """In front of each DLT_USB_LINUX packet."""

    _fields_: ClassVar[_Fields] = [*_USB_COMMON, ("setup", pcap_usb_setup)]


class _setup_or_iso(Union):  # noqa: N801
    _fields_: ClassVar[_Fields] = [("setup", pcap_usb_setup), ("iso", iso_rec)]


class pcap_usb_header_mmapped(Structure):  # noqa: N801
    """In front of each DLT_USB_LINUX_MMAPPED packet."""

    _fields_: ClassVar[_Fields] = [
        *_USB_COMMON,
        ("s", _setup_or_iso),
        ("interval", c_int32),
        ("start_frame", c_int32),
        ("xfer_flags", c_uint32),
        ("ndesc", c_uint32),
    ]


class usb_isodesc(Structure):  # noqa: N801
    """One isochronous descriptor."""

    _fields_: ClassVar[_Fields] = [
        ("status", c_int32),
        ("offset", c_uint32),
        ("len", c_uint32),
        ("pad", c_uint8 * 4),
    ]


class pcap_bluetooth_h4_header(Structure):  # noqa: N801
    """In front of each DLT_BLUETOOTH_HCI_H4_WITH_PHDR packet."""

    _fields_: ClassVar[_Fields] = [("direction", c_uint32)]


class pcap_bluetooth_linux_monitor_header(Structure):  # noqa: N801
    """In front of each DLT_BLUETOOTH_LINUX_MONITOR packet."""

    _fields_: ClassVar[_Fields] = [("adapter_id", c_uint16), ("opcode", c_uint16)]


class pcap_can_socketcan_hdr(Structure):  # noqa: N801
    """In front of each CAN and CAN FD frame of DLT_CAN_SOCKETCAN."""

    _fields_: ClassVar[_Fields] = [
        ("can_id", c_uint32),
        ("payload_length", c_uint8),
        ("fd_flags", c_uint8),
        ("reserved1", c_uint8),
        ("reserved2", c_uint8),
    ]


class pcap_can_socketcan_xl_hdr(Structure):  # noqa: N801
    """In front of each CAN XL frame of DLT_CAN_SOCKETCAN."""

    _fields_: ClassVar[_Fields] = [
        ("priority_vcid", c_uint32),
        ("flags", c_uint8),
        ("sdu_type", c_uint8),
        ("payload_length", c_uint16),
        ("acceptance_field", c_uint32),
    ]


class nflog_hdr(Structure):  # noqa: N801
    """In front of each DLT_NFLOG packet, before its TLVs."""

    _fields_: ClassVar[_Fields] = [
        ("nflog_family", c_uint8),
        ("nflog_version", c_uint8),
        ("nflog_rid", c_uint16),
    ]


class nflog_tlv(Structure):  # noqa: N801
    """The head of one TLV; ``tlv_type`` is a NFULA_*."""

    _fields_: ClassVar[_Fields] = [("tlv_length", c_uint16), ("tlv_type", c_uint16)]


class nflog_packet_hdr(Structure):  # noqa: N801
    """The value of NFULA_PACKET_HDR."""

    _fields_: ClassVar[_Fields] = [("hw_protocol", c_uint16), ("hook", c_uint8), ("pad", c_uint8)]


class nflog_hwaddr(Structure):  # noqa: N801
    """The value of NFULA_HWADDR."""

    _fields_: ClassVar[_Fields] = [("hw_addrlen", c_uint16), ("pad", c_uint16), ("hw_addr", c_uint8 * 8)]


class nflog_timestamp(Structure):  # noqa: N801
    """The value of NFULA_TIMESTAMP."""

    _fields_: ClassVar[_Fields] = [("sec", c_uint64), ("usec", c_uint64)]


nflog_hdr_t = nflog_hdr
nflog_tlv_t = nflog_tlv
nflog_packet_hdr_t = nflog_packet_hdr
nflog_hwaddr_t = nflog_hwaddr
nflog_timestamp_t = nflog_timestamp
