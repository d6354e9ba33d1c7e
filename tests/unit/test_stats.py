"""Counters in 64 bits, although libpcap's have 32 and wrap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pypcapzc.counters import Counters
from pypcapzc.errors import CaptureClosedError, PcapError

WRAP = 1 << 32


class FakeLibrary:
    """pcap_stats() that gives the low 32 bits of what was really counted."""

    def __init__(self) -> None:
        self.true = [0, 0, 0]
        self.calls = 0
        self.status = 0

    def pcap_geterr(self, pcap: Any) -> bytes:
        return b"no statistics"

    def pcap_stats(self, pcap: Any, target: Any) -> int:
        self.calls += 1
        stat = target._obj
        stat.ps_recv, stat.ps_drop, stat.ps_ifdrop = (value % WRAP for value in self.true)
        return self.status


class FakeHandle:
    """What Counters uses of a Handle."""

    name = "fake0"

    def __init__(self) -> None:
        self.c = FakeLibrary()
        self.closed = False

    @contextmanager
    def borrow(self) -> Iterator[str]:
        if self.closed:
            raise CaptureClosedError("closed")
        yield "pcap"


@pytest.fixture
def fake() -> Any:
    return FakeHandle()


def _figures(stats: Any) -> list[int]:
    return [stats.received, stats.dropped, stats.dropped_by_interface]


def test_counters_that_wrap_several_times(fake: Any) -> None:
    counters = Counters(fake)
    for step in (
        [WRAP - 1, 5, 0],
        [1, WRAP - 5, 0],
        [1, 0, 7],
        [WRAP - 1, WRAP - 1, WRAP - 1],
        [0, 0, 0],
    ) * 3:
        fake.c.true = [total + more for total, more in zip(fake.c.true, step, strict=True)]
        assert _figures(counters.read()) == fake.c.true
    assert fake.c.true[0] > 6 * (WRAP - 1)


def test_they_are_due_before_they_can_wrap_twice(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    counters = Counters(fake)
    for _ in range(10):
        due = [counters.due]
        now[0] += 10.5  # at 100 million packets/s 32 bits last for 43
        due.append(counters.due)
        assert due == [False, True]
        fake.c.true = [total + WRAP - 1 for total in fake.c.true]
        counters.read()
    assert _figures(counters.last()) == [10 * (WRAP - 1)] * 3


def test_failures(fake: Any) -> None:
    counters = Counters(fake)
    fake.c.true = [5, 6, 7]
    assert _figures(counters.read()) == [5, 6, 7]
    fake.c.status = -1
    with pytest.raises(PcapError, match="no statistics"):
        counters.read()
    fake.c.status, fake.c.true = 0, [8, 8, 8]
    fake.closed = True
    with pytest.raises(CaptureClosedError):
        counters.read()
    assert _figures(counters.last()) == [5, 6, 7]


@pytest.mark.parametrize("after", [[0, 0, 0], [3, 0, 0], [99, 5, 0]])
def test_counters_that_a_filter_sets_to_zero(fake: Any, after: list[int]) -> None:
    counters = Counters(fake)
    fake.c.true = [WRAP - 1, 5, 0]
    counters.read()
    fake.c.true = [WRAP + 99, 5, 0]  # wrapped, and nothing was set to 0
    counters.read()
    fake.c.true = list(after)
    counters.settle()
    expected = [WRAP + 99 + after[0], 5 + after[1], 0] if after != [99, 5, 0] else [WRAP + 99, 5, 0]
    assert _figures(counters.last()) == expected
    fake.c.true = [total + 1 for total in after]
    assert _figures(counters.read()) == [total + 1 for total in expected]
