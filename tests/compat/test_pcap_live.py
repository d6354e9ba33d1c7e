"""The stand-in for pypcap on a live device: exact counts, timeouts that hold, and its ways out."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.compat import pcap
from support import cli, simulated, stand_ins

pytestmark = pytest.mark.netns


@pytest.fixture
def handle(net: Lab) -> Iterator[Any]:
    with net.inside():
        made = pcap.pcap(net.capture_device, timeout_ms=50)
    yield made
    made.close()


def _iterate(handle: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    for ts, data in handle:
        assert isinstance(ts, float)
        assert abs(ts - time.time()) < 1000
        found.append(data)
        if len(found) == count:
            break
    return found


def _next(handle: Any, count: int) -> list[bytes]:
    return [next(handle)[1] for _ in range(count)]


def _loop(handle: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    handle.loop(count, lambda ts, data, to: to.append(data), found)
    return found


def _dispatch(handle: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        before = len(found)
        assert handle.dispatch(7, lambda ts, data: found.append(data)) == len(found) - before <= 7
    return found


def _readpkts(handle: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += [data for _, data in handle.readpkts()]
    return found


def _select(handle: Any, count: int) -> list[bytes]:
    """As a program that waits by itself does, which takes one packet at a time, or leaves a loop."""
    found: list[bytes] = []
    handle.setnonblock()
    while len(found) < count:
        assert select.select([handle], [], [], 30)[0]
        if len(found) % 2:
            handle.dispatch(1, lambda ts, data: found.append(data))
        else:
            for _, data in handle:
                found.append(data)
                break
    return found


@pytest.mark.parametrize("way", [_iterate, _next, _loop, _dispatch, _readpkts, _select])
def test_every_packet_once(
    handle: Any, sender: traffic.Sender, way: Callable[[Any, int], list[bytes]]
) -> None:
    sender.send(5000)
    assert [frames.check(memoryview(data)) for data in way(handle, 5000)] == list(range(5000))
    received, dropped, _ = handle.stats()
    assert (received, dropped) == (5000, 0)


@simulated.linux_only  # FreeBSD's is readable from one timeout to the next after a stall: patches/freebsd-src
@pytest.mark.parametrize("way", [_iterate, _next, _loop, _dispatch, _readpkts, _select])
def test_a_descriptor_rests_when_all_is_taken(
    handle: Any, sender: traffic.Sender, way: Callable[[Any, int], list[bytes]]
) -> None:
    assert not select.select([handle], [], [], 0)[0]
    for _ in range(2):
        sender.send(700)
        assert len(way(handle, 700)) == 700
        assert not select.select([handle], [], [], 0)[0]


def test_ways_mixed(handle: Any, sender: traffic.Sender) -> None:
    sender.send(3000)
    found = [*_next(handle, 3), *_iterate(handle, 10), *_loop(handle, 20), *_select(handle, 5)]
    found += _iterate(handle, 3000 - len(found))
    assert [frames.check(memoryview(data)) for data in found] == list(range(3000))


def test_times_in_nanoseconds(net: Lab, sender: traffic.Sender) -> None:
    with net.inside():
        handle = pcap.pcap(net.capture_device, timeout_ms=50, timestamp_in_ns=True)
    sender.send(1)
    ts, _ = next(handle)
    assert isinstance(ts, int)
    assert abs(ts - time.time_ns()) < 1_000_000_000_000
    handle.close()


def test_an_idle_link_holds_nobody(handle: Any) -> None:
    assert handle.dispatch(-1, print) == 0
    assert handle.dispatch(0, print) == 0
    assert handle.readpkts() == []
    handle.setnonblock()
    assert handle.getnonblock() is True
    assert handle.dispatch(5, print) == 0


@pytest.mark.parametrize("timeout_ms", [0, 20])
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.default_int_handler])
def test_ctrl_c(net: Lab, timeout_ms: int, before: Any) -> None:
    """Where SIGINT was ignored, too: pypcap's loops take it."""
    with net.inside():
        handle = pcap.pcap(net.capture_device, timeout_ms=timeout_ms)
    kept = signal.signal(signal.SIGINT, before)
    try:
        for wait in (lambda: handle.loop(0, print), lambda: next(iter(handle))):
            signal.signal(signal.SIGINT, before)
            thread = stand_ins.interrupt_when_it_waits()
            with pytest.raises(KeyboardInterrupt):
                wait()
            thread.join()
    finally:
        signal.signal(signal.SIGINT, kept)
        handle.close()


