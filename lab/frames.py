"""The test frames: every byte follows from a sequence number and a size.

Layout: Ethernet (14), IPv4 (20) and UDP (8) headers with true lengths; at SEQUENCE_OFFSET the
64-bit sequence number, big-endian; from PAYLOAD_OFFSET a pattern that depends on the sequence
number modulo PERIOD.  A sender thus keeps PERIOD frames ready and changes only the number.
"""

from __future__ import annotations

import random
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SEQUENCE_OFFSET = 42
PAYLOAD_OFFSET = 50
MIN_SIZE = PAYLOAD_OFFSET
MAX_SIZE = 14 + 65535
PERIOD = 1024

Size = int | tuple[int, int]
"""One size for all frames, or (smallest, largest) for sizes drawn between the two."""

DESTINATION = bytes.fromhex("025a43000002")  # locally administered, and no device's own address
SOURCE = bytes.fromhex("025a43000001")
_ADDRESSES = bytes([198, 18, 0, 1, 198, 18, 0, 2])  # RFC 2544: for benchmarks
_PORTS = (40001, 40002)
_STEP = 7
_NOISE = random.Random(0x70636170).randbytes(PERIOD * _STEP + MAX_SIZE - PAYLOAD_OFFSET)
_SEQUENCE = struct.Struct(">Q")


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@cache
def header(size: int) -> bytes:
    """Ethernet, IPv4 and UDP header of a frame of this size.  The UDP checksum is 0: not used."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"a frame has {MIN_SIZE} to {MAX_SIZE} bytes, not {size}")
    ip = struct.pack(">BBHHHBBH", 0x45, 0, size - 14, 0, 0x4000, 64, 17, 0) + _ADDRESSES
    ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
    return DESTINATION + SOURCE + b"\x08\x00" + ip + struct.pack(">HHHH", *_PORTS, size - 34, 0)


def expected(sequence: int, size: int) -> bytes:
    """The frame with this sequence number and size."""
    start = sequence % PERIOD * _STEP
    return header(size) + _SEQUENCE.pack(sequence) + _NOISE[start : start + size - PAYLOAD_OFFSET]


def sequence_of(frame: bytes | memoryview) -> int:
    """The sequence number of a frame (of which at least PAYLOAD_OFFSET bytes are there)."""
    number: int = _SEQUENCE.unpack_from(frame, SEQUENCE_OFFSET)[0]
    return number


def size_table(size: Size, seed: int = 1) -> list[int]:
    """The sizes of frames 0 to PERIOD-1; that of frame n is entry n % PERIOD."""
    low, high = (size, size) if isinstance(size, int) else size
    if not MIN_SIZE <= low <= high <= MAX_SIZE:
        raise ValueError(f"a frame has {MIN_SIZE} to {MAX_SIZE} bytes, not {low} to {high}")
    chooser = random.Random(seed)
    return [chooser.randint(low, high) for _ in range(PERIOD)]


def total_bytes(sizes: Sequence[int], count: int, first: int = 0) -> int:
    """Bytes of ``count`` frames from sequence number ``first`` on, sizes as of size_table()."""
    rounds, rest = divmod(count, PERIOD)
    return rounds * sum(sizes) + sum(sizes[(first + n) % PERIOD] for n in range(rest))


def parse_size(text: str) -> Size:
    """``64`` or ``60-1500``, as the command lines take it."""
    low, dash, high = text.partition("-")
    return (int(low), int(high)) if dash else int(low)


def check(frame: bytes | memoryview, wirelen: int | None = None) -> int:
    """The sequence number of a frame that is what was sent, byte for byte; ValueError if not.

    ``wirelen`` is the original size where ``frame`` may have been cut by a snapshot length.
    """
    size = len(frame) if wirelen is None else wirelen
    number = sequence_of(frame)
    if bytes(frame) != expected(number, size)[: len(frame)]:
        raise ValueError(f"frame {number}: {bytes(frame).hex()} is not what was sent")
    return number


def check_many(data: Any, offsets: Any, caplens: Any, wirelens: Any) -> Any:
    """As check(), for many frames in one buffer, by numpy: the array of their sequence numbers.

    ``data`` is a buffer, the others are integer arrays, one entry a frame; each frame must be
    there up to PAYLOAD_OFFSET at least.
    """
    import numpy as np

    memory = np.frombuffer(data, dtype=np.uint8)
    starts, caps = np.asarray(offsets, dtype=np.int64), np.asarray(caplens, dtype=np.int64)
    if not len(starts):
        return np.empty(0, dtype=np.uint64)
    if caps.min() < PAYLOAD_OFFSET or (starts + caps).max() > len(memory):
        raise ValueError("a frame is too short, or lies outside of the buffer")
    sizes, kind = np.unique(np.asarray(wirelens), return_inverse=True)
    headers = np.frombuffer(b"".join(header(int(size)) for size in sizes), dtype=np.uint8)
    prefix = memory[starts[:, None] + np.arange(PAYLOAD_OFFSET)]
    wrong = (prefix[:, :SEQUENCE_OFFSET] != headers.reshape(len(sizes), -1)[kind]).any(axis=1)
    numbers = np.ascontiguousarray(prefix[:, SEQUENCE_OFFSET:]).view(">u8").ravel().astype(np.uint64)
    lengths = caps - PAYLOAD_OFFSET
    ends = np.cumsum(lengths)
    position = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    payload = memory[np.repeat(starts + PAYLOAD_OFFSET, lengths) + position]
    noise = np.frombuffer(_NOISE, dtype=np.uint8)
    base = (numbers % np.uint64(PERIOD)).astype(np.int64) * _STEP
    differs = payload != noise[np.repeat(base, lengths) + position]
    wrong[np.repeat(np.arange(len(starts)), lengths)[differs]] = True
    wrong |= caps > np.asarray(wirelens)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"frame {first} of these, sequence number {numbers[first]}, is not what was sent")
    return numbers
