"""Savefiles with microseconds that are begun, or gone on with."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from ...block import Block
from ...datalinks import DLT_EN10MB
from ...dumper import Dumper
from ...errors import PcapError
from ...libpcap import library
from ...linktypes import dlt_to_linktype


class Writer:
    """A savefile that is being written."""

    def __init__(self, name: str, snaplen: int, *, append: bool, datalink: int = DLT_EN10MB) -> None:
        """``append``: after what is in the file, where there is one, of Ethernet packets.

        Raises OSError where it cannot be opened, PcapError where it has another header, or files cannot have
        such packets.
        """
        header = b"" if append else _header(name, snaplen, datalink)
        self._file = open(name, "ab" if append else "wb", buffering=0)  # noqa: SIM115
        try:
            if append:
                _check(name, snaplen)
            self._dumper = Dumper(self._file.fileno(), header)
        except BaseException:
            self._file.close()
            raise

    def write(self, block: Block, start: int = 0, stop: int | None = None) -> None:
        """Append packets of a block."""
        self._dumper.write(block, start, stop)

    def write_packets(self, packets: Iterable[tuple[int, bytes]]) -> None:
        """Append packets with their times in nanoseconds."""
        self._dumper.write_packets(packets)

    def close(self) -> None:
        """Close the file."""
        self._dumper.close()
        self._file.close()


def _header(name: str, snaplen: int, datalink: int) -> bytes:
    linktype = dlt_to_linktype(datalink)
    if linktype is None:
        raise PcapError(f"{name}: link-layer type {datalink} isn't supported in savefiles")
    return struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype)


def _check(name: str, snaplen: int) -> None:
    """Let libpcap compare the header, or write it (pcap_dump_open_append(3PCAP), 1.7.2)."""
    c = library()
    dead = c.pcap_open_dead(DLT_EN10MB, snaplen)
    try:
        dump = c.pcap_dump_open_append(dead, os.fsencode(name))
        if not dump:
            raise PcapError(c.pcap_geterr(dead).decode(errors="replace"))
        c.pcap_dump_close(dump)
    finally:
        c.pcap_close(dead)