def test_another_thread_closes(handle: Any) -> None:
    threading.Timer(0.2, handle.close).start()
    assert list(handle) == []
    with pytest.raises(OSError, match="closed"):
        handle.stats()


def test_closed_by_its_callback(handle: Any, sender: traffic.Sender) -> None:
    seen: list[bytes] = []

    def callback(ts: float, data: bytes) -> None:
        seen.append(data)
        handle.close()

    sender.send(100)
    handle.loop(0, callback)
    assert len(seen) == 1
    for call in (handle.fileno, handle.stats, handle.readpkts, lambda: handle.loop(1, callback)):
        with pytest.raises(OSError, match="closed"):
            call()


def test_a_callback_that_raises_loses_nothing(handle: Any, sender: traffic.Sender) -> None:
    seen: list[bytes] = []

    def callback(ts: float, data: bytes) -> None:
        seen.append(data)
        if len(seen) == 10:
            raise KeyError("ten")

    sender.send(100)
    with pytest.raises(KeyError, match="ten"):
        handle.loop(0, callback)
    assert [frames.check(memoryview(data)) for data in seen + _next(handle, 90)] == list(range(100))


def test_a_filter_holds_for_what_is_at_hand(handle: Any, sender: traffic.Sender) -> None:
    sender.send(1000)
    next(handle)
    handle.setfilter("tcp")
    assert handle.readpkts() == []
    assert handle.filter == "tcp"


def test_what_a_filter_that_fails_says(handle: Any) -> None:
    with pytest.raises(OSError, match="syntax error"):
        handle.setfilter("nonsense at all")
    assert b"syntax error" in handle.geterr()
    with pytest.raises(AttributeError, match="text"):
        handle.setfilter(b"ip")


def test_sending(net: Lab, handle: Any) -> None:
    frame = bytes(12) + b"\x88\xb5" + bytes(50)
    with net.inside():
        other = pcap.pcap(net.send_device)
    assert other.sendpacket(frame) == len(frame)
    other.close()
    assert _next(handle, 1) == [frame]


def test_a_file_goes_before_a_device(net: Lab, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / net.capture_device).write_bytes(b"no savefile")
    with net.inside():
        pcap.pcap(net.capture_device).close()  # it's a device after all
    (tmp_path / "zcnone0").write_bytes(b"no savefile")
    with pytest.raises(OSError, match=r"no such device.*nor is it a savefile"):
        pcap.pcap("zcnone0")


def test_a_device_that_goes_away(handle: Any, net: Lab) -> None:
    net.remove_devices()
    with pytest.raises(OSError, match=net.capture_device):
        handle.loop(0, print)


LEAK = """
import os, resource, sys
import pcap
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
handle = pcap.pcap(sys.argv[1], timeout_ms=100)
print("ready", flush=True)
def pump(count):
    left = count
    while left:
        for _ in range(100):
            next(handle)
        handle.loop(100, lambda ts, data: None)
        for number, pair in enumerate(handle, 1):
            if number == 300:
                break
        left -= 500
pump(100_000)
before = resident()
pump(200_000)
print((resident() - before) >> 10, handle.stats()[1])
"""


@simulated.linux_only
def test_packets_leave_nothing_behind(net: Lab, tmp_path: Any) -> None:
    script = tmp_path / "leak.py"
    script.write_text(LEAK)
    with net.inside():
        process = subprocess.Popen(
            [*cli.COMMAND, "run", "--buffer-size", "256M", str(script), net.capture_device],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with traffic.Sender(net.send_device) as sender:
            sender.send(300_000)
    grown, dropped = map(int, process.communicate(timeout=60)[0].split())
    assert process.returncode == 0
    assert dropped == 0
    # The ring's own pages count as ours once they were read: 64-byte packets take 128 bytes of it.
    assert grown < (32 << 10) + 8192
