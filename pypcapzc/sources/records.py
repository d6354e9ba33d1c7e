"""Savefile records in memory: what pcap_dump() wrote there, taken apart.

A record is a header of four u32 in the host's byte order (seconds, fraction, caplen, wirelen;
pcap-savefile(5)), then caplen bytes.  Records have no index, so finding them is a walk; where all are of
one length, which is checked and not assumed, they are taken apart in one go.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import add, mul

from ..leases import RECORD

HEADER = struct.Struct("=IIII")
FILE_HEADER_SIZE = 24
NANOSECONDS = 1_000_000_000


def common_caplen(records: bytes | memoryview, count: int) -> int | None:
    """The caplen that all ``count`` records have, or None.

    Sound because it goes record by record from a known beginning: if the one at p says n bytes, the next
    one is at p + 16 + n.
    """
    if count == 0:
        return None
    view = memoryview(records)
    caplen: int = HEADER.unpack_from(view, 0)[2]
    stride = HEADER.size + caplen
    if stride * count != view.nbytes:
        return None
    wanted = HEADER.pack(0, 0, caplen, 0)[8:12]
    for i in range(4):
        if view[8 + i :: stride].tobytes() != wanted[i : i + 1] * count:
            return None
    return caplen


def packets(records: bytes, count: int, scale: int) -> Iterable[tuple[int, bytes]]:
    """(ts_ns, bytes) of each record.

    ``scale`` is the nanoseconds in one unit of the fraction: 1 or 1000.  ``records`` is bytes and not a
    view, since slicing bytes into bytes takes 50 ns and slicing a memoryview and copying it 170.  Equal
    records are taken apart by C iterators alone: 160 ns a packet where a list of tuples takes 200.
    """
    caplen = common_caplen(records, count)
    if caplen is not None:
        datas = [data for (data,) in struct.iter_unpack(f"16x{caplen}s", records)]
        return zip(_times(records, HEADER.size + caplen, scale), datas, strict=True)
    found: list[tuple[int, bytes]] = []
    append, unpack, offset, end = found.append, HEADER.unpack_from, 0, len(records)
    while offset < end:
        seconds, fraction, caplen, _ = unpack(records, offset)
        offset += 16
        following = offset + caplen
        append((seconds * 1_000_000_000 + fraction * scale, records[offset:following]))
        offset = following
    return found


def _times(records: bytes | memoryview, stride: int, scale: int) -> Iterable[int]:
    """ts_ns of records that are ``stride`` bytes apart."""
    seconds: Sequence[int]
    fractions: Sequence[int]
    if stride % 4 == 0:
        words = memoryview(records).cast("I")
        seconds, fractions = words[:: stride // 4].tolist(), words[1 :: stride // 4].tolist()
    else:
        seconds, fractions = zip(*struct.iter_unpack(f"=II{stride - 8}x", records), strict=True)
    return map(add, map(mul, seconds, repeat(NANOSECONDS)), map(mul, fractions, repeat(scale)))


def count(records: memoryview) -> int:
    """How many records there are."""
    found, offset, end = 0, 0, records.nbytes
    while offset < end:
        offset += HEADER.size + HEADER.unpack_from(records, offset)[2]
        found += 1
    return found


def whole(records: memoryview, size: int) -> tuple[int, int]:
    """How many records lie wholly within the first ``size`` bytes, and how many bytes those are."""
    found, offset = 0, 0
    while offset + HEADER.size <= size:
        following = offset + HEADER.size + HEADER.unpack_from(records, offset)[2]
        if following > size:
            break
        found, offset = found + 1, following
    return found, offset


def index(records: memoryview, count: int, scale: int) -> memoryview:
    """The block index (block.RECORD) of the records."""
    caplen = common_caplen(records, count)
    if caplen is not None and caplen % 4 == 0:
        return _index_of_equals(records, caplen, count, scale)
    out = bytearray(count * RECORD.size)
    offset = 0
    for place in range(0, len(out), RECORD.size):
        seconds, fraction, caplen, wirelen = HEADER.unpack_from(records, offset)
        offset += HEADER.size
        RECORD.pack_into(out, place, seconds * NANOSECONDS + fraction * scale, offset, caplen, wirelen, 0)
        offset += caplen
    return memoryview(out)


def _index_of_equals(records: memoryview, caplen: int, count: int, scale: int) -> memoryview:
    """The same for ``count`` records of one caplen: a column at a time, with no Python code a packet."""
    stride = HEADER.size + caplen
    out = memoryview(bytearray(count * RECORD.size))
    out.cast("Q")[::3] = memoryview(array("Q", _times(records, stride, scale)))
    words = out.cast("I")
    words[2::6] = memoryview(array("I", range(HEADER.size, HEADER.size + stride * count, stride)))
    words[3::6] = memoryview(array("I", [caplen]) * count)
    words[4::6] = records.cast("I")[3 :: stride // 4]
    return out
