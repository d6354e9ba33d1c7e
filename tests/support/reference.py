"""What libpcap itself makes of a savefile: read by pcap_next_ex(), packet by packet."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import NamedTuple

from pypcapzc import libpcap

_U32 = 0xFFFFFFFF


class Reading(NamedTuple):
    """What came out of a file, and how it ended."""

    opened: bool
    packets: list[tuple[int, bytes, int]]
    """(ts_ns, bytes, wirelen)"""
    error: str | None
    """libpcap's message, None at a clean end."""


def stamp(seconds: int, fraction: int, lent: bool) -> int:
    """ts_ns: pcap_dump() keeps 32 bits of seconds and of the fraction, a lent block 64 bits of the sum.

    A time outside of 1970 to 2106, or 2554, comes from a damaged file.
    """
    if lent:
        return (seconds * 10**9 + fraction) & 0xFFFFFFFFFFFFFFFF
    return (seconds & _U32) * 10**9 + (fraction & _U32)


def read(path: str | os.PathLike[str], expression: str | None = None, lent: bool = False) -> Reading:
    """Read a file; ``lent`` says what it is to be compared with."""
    errbuf = libpcap.error_buffer()
    pcap = libpcap.pcap_open_offline_with_tstamp_precision(
        os.fsencode(path), libpcap.PCAP_TSTAMP_PRECISION_NANO, errbuf
    )
    if not pcap:
        return Reading(False, [], errbuf.value.decode(errors="replace"))
    packets: list[tuple[int, bytes, int]] = []
    try:
        if expression is not None:
            program = libpcap.bpf_program()
            assert libpcap.pcap_compile(pcap, ctypes.byref(program), expression.encode(), 1, 0) == 0
            assert libpcap.pcap_setfilter(pcap, ctypes.byref(program)) == 0
            libpcap.pcap_freecode(ctypes.byref(program))
        header, data = ctypes.POINTER(libpcap.pcap_pkthdr)(), ctypes.POINTER(ctypes.c_ubyte)()
        while (status := libpcap.pcap_next_ex(pcap, ctypes.byref(header), ctypes.byref(data))) == 1:
            found = header.contents
            ts_ns = stamp(found.ts.tv_sec, found.ts.tv_usec, lent)
            packets.append((ts_ns, ctypes.string_at(data, found.caplen), found.len))
        assert status in (libpcap.PCAP_ERROR, libpcap.PCAP_ERROR_BREAK)
        if status == libpcap.PCAP_ERROR_BREAK:
            return Reading(True, packets, None)
        return Reading(True, packets, libpcap.pcap_geterr(pcap).decode(errors="replace"))
    finally:
        libpcap.pcap_close(pcap)


def read_bytes(content: bytes, folder: Path, lent: bool = False) -> Reading:
    """The same for bytes, by way of a file."""
    path = folder / "reference"
    path.write_bytes(content)
    return read(path, lent=lent)
