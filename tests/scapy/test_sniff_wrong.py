"""sniff() on a live device when something goes wrong, or ends."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from scapy.config import conf
from scapy.error import Scapy_Exception
from scapy.packet import Packet
from scapy.sendrecv import sniff
from scapy.sessions import DefaultSession
from scapy.supersocket import SuperSocket

import pypcapzc.scapy
from lab import frames
from lab.netns import Lab
from lab.traffic import Sender
from pypcapzc.scapy import ZeroCopyListenSocket
from pypcapzc.scapy.lazy import is_asleep
from support import captures, cli, simulated
from support.sniffing import PATIENCE, TAKES_FROM_SOCKETS, numbers, sent_while

pytestmark = pytest.mark.netns


def test_a_filter_that_fails(enabled: Lab) -> None:
    with pytest.raises(Scapy_Exception, match=r"Cannot set filter: .*syntax error"):
        sniff(iface="zc0", filter="no such thing at all")


def test_no_such_device(enabled: Lab) -> None:
    with pytest.raises((ValueError, OSError), match="zc9"):  # scapy before 2.6 does not look in its list
        sniff(iface="zc9")
    with pytest.raises(OSError, match="no such device: zc9") as caught:
        ZeroCopyListenSocket(iface="zc9")
    assert caught.value.errno == 19


def test_an_interface_that_vanishes(enabled: Lab, sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    socket = ZeroCopyListenSocket(iface="zc0")

    def started() -> None:
        sender.send(50)
        captures.until_received(socket, 50)
        (simulated.control().remove_interface if simulated.ACTIVE else lambda _: enabled.remove_devices())(
            "zc0"
        )

    with caplog.at_level(logging.WARNING, "scapy"):
        packets = sniff(opened_socket=socket, started_callback=started, timeout=PATIENCE)
    assert numbers(packets) == list(range(50))
    assert "failed with 'zc0: The interface disappeared'. It was closed." in caplog.text


def test_prn_that_raises(enabled: Lab, sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    """scapy says so, closes the socket, and gives what it has; before 2.6 it does not catch it."""

    def prn(packet: Packet) -> None:
        if frames.sequence_of(bytes(packet)) == 3:
            raise RuntimeError("I do not like this packet")

    if not TAKES_FROM_SOCKETS:
        with pytest.raises(RuntimeError, match="I do not like this packet"):
            sent_while(sender, 10, prn=prn)
        return
    with caplog.at_level(logging.WARNING, "scapy"):
        assert numbers(sent_while(sender, 10, prn=prn)) == [0, 1, 2, 3]
    assert "failed with 'I do not like this packet'. It was closed." in caplog.text


@pytest.mark.skipif(not TAKES_FROM_SOCKETS, reason="sessions of scapy before 2.6 do not ask sockets")
def test_a_session_that_misbehaves(enabled: Lab, sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(DefaultSession):
        def recv(self, sock: SuperSocket) -> Any:
            packet = sock.recv()
            if frames.sequence_of(bytes(packet or b"")) == 3:
                raise RuntimeError("I do not like this packet")
            yield packet

    class Deaf(DefaultSession):
        """Takes nothing from a socket that is ready."""

        asked = 0

        def recv(self, sock: SuperSocket) -> Any:
            self.asked += 1
            return iter(()) if self.asked < 100 else super().recv(sock)

    with caplog.at_level(logging.WARNING, "scapy"):
        assert numbers(sent_while(sender, 10, session=Failing)) == [0, 1, 2]
    assert "failed with 'I do not like this packet'. It was closed." in caplog.text
    assert numbers(sent_while(sender, 5, session=Deaf, count=5)) == [10, 11, 12, 13, 14]


def test_a_socket_that_is_closed_under_a_sniffer(
    enabled: Lab, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    socket = ZeroCopyListenSocket(iface="zc0")
    with caplog.at_level(logging.WARNING, "scapy"):
        packets = sent_while(sender, 10, iface=None, opened_socket=socket, prn=lambda p: socket.close())
    assert numbers(packets) == [0]
    with pytest.raises(OSError, match="closed"):
        socket.recv()
    assert socket.fileno() == -1


_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import pypcapzc.scapy
import scapy.layers.l2
from scapy.sendrecv import sniff
pypcapzc.scapy.enable()
print(len(sniff(iface="zc0", started_callback=lambda: print("ready", flush=True), timeout=60)), "packets")
"""


@simulated.linux_only
def test_ctrl_c(enabled: Lab, sender: Sender) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED],
        cwd=cli.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        if child.stdout.readline() == "ready\n":
            sender.send(7)
            time.sleep(0.3)  # longer than packets are held back
            child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, errors) == (0, "")
    assert output == "7 packets\n"


def test_sockets_that_are_open_stay_as_they_are(net: Lab) -> None:
    with net.inside():
        conf.ifaces.reload()
        theirs: Any = conf.L2listen(iface="zc0")
        with theirs:
            with pypcapzc.scapy.enable():
                with Sender(net.send_device) as outlet:
                    outlet.send(1)
                packet = theirs.recv()
                assert packet is not None
                assert numbers([packet]) == [0]
                ours: Any = conf.L2listen(iface="zc0")
            with ours, Sender(net.send_device) as outlet:
                outlet.send(1)
                packet = ours.recv()
                assert packet is not None
                assert is_asleep(packet)
