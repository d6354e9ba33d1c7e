"""One lazy packet, several threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pypcapzc.scapy.lazy import is_asleep, packet_maker

pytestmark = pytest.mark.unit

FRAME = bytes(
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(src="192.0.2.1", dst="192.0.2.2")
    / UDP(sport=40000, dport=40001)
)
PATIENCE = 30  # seconds


def lazy() -> Packet:
    return packet_maker(Ether)(FRAME, 1_700_000_000_123_456_789, len(FRAME), "eth0", None)


@pytest.fixture
def halfway(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event, list[bytes]]:
    """A dissector that tells that it has begun, and goes on when it is told to; what it dissected."""
    begun, go_on, dissected = threading.Event(), threading.Event(), []

    def slow(self: Packet, data: bytes) -> bytes:
        dissected.append(data)
        begun.set()
        assert go_on.wait(PATIENCE)
        return data

    monkeypatch.setattr(UDP, "pre_dissect", slow)
    return begun, go_on, dissected


def test_threads_that_come_in_between_wait_and_see_the_whole(halfway: Any) -> None:
    begun, go_on, dissected = halfway
    packet = lazy()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(lambda: packet[UDP])
        assert begun.wait(PATIENCE)
        others = [pool.submit(lambda: packet[UDP]) for _ in range(3)]
        assert is_asleep(packet)
        assert bytes(packet) == FRAME
        assert packet.wirelen == len(FRAME)
        assert not any(other.done() for other in others)
        go_on.set()
        layers = {id(found.result(PATIENCE)) for found in [first, *others]}
    assert layers == {id(packet[UDP])}
    assert len(dissected) == 1


def test_what_another_thread_sets_meanwhile_is_not_lost(halfway: Any) -> None:
    begun, go_on, _ = halfway
    packet = lazy()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lambda: packet[UDP].sport)
        assert begun.wait(PATIENCE)
        setting = [
            pool.submit(setattr, packet, "sniffed_on", "eth1"),
            pool.submit(setattr, packet, "type", 0x1234),
        ]
        go_on.set()
        assert first.result(PATIENCE) == 40000
        for one in setting:
            one.result(PATIENCE)
    assert (packet.sniffed_on, packet.type) == ("eth1", 0x1234)


def test_many_packets_and_threads() -> None:
    packets = [lazy() for _ in range(100)]
    start = threading.Barrier(4)

    def look(backwards: bool) -> list[int]:
        start.wait(PATIENCE)
        return [id(packet[UDP]) for packet in (reversed(packets) if backwards else packets)]

    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(look, number % 2 == 1) for number in range(4)]
        seen = [look.result(PATIENCE) for look in looks]
    assert seen[0] == seen[2] == seen[1][::-1] == seen[3][::-1]


FORKING = """
import os, sys, threading
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from pypcapzc.scapy.lazy import packet_maker

frame = bytes.fromhex(sys.argv[1])
make = packet_maker(Ether)
stop = threading.Event()
started = threading.Event()

def look():
    while not stop.is_set():
        make(frame, 0, len(frame), None, None)[UDP].sport
        started.set()

thread = threading.Thread(target=look)
thread.start()
started.wait()
statuses = set()
for _ in range(20):
    packet = make(frame, 0, len(frame), None, None)
    child = os.fork()
    if child == 0:
        os._exit(7 if packet[UDP].sport == 40000 else 1)
    statuses.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
thread.join()
print(statuses)
"""


def test_a_child_wakes_packets_while_a_thread_of_its_parent_does() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, FRAME.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "{7}"
