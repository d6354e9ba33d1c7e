"""Devices that can be captured on.

``import pypcapzc`` imports this module, so that ``pypcapzc.devices`` is the function and never the module;
therefore what it needs is imported when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from .errors import PcapError


class Address(NamedTuple):
    """One address of a device, as text; None where the system gives none."""

    family: str
    """``ipv4``, ``ipv6``, ``link`` (a MAC address), or the number of another family."""
    address: str | None
    netmask: str | None = None
    broadcast: str | None = None
    peer: str | None = None


class Device(NamedTuple):
    """A device, as pcap_findalldevs(3PCAP) describes it."""

    name: str
    description: str | None
    addresses: tuple[Address, ...]
    loopback: bool
    up: bool
    running: bool
    wireless: bool
    connected: bool | None
    """Cable or radio link; None: unknown, or the question does not apply."""


def devices() -> list[Device]:
    """All devices that libpcap finds here; those that this user may not open can be missing.

    Raises PcapError with libpcap's message.
    """
    import ctypes

    from .libpcap import error_buffer, library, pcap_if

    c = library()
    first = ctypes.POINTER(pcap_if)()
    errbuf = error_buffer()
    if c.pcap_findalldevs(ctypes.byref(first), errbuf) < 0:
        raise PcapError(f"cannot list devices: {errbuf.value.decode(errors='replace')}")
    try:
        return [_device(entry) for entry in _linked(first)]
    finally:
        c.pcap_freealldevs(first)


def _linked(pointer: Any) -> Iterator[Any]:
    while pointer:
        yield pointer.contents
        pointer = pointer.contents.next


def _device(entry: Any) -> Device:
    from . import libpcap as c

    flags = entry.flags
    connection = {
        c.PCAP_IF_CONNECTION_STATUS_CONNECTED: True,
        c.PCAP_IF_CONNECTION_STATUS_DISCONNECTED: False,
    }
    return Device(
        entry.name.decode(errors="replace"),
        entry.description.decode(errors="replace") if entry.description else None,
        tuple(_address(each) for each in _linked(entry.addresses) if each.addr),
        bool(flags & c.PCAP_IF_LOOPBACK),
        bool(flags & c.PCAP_IF_UP),
        bool(flags & c.PCAP_IF_RUNNING),
        bool(flags & c.PCAP_IF_WIRELESS),
        connection.get(flags & c.PCAP_IF_CONNECTION_STATUS),
    )


def _address(entry: Any) -> Address:
    family, text = _text(entry.addr)
    others = (_text(pointer)[1] for pointer in (entry.netmask, entry.broadaddr, entry.dstaddr))
    return Address(family, text, *others)


# AF_PACKET on Linux, AF_LINK on BSD and macOS
_AF_PACKET, _AF_LINK = 17, 18


def _text(pointer: Any) -> tuple[str, str | None]:
    """Family and address of a sockaddr, as text."""
    import ctypes
    import ipaddress
    import socket

    from . import libpcap as c

    if not pointer:
        return "", None
    family = pointer.contents.sa_family
    if family == socket.AF_INET:
        address = ctypes.cast(pointer, ctypes.POINTER(c.sockaddr_in)).contents.sin_addr
        return "ipv4", str(ipaddress.IPv4Address(bytes(address)))
    if family == socket.AF_INET6:
        address = ctypes.cast(pointer, ctypes.POINTER(c.sockaddr_in6)).contents.sin6_addr
        return "ipv6", str(ipaddress.IPv6Address(bytes(address)))
    if sys.platform.startswith("linux") and family == _AF_PACKET:
        link = ctypes.cast(pointer, ctypes.POINTER(c.sockaddr_ll)).contents
        return "link", bytes(link.sll_addr)[: min(link.sll_halen, 8)].hex(":") or None
    if not sys.platform.startswith("linux") and family == _AF_LINK:
        link = ctypes.cast(pointer, ctypes.POINTER(c.sockaddr_dl)).contents
        start = ctypes.addressof(link) + c.sockaddr_dl.sdl_data.offset + link.sdl_nlen
        return "link", ctypes.string_at(start, link.sdl_alen).hex(":") or None
    return str(family), None
