"""Packets that a thread takes from a kernel with little room: in order, bounded, and to the end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from scapy.config import conf
from scapy.sendrecv import AsyncSniffer

import pypcapzc
from lab import frames
from lab.netns import Lab
from lab.traffic import Sender
from pypcapzc import Capture
from pypcapzc.errors import CaptureClosedError, DeviceGoneError
from pypcapzc.scapy import ZeroCopyListenSocket
from pypcapzc.scapy.ahead import Ahead, Batch
from pypcapzc.waker import readable
from support import cli

pytestmark = pytest.mark.netns

PATIENCE = 30
A_PACKET = 64 + 96
"""What a frame of 64 bytes counts for."""


@pytest.fixture
def capture(net: Lab) -> Iterator[Capture]:
    with net.inside():
        opened = pypcapzc.open_live(net.capture_device, timeout_ms=10, buffer_size=4 << 20)
    with opened:
        yield opened


@pytest.fixture
def clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the kernel had granted less than was asked for."""
    told: Any = vars(Capture)["zero_copy"]
    monkeypatch.setattr(Capture, "zero_copy", property(lambda self: replace(told.fget(self), clipped="")))


def until(number: Callable[[], int], expected: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while (found := number()) != expected:
        assert time.monotonic() < give_up, (found, expected)
        time.sleep(0.005)


def given(ahead: Ahead) -> Batch:
    """What comes next, within 30 seconds."""
    assert readable([ahead.fileno()], PATIENCE)
    batch = ahead.next()
    assert batch is not None
    return batch


def threads() -> int:
    return sum(each.name.startswith("pypcapzc reads") for each in threading.enumerate())


def test_packets_in_order_and_a_descriptor_that_tells_of_them(capture: Capture, sender: Sender) -> None:
    ahead = Ahead(capture, 64 << 20)
    try:
        assert ahead.next() is None
        assert readable([ahead.fileno()], 0) == []
        sender.send(3000)
        until(lambda: ahead.left, 3000)
        packets: list[bytes] = []
        while readable([ahead.fileno()], 0):
            batch = given(ahead)
            assert len(batch.packets) == len(batch.times) == len(batch.wirelens)
            packets += batch.packets
        assert [frames.sequence_of(each) for each in packets] == list(range(3000))
        assert (ahead.left, ahead.next()) == (0, None)
    finally:
        ahead.close()
    assert threads() == 0


def test_no_more_than_its_limit(capture: Capture, sender: Sender) -> None:
    """What it has no room for stays in the kernel's buffer, and comes when there is room again."""
    ahead = Ahead(capture, 100 * A_PACKET)
    try:
        for number in range(5):
            sender.send(50)
            if number < 2:
                until(lambda: ahead.left, 50 * (number + 1))
        time.sleep(0.1)  # it would have taken them by now
        assert ahead.left == 100
        seen: list[bytes] = []
        while len(seen) < 250:
            seen += given(ahead).packets
        assert [frames.sequence_of(each) for each in seen] == list(range(250))
    finally:
        ahead.close()


def test_what_ended_the_reading_comes_last(net: Lab, capture: Capture, sender: Sender) -> None:
    ahead = Ahead(capture, 64 << 20)
    try:
        sender.send(20)
        until(lambda: ahead.left, 20)
        net.remove_devices()
        seen = 0
        while seen < 20:
            seen += len(given(ahead).packets)
        with pytest.raises(DeviceGoneError):
            given(ahead)
    finally:
        ahead.close()


def test_closing_while_it_has_no_room_or_waits(capture: Capture, sender: Sender) -> None:
    for number in (0, 10):
        ahead = Ahead(capture, 1)
        sender.send(number)
        until(partial(getattr, ahead, "left"), number)
        ahead.close()
        assert threads() == 0
    capture.close()
    ahead = Ahead(capture, 1)
    with pytest.raises(CaptureClosedError):
        ahead.next()
    ahead.close()


@pytest.mark.usefixtures("clipped")
def test_a_socket_has_one_where_the_kernel_grants_less(net: Lab, sender: Sender) -> None:
    """All packets come while prn is at the first, and a kernel's buffer of 256 KiB has room for 1700."""
    seen: list[int] = []
    begun = threading.Event()
    with net.inside():
        conf.ifaces.reload()
        with ZeroCopyListenSocket(iface="zc0", timeout_ms=10) as socket:

            def prn(packet: Any) -> None:
                seen.append(frames.sequence_of(bytes(packet)))
                if len(seen) == 1:
                    for sent in range(1000, 10_001, 1000):
                        sender.send(1000)
                        until(lambda: socket.taken, sent + 1)

            sniffer = AsyncSniffer(opened_socket=socket, prn=prn, store=False, started_callback=begun.set)
            sniffer.start()
            assert begun.wait(PATIENCE)
            sender.send(1)
            until(lambda: len(seen), 10_001)
            sniffer.stop()
            assert seen == list(range(10_001))
            assert socket.stats().received == 10_001
    assert threads() == 0


@pytest.mark.usefixtures("clipped")
def test_garbage(net: Lab) -> None:
    with net.inside():
        for _ in range(20):
            socket: Any = ZeroCopyListenSocket(iface="zc0", timeout_ms=1)
            socket.itself = socket
            del socket

    def left() -> int:
        gc.collect()  # nothing, if one of the threads is at it
        return threads()

    until(left, 0)


_ENDS = """
import os, sys, threading
from dataclasses import replace
import pypcapzc.scapy
from pypcapzc import Capture
told = Capture.zero_copy
Capture.zero_copy = property(lambda self: replace(told.fget(self), clipped=""))
import scapy.layers.l2
from scapy.config import conf
from scapy.sendrecv import AsyncSniffer
pypcapzc.scapy.enable()
begun = threading.Event()
sniffer = AsyncSniffer(iface="zc0", started_callback=begun.set)
sniffer.start()
begun.wait(30)
socket = conf.L2listen(iface="zc0")
child = os.fork()
if not child:
    try:
        socket.recv()
    except pypcapzc.PcapError as error:
        print(error, flush=True)
    socket.close()
    sys.exit()
os.waitpid(child, 0)
print("end", flush=True)
"""


def test_a_program_ends_with_sockets_open_and_so_does_its_child(net: Lab) -> None:
    with net.inside():
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ENDS],
            cwd=cli.ROOT,
            env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "end"
    assert "closed" in done.stdout
