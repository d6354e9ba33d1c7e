"""Several captures that share a device's packets: each packet to one of them, and exact accounts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc import Fanout, platforms
from pypcapzc.errors import FilterError, PcapError
from support import simulated
from support.captures import numbers, until_received

pytestmark = [pytest.mark.netns, simulated.linux_only]

MODES = ("hash", "lb", "cpu", "rollover", "rnd", "qm")
COUNT = 3000


def _opened(net: Lab, fanout: Fanout, **options: Any) -> pypcapzc.Capture:
    options.setdefault("timeout_ms", 10)
    with net.inside():
        return pypcapzc.open_live(net.capture_device, fanout=fanout, **options)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def _members(net: Lab, stack: ExitStack, count: int, **options: Any) -> list[pypcapzc.Capture]:
    """So many captures in a group of their own."""
    fanout: Fanout = options.pop("fanout", Fanout())
    first = stack.enter_context(_opened(net, fanout, **options))
    assert first.fanout is not None
    assert first.fanout.group is not None
    shared = first.fanout
    return [first, *(stack.enter_context(_opened(net, shared, **options)) for _ in range(count - 1))]


def _taken(members: list[pypcapzc.Capture]) -> list[list[int]]:
    """What each has got of the frames that were sent; every account is exact."""
    found = []
    for member in members:
        member.stop()
        mine = numbers(member)
        stats = member.stats()
        assert len(mine) + stats.dropped == stats.received
        found.append(mine)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("filtered", [False, True])
def test_each_packet_goes_to_one_member(
    net: Lab, sender: traffic.Sender, stack: ExitStack, mode: Any, filtered: bool
) -> None:
    options = {"filter": "udp"} if filtered else {}
    members = _members(net, stack, 3, fanout=Fanout(mode=mode), buffer_size=16 << 20, **options)
    assert members[1].fanout == members[0].fanout
    sender.send(COUNT)
    found = _taken(members)
    assert sorted(number for mine in found for number in mine) == list(range(COUNT))
    assert sum(member.stats().received for member in members) == COUNT
    if mode == "lb":
        assert [len(mine) for mine in found] == [COUNT // 3] * 3
    if mode in ("hash", "rollover"):  # one flow
        assert max(len(mine) for mine in found) == COUNT or mode == "rollover"
    if mode == "rnd":
        assert min(len(mine) for mine in found) > COUNT // 6


def test_flows_stay_together(net: Lab, stack: ExitStack) -> None:
    members = _members(net, stack, 3, fanout=Fanout(mode="hash"))
    packets = []
    for port in range(60):
        frame = bytearray(frames.expected(port, 100))
        frame[34:36] = (50000 + port).to_bytes(2, "big")
        packets += [bytes(frame)] * 5
    with net.inside():
        traffic.send_frames(net.send_device, packets)
    ports = []
    for member in members:
        member.stop()
        mine = [int.from_bytes(data[34:36], "big") for block in _all(member) for data in block]
        assert all(mine.count(port) == 5 for port in set(mine))
        ports.append(set(mine))
    assert set.union(*ports) == set(range(50000, 50060))
    assert sum(map(len, ports)) == 60
    assert min(map(len, ports)) > 0


def _all(capture: pypcapzc.Capture) -> Iterator[list[bytes]]:
    while (block := capture.next_block(0.3)) is not None:
        yield block.packets()
        block.release()


def test_members_that_come_while_packets_flow(net: Lab, stack: ExitStack) -> None:
    """None gets what it received before it was a member: that would be there twice."""
    stop = threading.Event()

    def stream() -> None:
        with net.inside(), traffic.Sender(net.send_device) as sender:
            while not stop.is_set():
                sender.send(100)
                time.sleep(0.002)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        members = _members(net, stack, 4, fanout=Fanout(mode="lb"), buffer_size=32 << 20)
        last = members[-1]
        until_received(last, 300)
    finally:
        stop.set()
        thread.join()
    found = [number for mine in _taken(members) for number in mine]
    assert len(set(found)) == len(found)
    assert all(member.stats().dropped == 0 for member in members)


def test_a_full_member_passes_on(net: Lab, sender: traffic.Sender, stack: ExitStack) -> None:
    fanout = Fanout(mode="hash", rollover=True)
    members = _members(net, stack, 2, fanout=fanout, buffer_size=1 << 20, timeout_ms=20)
    sent = 0
    while not all(member.stats().received for member in members):
        sender.send(1000)
        sent += 1000
        assert sent < 200_000, "the one that all go to is never full"
    assert sum(member.stats().received for member in members) == sent


def test_a_member_that_leaves(net: Lab, sender: traffic.Sender, stack: ExitStack) -> None:
    members = _members(net, stack, 3, fanout=Fanout(mode="lb"))
    members.pop(1).close()
    sender.send(COUNT)
    found = _taken(members)
    assert [len(mine) for mine in found] == [COUNT // 2] * 2


def test_snaplen_and_packets_of_a_member(net: Lab, sender: traffic.Sender, stack: ExitStack) -> None:
    (member,) = _members(net, stack, 1, snaplen=60, mode="buffered")
    sender.send(10)
    packets = iter(member)
    assert [next(packets)[1] for _ in range(10)] == [frames.expected(n, 64)[:60] for n in range(10)]


# --- what goes wrong -------------------------------------------------------------------------------------


def test_groups_that_do_not_match(net: Lab, stack: ExitStack) -> None:
    first = stack.enter_context(_opened(net, Fanout(7, "hash")))
    assert first.fanout == Fanout(7, "hash")
    for other in (Fanout(7, "lb"), Fanout(7, "hash", defrag=True), Fanout(7, "hash", rollover=True)):
        with pytest.raises(PcapError, match=r"fanout group 7 cannot be joined: .*; choose another group"):
            _opened(net, other)
    with net.inside(), pytest.raises(PcapError, match="another device"):
        pypcapzc.open_live(net.send_device, fanout=Fanout(7, "hash"))
    stack.enter_context(_opened(net, Fanout(8, "lb")))


def test_a_group_that_is_full(net: Lab, stack: ExitStack) -> None:
    try:
        members = _members(net, stack, 2, fanout=Fanout(mode="lb", max_members=2))
    except PcapError:
        pytest.skip("this kernel has no limit to a group that one can choose (Linux 5.10)")
    assert members[0].fanout is not None
    with pytest.raises(PcapError, match=r"fanout group \d+ is full"):
        _opened(net, members[0].fanout)


def test_a_filter_that_does_not_compile_leaves_nothing(net: Lab) -> None:
    with pytest.raises(FilterError):
        _opened(net, Fanout(9), filter="udp prot 7")
    with _opened(net, Fanout(9, "lb")):  # the group is gone: it may have another mode
        pass


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"group": 65536}, "the fanout group is 65536"),
        ({"group": -1}, "the fanout group is -1"),
        ({"mode": "best"}, "the fanout mode is 'best'; it is one of hash, lb"),
        ({"max_members": 0}, "max_members is 0"),
    ],
)
def test_what_is_no_group(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Fanout(**fields)


class _Elsewhere(platforms.Linux):
    name = "freebsd"


def test_another_system(net: Lab) -> None:
    with (
        platforms.use(_Elsewhere()),
        pytest.raises(PcapError, match="PACKET_FANOUT is Linux's, and this is freebsd; open one capture"),
    ):
        _opened(net, Fanout())
