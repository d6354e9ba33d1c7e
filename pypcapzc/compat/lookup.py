"""Devices and networks, as pypcap looks them up."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any, cast

from ..devices import devices
from ..errors import PcapError
from ..libpcap import error_buffer, library


def ex_name(foo: Any) -> Any:
    """The name that libpcap knows a device by, bytes or str: the same, but for Windows."""
    if isinstance(foo, str | bytes):
        return foo
    raise TypeError(f"expected bytes, {type(foo).__name__} found")


def lookupdev() -> str:
    """The first device that is no loopback (pcap_lookupdev(3PCAP)).  Raises OSError where there is none."""
    found = _devices()
    if not found or found[0].loopback:
        raise OSError("no suitable device found: name one; `pypcapzc devices` lists them")
    return cast("str", found[0].name)


def findalldevs() -> list[str]:
    """The names of all devices."""
    return [device.name for device in _devices()]


def _devices() -> list[Any]:
    try:
        return list(devices())
    except PcapError as error:
        raise OSError(str(error)) from error


def lookupnet(dev: bytes | str) -> tuple[bytes, bytes]:
    """Network and netmask of a device, four bytes each in network byte order.  Raises OSError."""
    name = os.fsencode(ex_name(dev))
    net, mask, errbuf = ctypes.c_uint32(), ctypes.c_uint32(), error_buffer()
    if library().pcap_lookupnet(name, ctypes.byref(net), ctypes.byref(mask), errbuf) < 0:
        raise OSError(errbuf.value.decode(errors="replace"))
    return struct.pack("=I", net.value), struct.pack("=I", mask.value)
