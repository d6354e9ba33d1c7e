"""The stand-in for python-libpcap on a live device."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.compat import pylibpcap
from pypcapzc.compat.pylibpcap.base import Sniff
from pypcapzc.compat.pylibpcap.exception import LibpcapError
from support import stand_ins

pytestmark = pytest.mark.netns


def _sniff(net: Lab, **options: object) -> Sniff:
    with net.inside():
        return Sniff(net.capture_device, **{"timeout": 50, "promisc": 1, **options})  # type: ignore[arg-type]


def test_every_packet_once(net: Lab, sender: traffic.Sender, tmp_path: Path) -> None:
    sniffer = _sniff(net, count=3000, out_file=str(tmp_path / "out"))
    sender.send(3000)
    found = []
    for length, seconds, data in sniffer.capture():
        if length:
            assert length == len(data)
            assert abs(seconds - time.time()) < 1000
            found.append(frames.check(memoryview(data)))
    assert found == list(range(3000))
    stats = sniffer.stats()
    assert (stats.capture_cnt, stats.ps_recv, stats.ps_drop) == (3000, 3000, 0)
    sniffer.close()
    assert [frames.check(memoryview(data)) for _, _, data in pylibpcap.rpcap(str(tmp_path / "out"))] == found


def test_what_was_handed_out_is_in_the_file(net: Lab, sender: traffic.Sender, tmp_path: Path) -> None:
    """Whoever leaves a loop finds those packets in the file, and the others later."""
    sniffer = _sniff(net, out_file=str(tmp_path / "out"))
    sender.send(100)
    packets = (each for each in sniffer.capture() if each[0])
    for _ in range(10):
        next(packets)
    packets.close()
    again = (each for each in sniffer.capture() if each[0])
    assert [frames.check(memoryview(next(again)[2])) for _ in range(5)] == list(range(10, 15))
    sniffer.close()
    written = [frames.check(memoryview(data)) for _, _, data in pylibpcap.rpcap(str(tmp_path / "out"))]
    assert written == list(range(15))


def test_an_idle_link_says_so(net: Lab) -> None:
    sniffer = _sniff(net)
    packets = sniffer.capture()
    assert [next(packets), next(packets)] == [(0, 0, b"")] * 2
    sniffer.close()


@pytest.mark.parametrize("timeout", [0, 50])
def test_ctrl_c(net: Lab, timeout: int) -> None:
    sniffer = _sniff(net, timeout=timeout)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = stand_ins.interrupt_when_it_waits()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(length for length, _, _ in sniffer.capture() if length)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    sniffer.close()


@pytest.mark.parametrize("count", [-1, 1000])
def test_in_a_thread_of_its_own(net: Lab, sender: traffic.Sender, tmp_path: Path, count: int) -> None:
    sniffer = _sniff(net, count=count, out_file=str(tmp_path / "out"))
    sniffer.capture_nonblocking()
    assert sniffer.is_running_nonblocking()
    sender.send(2000)
    deadline = time.monotonic() + 30
    while sniffer.stats().capture_cnt < (2000 if count < 0 else count):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sniffer.stop_capture_nonblocking()
    assert not sniffer.is_running_nonblocking()
    sniffer.close()
    written = [frames.check(memoryview(data)) for _, _, data in pylibpcap.rpcap(str(tmp_path / "out"))]
    assert written == list(range(2000 if count < 0 else count))


def test_a_file_that_cannot_be_written(net: Lab, tmp_path: Path) -> None:
    with pytest.raises(LibpcapError, match="No such file"):
        _sniff(net, out_file=str(tmp_path / "none" / "out"))
