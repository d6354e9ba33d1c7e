"""The namespace and the sender: whoever relies on exact counts relies on these."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab import frames, traffic
from lab.netns import Lab

pytestmark = pytest.mark.netns

_ETH_P_ALL = 0x0003
_RCVBUFFORCE = 33
_ROOT = Path(__file__).resolve().parent.parent.parent
_DWELLER = """
import time
from lab.netns import Lab
net = Lab()
with net.inside():
    print("there", flush=True)
    time.sleep(60)
"""


def _listener(device: str) -> socket.socket:
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    listener.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 64 << 20)
    listener.bind((device, _ETH_P_ALL))
    listener.setblocking(False)
    return listener


def _drain(listener: socket.socket) -> list[bytes]:
    packets: list[bytes] = []
    while True:
        try:
            packets.append(listener.recv(65536))
        except BlockingIOError:
            return packets


def _here() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


@pytest.mark.parametrize("bypass", [True, False])
@pytest.mark.parametrize("size", [64, frames.MIN_SIZE, 1514, (60, 1500)])
def test_what_is_sent_arrives_byte_for_byte_and_in_order(net: Lab, size: frames.Size, bypass: bool) -> None:
    with (
        net.inside(),
        _listener(net.capture_device) as listener,
        traffic.Sender(net.send_device, size, seed=3, qdisc_bypass=bypass) as sender,
    ):
        first = sender.send(1500)
        second = sender.send(frames.PERIOD)
        packets = _drain(listener)
    assert (first.packets, first.first, second.first) == (1500, 0, 1500)
    assert [frames.check(packet) for packet in packets] == list(range(1500 + frames.PERIOD))
    sizes = frames.size_table(size, seed=3)
    assert [len(packet) for packet in packets] == [sizes[n % frames.PERIOD] for n in range(len(packets))]
    assert sum(map(len, packets)) == first.bytes + second.bytes


def test_sequence_numbers_have_64_bits(net: Lab) -> None:
    with (
        net.inside(),
        _listener(net.capture_device) as listener,
        traffic.Sender(net.send_device, first=2**32 - 2) as sender,
    ):
        sender.send(4)
        packets = _drain(listener)
    assert [frames.check(packet) for packet in packets] == list(range(2**32 - 2, 2**32 + 2))


def test_a_full_speed_burst_is_counted_exactly_by_both_ends(net: Lab) -> None:
    with net.inside(), traffic.Sender(net.send_device) as sender:
        sent = sender.send(200_000)
    assert net.counters(net.send_device).tx_packets == sent.packets == 200_000
    arrived = net.counters(net.capture_device)
    assert (arrived.rx_packets, arrived.rx_bytes) == (sent.packets, sent.bytes)


def test_pace_keeps_to_rate_and_count(net: Lab) -> None:
    with net.inside(), traffic.Sender(net.send_device) as sender:
        sent = sender.pace(20_000, 0.25)
    assert sent.packets == net.counters(net.capture_device).rx_packets == 5000
    assert 0.24 < sent.seconds < 2


def test_nothing_but_what_was_sent_is_on_the_link(net: Lab) -> None:
    assert net.ip("-6", "address").strip() == ""
    net.ip("link", "set", net.capture_device, "down")
    net.ip("link", "set", net.capture_device, "up")
    assert net.counters(net.capture_device).rx_packets == 0
    assert net.counters(net.capture_device).tx_packets == 0


def test_a_thread_comes_back_and_others_stay_where_they_are(net: Lab) -> None:
    home, seen = _here(), []
    with net.inside():
        inside = _here()
        with net.inside():  # may be nested
            assert _here() == inside
        assert _here() == inside != home
    with pytest.raises(RuntimeError, match="on purpose"), net.inside():
        raise RuntimeError("on purpose")
    assert _here() == home

    def visit() -> None:
        with net.inside():
            seen.append(_here())

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    assert seen == [inside]
    assert _here() == home


def test_two_labs_are_apart_and_large_frames_pass() -> None:
    with Lab(mtu=9000) as one, Lab() as other:
        with one.inside(), traffic.Sender(one.send_device, 9014) as sender:
            sender.send(10)
        assert one.counters("zc0").rx_bytes == 90140
        assert other.counters("zc0").rx_packets == 0
        with (
            other.inside(),
            traffic.Sender(other.send_device, 9014) as sender,
            pytest.raises(OSError, match="frame 0"),
        ):
            sender.send(1)


def test_a_sender_refuses_devices_that_lead_elsewhere(net: Lab) -> None:
    with net.inside():
        with pytest.raises(PermissionError, match="veth"):
            traffic.Sender("lo")
        with pytest.raises(OSError, match="nosuch"):
            traffic.Sender("nosuch")
    with Lab() as other, other.inside(), subprocess.Popen(["sleep", "60"]) as elsewhere:
        try:
            net.ip("link", "add", "zc2", "type", "veth", "peer", "name", "zc3", "netns", str(elsewhere.pid))
            with net.inside(), pytest.raises(PermissionError, match="zc2"):
                traffic.Sender("zc2")
        finally:
            elsewhere.kill()


def test_a_removed_device_is_an_error(net: Lab) -> None:
    with net.inside(), traffic.Sender(net.send_device) as sender:
        net.remove_devices()
        with pytest.raises(OSError, match="sending frame 0"):
            sender.send(1)
    with pytest.raises(OSError, match="no device"):
        net.counters(net.send_device)


def test_a_sender_process_reports_what_it_sent(net: Lab) -> None:
    arguments = ("--device", net.send_device, "--count", "3000", "--size", "60-1500", "--first", "7")
    with net.inside():
        sent = traffic.finish(traffic.start(*arguments))
    assert (sent.packets, sent.first) == (3000, 7)
    assert net.counters(net.capture_device).rx_bytes == sent.bytes


def test_frames_of_ones_own_pass_unchanged(net: Lab) -> None:
    packets = [bytes(12) + b"\x88\xb5" + bytes([n]) * 46 for n in range(3)]
    with net.inside(), _listener(net.capture_device) as listener:
        traffic.send_frames(net.send_device, packets)
        assert _drain(listener) == packets


def test_a_killed_process_leaves_nothing_behind(net: Lab) -> None:
    """The end in the killed process's namespace goes away with it, and takes the other one along."""
    with subprocess.Popen([sys.executable, "-c", _DWELLER], cwd=_ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            net.ip("link", "add", "zc2", "type", "veth", "peer", "name", "zc3", "netns", str(process.pid))
            assert "zc2" in net.ip("link")
        finally:
            process.kill()
    deadline = time.monotonic() + 20
    while "zc2" in net.ip("link"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_closed_lab_says_so(net: Lab) -> None:
    net.close()
    with pytest.raises(ValueError, match="closed"), net.inside():
        pass
