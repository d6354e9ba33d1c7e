"""The stand-in for pcapy on a live device: exact counts, timeouts that hold, and its way out."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.compat import pcapy
from support import simulated, stand_ins

pytestmark = pytest.mark.netns


@pytest.fixture
def reader(net: Lab) -> Iterator[Any]:
    with net.inside():
        made = pcapy.open_live(net.capture_device, 65535, 1, 50)
    with made:
        yield made


def _loop(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    reader.loop(count, lambda header, data: found.append(data))
    return found


def _dispatch(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        reader.dispatch(7, lambda header, data: found.append(data))
    return found


def _next(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        header, data = reader.next()
        if header is not None:
            assert header.getcaplen() == header.getlen() == len(data) == 64
            assert abs(header.getts()[0] - time.time()) < 1000
            found.append(data)
    return found


def _select(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        assert select.select([reader.getfd()], [], [], 30)[0]
        header, data = reader.next()
        if header is not None:
            found.append(data)
    return found


def _batches(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        data, meta = reader.next_batch(100)
        assert len(meta) <= 100 * 16
        found += [data[64 * n : 64 * n + 64] for n in range(len(meta) // 16)]
    return found


def _filtered(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    reader.loop_filtered(count, lambda header, data, kind: found.append(data))
    return found


def _to_buffer(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    buffer = bytearray(700 * 69)
    while len(found) < count:
        limit = min(count - len(found), 700)
        written, dropped, overflow, used, *_ = reader.loop_to_buffer(limit, buffer)
        assert (written, dropped, overflow, used) == (limit, 0, 0, limit * 69)
        assert all(buffer[at : at + 5] == b"\x40\0\0\0\0" for at in range(0, used, 69))
        found += [bytes(buffer[at + 5 : at + 69]) for at in range(0, used, 69)]
    return found


def _in_turn(reader: Any, count: int) -> list[bytes]:
    found: list[bytes] = []
    ways = cycle([_to_buffer, _filtered, _batches, _loop, _batches, _next])
    while len(found) < count:
        found += next(ways)(reader, min(count - len(found), 333))
    return found


@pytest.mark.parametrize("way", [_loop, _dispatch, _next, _select, _batches, _filtered, _to_buffer, _in_turn])
def test_every_packet_once(
    reader: Any, sender: traffic.Sender, way: Callable[[Any, int], list[bytes]]
) -> None:
    sender.send(5000)
    assert [frames.check(memoryview(data)) for data in way(reader, 5000)] == list(range(5000))
    received, dropped, _ = reader.stats()
    assert (received, dropped) == (5000, 0)


@simulated.linux_only  # FreeBSD's is readable from one timeout to the next after a stall: patches/freebsd-src
@pytest.mark.parametrize("way", [_loop, _dispatch, _next, _batches, _filtered, _to_buffer, _in_turn])
def test_a_descriptor_rests_when_all_is_taken(
    reader: Any, sender: traffic.Sender, way: Callable[[Any, int], list[bytes]]
) -> None:
    assert not select.select([reader.getfd()], [], [], 0)[0]
    for _ in range(2):
        sender.send(700)
        assert len(way(reader, 700)) == 700
        assert not select.select([reader.getfd()], [], [], 0)[0]


def test_an_idle_link_holds_nobody(reader: Any) -> None:
    assert reader.next() == (None, b"")
    assert reader.dispatch(-1, print) == 0
    assert reader.next_batch(5) == (b"", b"")
    reader.setnonblock(1)
    assert reader.getnonblock() == 1
    assert reader.next() == (None, b"")


def test_a_thread_that_waits_holds_no_other(reader: Any, sender: traffic.Sender) -> None:
    """Who has taken the last packet gives its block back, and does not wait for who waits for the next."""
    waits = threading.Thread(target=_loop, args=(reader, 1))
    takes = threading.Thread(target=reader._cursor.emptied)
    waits.start()
    time.sleep(0.2)
    takes.start()
    takes.join(10)
    held = takes.is_alive()
    sender.send(1)
    waits.join(10)
    assert not held
    assert not waits.is_alive()


def test_ctrl_c(reader: Any) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = stand_ins.interrupt_when_it_waits()
    try:
        with pytest.raises(KeyboardInterrupt):
            reader.loop(-1, print)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()


def test_closed_by_its_callback(reader: Any, sender: traffic.Sender) -> None:
    seen: list[bytes] = []

    def callback(header: Any, data: bytes) -> None:
        seen.append(data)
        reader.close()

    sender.send(100)
    reader.loop(-1, callback)
    assert len(seen) == 1
    with pytest.raises(ValueError, match="closed"):
        reader.next()


def test_a_filter_holds_for_what_is_at_hand(reader: Any, sender: traffic.Sender) -> None:
    sender.send(1000)
    assert reader.dispatch(10, lambda header, data: None) > 0
    reader.setfilter("tcp")
    assert reader.next() == (None, b"")


def test_sending(net: Lab, reader: Any) -> None:
    with net.inside():
        other = pcapy.open_live(net.send_device, 65535, 0, 50)
    frame = bytes(12) + b"\x88\xb5" + bytes(50)
    with other:
        other.sendpacket(frame)
    assert _loop(reader, 1) == [frame]


def test_set_up_and_activated(net: Lab, sender: traffic.Sender) -> None:
    made = pcapy.create(net.capture_device)
    assert [
        made.set_snaplen(60),
        made.set_promisc(1),
        made.set_timeout(50),
        made.set_buffer_size(8 << 20),
    ] == [0] * 4
    with pytest.raises(pcapy.PcapError, match="activate"):
        made.next()
    with net.inside():
        assert made.activate() == 0
    assert made.activate() < 0
    assert made.set_snaplen(10) < 0
    sender.send(1)
    assert [len(data) for data in _loop(made, 1)] == [60]
    made.close()
    none = pcapy.create("zcnone0")
    assert none.activate() < 0
    with pytest.raises(pcapy.PcapError, match="no such device"):
        none.next()


@simulated.linux_only
def test_members_of_a_fanout_share(net: Lab, sender: traffic.Sender) -> None:
    with net.inside():
        members = [pcapy.open_live(net.capture_device, 65535, 1, 50) for _ in range(2)]
    for member in members:
        member.set_fanout(7, pcapy.PACKET_FANOUT_LB)
    sender.send(2000)
    found = [frames.check(memoryview(data)) for member in members for data in _loop(member, 1000)]
    assert sorted(found) == list(range(2000))
    with pytest.raises(pcapy.PcapError) as caught, net.inside():
        pcapy.open_live(net.capture_device, 65535, 1, 50).set_fanout(7, pcapy.PACKET_FANOUT_CPU)
    assert caught.value.args[0] > 0
    for member in members:
        member.close()


def test_readers_leave_nothing_behind(net: Lab) -> None:
    def once() -> None:
        with net.inside(), pcapy.open_live(net.capture_device, 65535, 1, 50) as made:
            made.getfd()

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        once()
    assert len(os.listdir("/proc/self/fd")) <= before
