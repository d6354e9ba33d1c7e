"""Link layers: Ethernet with VLAN tags, Linux cooked, raw IP, NULL and LOOP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .. import datalinks
from .layout import DEEP, LINK, MALFORMED, MAX_VLAN_TAGS, VLAN
from .network import ARP_TYPE, IPV4_TYPE, IPV6_TYPE, arp, ipv4, ipv6
from .numeric import np
from .part import Array, Part

VLAN_TYPES = (0x8100, 0x88A8, 0x9100)  # 802.1Q, 802.1ad, and what stacked tags had before 802.1ad

# Addresses are read with the two bytes behind them.
_ETHERNET = np.dtype(
    {
        "names": ["dst", "src", "type"],
        "formats": [">u8", ">u8", ">u2"],
        "offsets": [0, 6, 12],
        "itemsize": 14,
    }
)
_TAG = np.dtype([("tci", ">u2"), ("type", ">u2")])
# LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2 of the registry at tcpdump.org
_COOKED = np.dtype(
    [
        ("type", ">u2"),
        ("hardware", ">u2"),
        ("address_length", ">u2"),
        ("address", ">u8"),
        ("protocol", ">u2"),
    ]
)
_COOKED2 = np.dtype(
    [
        ("protocol", ">u2"),
        ("reserved", ">u2"),
        ("interface", ">u4"),
        ("hardware", ">u2"),
        ("type", "u1"),
        ("address_length", "u1"),
        ("address", ">u8"),
    ]
)

# The address families of NULL and LOOP: IPv4 has one number everywhere, IPv6 that of the system that wrote
# the packet (Linux; NetBSD, OpenBSD and BSD/OS; FreeBSD; macOS).
_AF_INET = 2
_AF_INET6 = (10, 24, 28, 30)


def _ethernet(part: Part) -> None:
    rows = part.read(_ETHERNET)
    part.out["link_dst"] = rows["dst"] >> np.uint64(16)
    part.out["link_src"] = rows["src"] >> np.uint64(16)
    _typed(part, 14, rows["type"].astype("u2"))


def _cooked(dtype: np.dtype[np.void], part: Part) -> None:
    rows, out = part.read(dtype), part.out
    out["cooked_type"] = rows["type"]
    out["cooked_hardware"] = rows["hardware"]
    if "interface" in dtype.fields:  # type: ignore[operator]
        out["cooked_interface"] = rows["interface"]
    has_mac = rows["address_length"] == 6
    out["link_src"] = np.where(has_mac, rows["address"] >> np.uint64(16), np.uint64(0))
    _typed(part, dtype.itemsize, rows["protocol"].astype("u2"))


def _family(part: Part) -> None:
    """NULL has the byte order of whoever captured, LOOP network order: a family fits 16 bits, so both are
    read by where the zeros are."""
    family = part.read(">u4").astype("u4")
    family = np.where(family > 0xFFFF, family.byteswap(), family)
    is_ipv6 = np.isin(family, _AF_INET6)
    kind = np.where(family == _AF_INET, IPV4_TYPE, np.where(is_ipv6, IPV6_TYPE, 0))
    _typed(part, 4, kind.astype("u2"))


def _raw(part: Part) -> None:
    version = part.data[part.at] >> 4
    known = (version == 4) | (version == 6)
    part.mark_where(~known, MALFORMED)
    kind = np.where(version == 4, IPV4_TYPE, IPV6_TYPE)
    _typed(part, 0, np.where(known, kind, 0).astype("u2"))


def _only(kind: int, part: Part) -> None:
    _typed(part, 0, np.full(part.at.size, kind, "u2"))


def _typed(part: Part, size: int, kind: Array, bits: int = LINK) -> None:
    """Past a link-layer header of ``size`` bytes, or a tag, which says what follows."""
    part.at, part.kind = part.at + size, kind
    part.out["ethertype"] = kind
    part.enter_payload(bits)
    part.dispatch(_NEXT)


def _tagged(part: Part) -> None:
    if part.depth == MAX_VLAN_TAGS:
        part.mark(DEEP)
    else:
        part.whole(_TAG.itemsize, _tag)


def _tag(part: Part) -> None:
    rows = part.read(_TAG)
    part.depth += 1
    part.out["vlan_count"] = part.depth
    if part.depth <= 2:
        part.out["vlan_outer" if part.depth == 1 else "vlan_inner"] = rows["tci"]
    _typed(part, _TAG.itemsize, rows["type"].astype("u2"), VLAN)


_NEXT: dict[int, Callable[[Part], None]] = {
    IPV4_TYPE: ipv4,
    IPV6_TYPE: ipv6,
    ARP_TYPE: arp,
    **dict.fromkeys(VLAN_TYPES, _tagged),
}


LINKS: dict[int, tuple[int, Callable[[Part], None]]] = {
    datalinks.DLT_EN10MB: (_ETHERNET.itemsize, _ethernet),
    datalinks.DLT_LINUX_SLL: (_COOKED.itemsize, partial(_cooked, _COOKED)),
    datalinks.DLT_LINUX_SLL2: (_COOKED2.itemsize, partial(_cooked, _COOKED2)),
    datalinks.DLT_RAW: (1, _raw),
    datalinks.DLT_IPV4: (0, partial(_only, IPV4_TYPE)),
    datalinks.DLT_IPV6: (0, partial(_only, IPV6_TYPE)),
    datalinks.DLT_NULL: (4, _family),
    datalinks.DLT_LOOP: (4, _family),
}
"""Of each DLT_* how many bytes its header has, and who decodes it when they are there."""
