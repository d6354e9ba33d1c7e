"""Savefile records taken apart, against a plain loop over the same bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypcapzc.leases import RECORD
from pypcapzc.sources import records

U32 = st.integers(0, 2**32 - 1)


class Record(NamedTuple):
    seconds: int
    fraction: int
    data: bytes
    wirelen: int

    def packed(self) -> bytes:
        return struct.pack("=IIII", self.seconds, self.fraction, len(self.data), self.wirelen) + self.data


def _records(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Record]]:
    return st.lists(st.builds(Record, U32, U32, data, U32), max_size=40)


MIXED = _records(st.binary(max_size=70))
EQUAL = st.integers(0, 70).flatmap(lambda size: _records(st.binary(min_size=size, max_size=size)))
# Bytes that look like headers: all the same, so that a walk that is off by a few still sees a pattern.
LOOKALIKE = st.integers(0, 3).flatmap(
    lambda n: st.lists(st.builds(Record, st.just(n), st.just(n), st.just(struct.pack("=I", n) * n), U32))
)
ANY = st.one_of(MIXED, EQUAL, LOOKALIKE)
SCALE = st.sampled_from([1, 1000])


def _joined(many: list[Record]) -> bytes:
    return b"".join(record.packed() for record in many)


def _time(record: Record, scale: int) -> int:
    return record.seconds * 10**9 + record.fraction * scale


@given(ANY, SCALE)
def test_packets(many: list[Record], scale: int) -> None:
    found = list(records.packets(_joined(many), len(many), scale))
    assert found == [(_time(record, scale), record.data) for record in many]
    assert all(type(data) is bytes and type(ts_ns) is int for ts_ns, data in found)


@given(ANY, SCALE)
def test_index(many: list[Record], scale: int) -> None:
    raw = memoryview(_joined(many))
    index = records.index(raw, len(many), scale)
    wanted, offset = [], 0
    for record in many:
        offset += 16
        wanted.append((_time(record, scale), offset, len(record.data), record.wirelen, 0))
        offset += len(record.data)
    assert list(RECORD.iter_unpack(index)) == wanted
    assert index.format == "B"
    for (_, start, caplen, _, _), record in zip(RECORD.iter_unpack(index), many, strict=True):
        assert raw[start : start + caplen] == record.data


@given(ANY)
def test_counting(many: list[Record]) -> None:
    raw = memoryview(_joined(many))
    assert records.count(raw) == len(many)
    sizes = {len(record.data) for record in many}
    assert records.common_caplen(raw, len(many)) == (sizes.pop() if len(sizes) == 1 else None)


@given(ANY, st.data())
def test_whole_records_in_a_cut(many: list[Record], data: st.DataObject) -> None:
    raw = memoryview(_joined(many))
    cut = data.draw(st.integers(0, raw.nbytes))
    ends, end = [0], 0
    for record in many:
        end += 16 + len(record.data)
        ends.append(end)
    fitting = [each for each in ends if each <= cut]
    assert records.whole(raw, cut) == (len(fitting) - 1, fitting[-1])


@pytest.mark.parametrize("scale", [1, 1000])
def test_equal_length_is_checked_and_not_assumed(scale: int) -> None:
    """Two lengths that add up to twice a third, and lengths that differ in the upper bytes only."""
    for sizes in ([30, 20, 40], [20, 30, 10], [256, 0, 512], [4, 260, 4], [65536 + 4, 4, 4]):
        many = [Record(n, n, bytes([n]) * size, size) for n, size in enumerate(sizes)]
        found = list(records.packets(_joined(many), len(many), scale))
        assert [data for _, data in found] == [record.data for record in many]
