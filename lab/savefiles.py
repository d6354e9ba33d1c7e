"""Writes savefiles, pcap and pcapng, from their specifications: the truth for tests and benchmarks.

    write_pcap(path, [Packet(1_700_000_000_123_456_789, b"...")], byteorder="big", nano=True)

``generate`` writes many frames of lab.frames, fast.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import IO, TYPE_CHECKING, Literal, NamedTuple

from lab import frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ByteOrder = Literal["little", "big"]
EPOCH = 1_700_000_000_000_000_000
"""Time of the first packet that generate() writes, in ns."""
INTERVAL = 1_000_123
"""From one such packet to the next, in ns."""

_MARK = {"little": "<", "big": ">"}


class Packet(NamedTuple):
    """What goes into a savefile; ``wirelen`` None means: nothing was cut off."""

    ts_ns: int
    data: bytes
    wirelen: int | None = None
    interface: int = 0
    """pcapng only: which interface of the section it was captured on."""

    @property
    def original_length(self) -> int:
        """The length that the packet had on the wire."""
        return len(self.data) if self.wirelen is None else self.wirelen


class Interface(NamedTuple):
    """An interface description of a pcapng file."""

    linktype: int = 1
    snaplen: int = 262144
    resolution: int = 9
    """if_tsresol: as in the file, so 9 is 10**-9 s and 0x80 + n is 2**-n s."""


@contextlib.contextmanager
def _opened(target: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    if isinstance(target, (str, os.PathLike)):
        with open(target, "wb") as file:
            yield file
    else:
        yield target


def pcap_header(
    *, byteorder: ByteOrder = "little", nano: bool = True, linktype: int = 1, snaplen: int = 262144
) -> bytes:
    """The 24 bytes with which a pcap file begins."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    return struct.pack(_MARK[byteorder] + "IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype)


def write_pcap(
    target: str | os.PathLike[str] | IO[bytes],
    packets: Iterable[Packet],
    *,
    byteorder: ByteOrder = "little",
    nano: bool = True,
    linktype: int = 1,
    snaplen: int = 262144,
) -> int:
    """Writes a pcap file; how many packets.  Without ``nano`` times are cut to microseconds."""
    record = struct.Struct(_MARK[byteorder] + "IIII")
    unit, count = 1 if nano else 1000, 0
    with _opened(target) as file:
        file.write(pcap_header(byteorder=byteorder, nano=nano, linktype=linktype, snaplen=snaplen))
        for packet in packets:
            seconds, rest = divmod(packet.ts_ns, 1_000_000_000)
            length = packet.original_length
            file.write(record.pack(seconds, rest // unit, len(packet.data), length) + packet.data)
            count += 1
    return count


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(kind: int, body: bytes, byteorder: ByteOrder = "little") -> bytes:
    """A pcapng block of any type around this body, whose length need not be a multiple of 4."""
    mark, body = _MARK[byteorder], _pad(body)
    length = 12 + len(body)
    return struct.pack(mark + "II", kind, length) + body + struct.pack(mark + "I", length)


def option(code: int, value: bytes, byteorder: ByteOrder = "little") -> bytes:
    """A pcapng option."""
    return struct.pack(_MARK[byteorder] + "HH", code, len(value)) + _pad(value)


def section_header(byteorder: ByteOrder = "little") -> bytes:
    """A pcapng section header block, of a section whose length is not told."""
    return block(0x0A0D0D0A, struct.pack(_MARK[byteorder] + "IHHq", 0x1A2B3C4D, 1, 0, -1), byteorder)


def interface_description(interface: Interface, byteorder: ByteOrder = "little") -> bytes:
    """A pcapng interface description block."""
    body = struct.pack(_MARK[byteorder] + "HHI", interface.linktype, 0, interface.snaplen)
    body += option(9, bytes([interface.resolution]), byteorder) + option(0, b"", byteorder)
    return block(1, body, byteorder)


def enhanced_packet(packet: Packet, interface: Interface, byteorder: ByteOrder = "little") -> bytes:
    """A pcapng enhanced packet block; its time is cut to the interface's resolution."""
    power = interface.resolution & 0x7F
    units = 2**power if interface.resolution & 0x80 else 10**power
    stamp = packet.ts_ns * units // 1_000_000_000
    body = struct.pack(
        _MARK[byteorder] + "IIIII",
        packet.interface,
        stamp >> 32,
        stamp & 0xFFFFFFFF,
        len(packet.data),
        packet.original_length,
    )
    return block(6, body + packet.data, byteorder)


def write_pcapng(
    target: str | os.PathLike[str] | IO[bytes],
    packets: Iterable[Packet],
    *,
    byteorder: ByteOrder = "little",
    interfaces: tuple[Interface, ...] = (Interface(),),
) -> int:
    """Writes a pcapng file with one section; how many packets."""
    count = 0
    with _opened(target) as file:
        file.write(section_header(byteorder))
        for interface in interfaces:
            file.write(interface_description(interface, byteorder))
        for packet in packets:
            file.write(enhanced_packet(packet, interfaces[packet.interface], byteorder))
            count += 1
    return count


def numbered(count: int, size: frames.Size = 64, *, seed: int = 1) -> Iterator[Packet]:
    """Frames 0 to count-1 of lab.frames, INTERVAL apart."""
    sizes = frames.size_table(size, seed)
    for number in range(count):
        yield Packet(EPOCH + number * INTERVAL, frames.expected(number, sizes[number % frames.PERIOD]))


def generate(
    path: str | os.PathLike[str], count: int, size: frames.Size = 64, *, seed: int = 1, nano: bool = True
) -> int:
    """Writes the frames of numbered() into a little-endian pcap file; the bytes of all frames together."""
    with open(path, "wb", buffering=1 << 20) as file:
        write_pcap(file, numbered(count, size, seed=seed), nano=nano)
    return frames.total_bytes(frames.size_table(size, seed), count)
