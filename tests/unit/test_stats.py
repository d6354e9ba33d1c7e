"""Counters in 64 bits, although libpcap's have 32 and wrap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pypcapzc.capture import _Counters
from pypcapzc.errors import CaptureClosedError, PcapError

WRAP = 1 << 32


class FakeLibrary:
    """pcap_stats() that gives the low 32 bits of what was really counted."""

    def __init__(self) -> None:
        self.true = [0, 0, 0]
        self.calls = 0
        self.status = 0

    def pcap_stats(self, pcap: Any, target: Any) -> int:
        self.calls += 1
        stat = target._obj
        stat.ps_recv, stat.ps_drop, stat.ps_ifdrop = (value % WRAP for value in self.true)
        return self.status


class FakeCapture:
    """What _Counters uses of a Capture."""

    live = True

    def __init__(self) -> None:
        self._c, self.closed, self.closes_now = FakeLibrary(), False, False
        self._handle = self

    @contextmanager
    def borrow(self) -> Iterator[str]:
        if self.closed or self.closes_now:
            self.closed = True
            raise CaptureClosedError("closed")
        yield "pcap"

    def _check(self, status: int, pcap: Any) -> None:
        if status < 0:
            raise PcapError("no statistics", status)


@pytest.fixture
def fake() -> Any:
    return FakeCapture()


def _figures(stats: Any) -> list[int]:
    return [stats.received, stats.dropped, stats.dropped_by_interface]


def test_counters_that_wrap_several_times(fake: Any) -> None:
    counters = _Counters()
    for step in (
        [WRAP - 1, 5, 0],
        [1, WRAP - 5, 0],
        [1, 0, 7],
        [WRAP - 1, WRAP - 1, WRAP - 1],
        [0, 0, 0],
    ) * 3:
        fake._c.true = [total + more for total, more in zip(fake._c.true, step, strict=True)]
        assert _figures(counters.read(fake)) == fake._c.true
    assert fake._c.true[0] > 6 * (WRAP - 1)


def test_they_are_read_before_they_can_wrap_twice(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    counters = _Counters()
    for _ in range(10):
        for _ in range(100):  # a reader at work calls it all the time, and it costs a call now and then
            counters.keep(fake)
        now[0] += 10.5
        fake._c.true = [total + WRAP - 1 for total in fake._c.true]
        counters.keep(fake)
    assert fake._c.calls == 10
    assert _figures(counters.read(fake)) == [10 * (WRAP - 1)] * 3
    fake.live = False
    now[0] += 100
    calls = fake._c.calls
    counters.keep(fake)
    assert fake._c.calls == calls


def test_failures(fake: Any) -> None:
    counters = _Counters()
    fake._c.true = [5, 6, 7]
    assert _figures(counters.read(fake)) == [5, 6, 7]
    fake._c.status = -1
    with pytest.raises(PcapError, match="no statistics"):
        counters.read(fake)
    fake._c.status, fake._c.true = 0, [8, 8, 8]
    fake.closes_now = True  # between the look and the call
    assert _figures(counters.read(fake)) == [5, 6, 7]
    assert _figures(counters.read(fake)) == [5, 6, 7]
