"""sniff() on a live device: what its arguments do, as with scapy's own sockets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.config import conf
from scapy.data import ETH_P_ARP
from scapy.error import Scapy_Exception
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.sendrecv import AsyncSniffer, bridge_and_sniff, sendp, sniff, srp
from scapy.sessions import DefaultSession
from scapy.supersocket import SuperSocket
from scapy.utils import EDecimal

from lab import frames
from lab.netns import Lab
from lab.traffic import Sender, send_frames, send_loopback
from pypcapzc.scapy import ZeroCopyListenSocket, ZeroCopySocket
from pypcapzc.scapy.lazy import is_asleep
from support import simulated
from support.sniffing import PATIENCE, TAKES_FROM_SOCKETS, numbers, sent_while

pytestmark = pytest.mark.netns

ARP_REQUEST = bytes(
    Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")
    / ARP(hwsrc="02:00:00:00:00:01", psrc="198.18.0.1", pdst="198.18.0.2")
)


@pytest.fixture
def seen(enabled: Lab) -> Iterator[Sender]:
    """What this one sends, captures on its own device see too."""
    with Sender(enabled.send_device, qdisc_bypass=False) as outlet:
        yield outlet


# --- the arguments of sniff() --------------------------------------------------------------------


def test_count_and_what_is_known_of_a_packet(enabled: Lab, sender: Sender) -> None:
    before = time.time()
    packets = sent_while(sender, 300, count=200)
    assert numbers(packets) == list(range(200))
    assert all(is_asleep(each) for each in packets)
    assert bytes(packets[7]) == frames.expected(7, 64)
    assert {each.sniffed_on for each in packets} == {"zc0"}
    assert {each.wirelen for each in packets} == {64}
    times = [each.time for each in packets]
    assert all(isinstance(each, EDecimal) for each in times)
    assert times == sorted(times)
    assert before - 1 < times[0] < time.time() + 1
    assert any(each * 1_000_000 % 1 for each in times)  # more than microseconds
    assert packets[0][UDP].sport == 40001


def test_prn_lfilter_and_no_store(enabled: Lab, sender: Sender, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def prn(packet: Packet) -> str | None:
        seen.append(frames.sequence_of(bytes(packet)))
        return "five" if seen[-1] == 5 else None

    packets = sent_while(
        sender, 40, prn=prn, lfilter=lambda p: frames.sequence_of(bytes(p)) % 5 == 0, store=False, count=8
    )
    assert len(packets) == 0
    assert seen == list(range(0, 40, 5))
    assert capsys.readouterr().out == "five\n"


def test_stop_filter_ends_it_after_that_packet(enabled: Lab, sender: Sender) -> None:
    packets = sent_while(sender, 100, stop_filter=lambda p: frames.sequence_of(bytes(p)) == 30)
    assert numbers(packets) == list(range(31))


def test_prn_that_stops_the_sniffer_gets_no_further_packet(enabled: Lab, sender: Sender) -> None:
    seen: list[Packet] = []

    def prn(packet: Packet) -> None:
        seen.append(packet)
        sniffer.stop(join=False)

    sniffer = AsyncSniffer(iface="zc0", prn=prn, started_callback=lambda: sender.send(100))
    sniffer.start()
    sniffer.join(PATIENCE)
    assert numbers(seen) == [0]


def test_filters_of_the_call_of_conf_and_of_the_protocol(
    enabled: Lab, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert numbers(sent_while(sender, 50, filter="udp[14:2] >= 40", count=10)) == list(range(40, 50))
    with monkeypatch.context() as patch:
        patch.setattr(conf, "except_filter", "udp[14:2] < 60")
        assert numbers(sent_while(sender, 50, filter="udp", count=40)) == list(range(60, 100))
        assert numbers(sent_while(sender, 10, nofilter=1, count=10)) == list(range(100, 110))
    with ZeroCopyListenSocket(iface="zc0", type=ETH_P_ARP) as socket:
        send_frames("zc1", [frames.expected(1, 64), ARP_REQUEST])
        packet = socket.recv()
        assert packet is not None
        assert ARP in packet


def test_lists_and_labels_of_interfaces(seen: Sender) -> None:
    for iface, labels in (
        (["zc0", "zc1"], {"zc0", "zc1"}),
        ({"zc0": "here", "zc1": "there"}, {"here", "there"}),
    ):
        packets = sent_while(seen, 20, iface=iface, count=40)
        assert len(packets) == 40
        assert {each.sniffed_on for each in packets} == labels
        assert packets.capture_stats.received == 40


def test_timeout_with_no_traffic(enabled: Lab) -> None:
    began = time.monotonic()
    packets = sniff(iface="zc0", timeout=0.3)
    assert len(packets) == 0
    assert 0.3 <= time.monotonic() - began < PATIENCE
    assert packets.capture_stats.received == 0


def test_timeout_while_packets_keep_coming(enabled: Lab, sender: Sender) -> None:
    """prn sends the next packet: it never runs out of them."""
    began = time.monotonic()
    sent_while(sender, 100, prn=lambda p: sender.send(1) and None, timeout=0.5, store=False)
    assert 0.5 <= time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("kind", [ZeroCopyListenSocket, ZeroCopySocket])
def test_stop_on_an_idle_link_within_200_ms(enabled: Lab, kind: type[SuperSocket]) -> None:
    took = []
    for _ in range(5):
        begun = threading.Event()
        with kind(iface="zc0") as socket:
            sniffer = AsyncSniffer(opened_socket=socket, started_callback=begun.set)
            sniffer.start()
            assert begun.wait(PATIENCE)
            time.sleep(0.05)  # now it waits for packets
            stopper = threading.Thread(target=sniffer.stop)
            began = time.monotonic()
            stopper.start()
            stopper.join(PATIENCE)
            took.append(time.monotonic() - began)
            assert not sniffer.running
        if took[-1] < 0.2:
            break
    assert min(took) < 0.2


def test_stop_at_once(enabled: Lab) -> None:
    """Also where scapy has not begun to sniff when it is told to stop."""
    begun = threading.Event()

    def started() -> None:
        sniffer.stop(join=False)
        begun.set()

    sniffer = AsyncSniffer(iface="zc0", started_callback=started)
    sniffer.start()
    sniffer.join(PATIENCE)
    assert sniffer.thread is not None
    assert not sniffer.thread.is_alive()
    assert begun.is_set()


def test_sniffers_beside_each_other_and_within_prn(enabled: Lab, sender: Sender) -> None:
    outer = AsyncSniffer(iface="zc0", count=3)
    ready = threading.Event()
    outer.kwargs["started_callback"] = ready.set
    outer.start()
    assert ready.wait(PATIENCE)
    inner: list[Packet] = []

    def prn(packet: Packet) -> None:
        inner.extend(sent_while(sender, 2, count=2))

    packets = sent_while(sender, 1, count=1, prn=prn)
    outer.join(PATIENCE)
    assert (numbers(packets), numbers(inner)) == ([0], [1, 2])
    assert numbers(outer.results) == [0, 1, 2]
    assert packets.capture_stats.received >= 1


def test_stats_of_the_kernel(enabled: Lab, sender: Sender) -> None:
    packets = sent_while(sender, 500, count=500)
    assert packets.capture_stats.received == 500
    assert packets.capture_stats.dropped == 0
    with ZeroCopyListenSocket(iface="zc0") as socket:
        sender.send(10)
        while socket.stats().received < 10:
            time.sleep(0.01)
    assert socket.stats().received == 10


def test_options_for_one_socket(enabled: Lab, sender: Sender) -> None:
    packets = sent_while(sender, 3, snaplen=40, lazy=False, immediate=True, buffer_size=1 << 20, count=3)
    assert {(len(each), each.wirelen, is_asleep(each)) for each in packets} == {(40, 64, False)}
    with pytest.raises(ValueError, match="snaplen"):
        sniff(iface="zc0", snaplen=0)
    with pytest.raises(TypeError):
        sniff(iface="zc0", colour="red")


@simulated.linux_only
def test_the_default_buffer_has_many_blocks(enabled: Lab) -> None:
    """One that is handed over before it is full counts as full: a slow prn may take so many timeouts."""
    with ZeroCopyListenSocket(iface="zc0") as socket:
        use = socket.ins.zero_copy
    assert (use.block_count, use.block_size) in ((240, 256 << 10), (0, 0))  # 0: libpcap does not tell


@simulated.linux_only
def test_a_burst_of_100_000_frames_and_a_prn_that_does_not_return(enabled: Lab, sender: Sender) -> None:
    """All frames are sent while prn is at the first: what is there then is in the kernel's buffer."""
    seen = 0

    def prn(packet: Packet) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            sender.send(100_000)

    packets = sent_while(sender, 1, prn=prn, store=False, count=100_001)
    assert seen == 100_001
    assert packets.capture_stats.dropped == 0


@pytest.mark.skipif(not simulated.ACTIVE, reason="about kernels that grant less than the default")
def test_a_burst_that_the_kernel_has_no_room_for(enabled: Lab, sender: Sender) -> None:
    """It takes ten times as much as the largest buffers, and packets are taken while prn is at the first."""
    chunk, seen, begun = 10_000, 0, threading.Event()
    with ZeroCopyListenSocket(iface="zc0") as socket:

        def prn(packet: Packet) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                for sent in range(chunk, 100_000 + chunk, chunk):
                    sender.send(chunk)
                    give_up = time.monotonic() + PATIENCE
                    while socket.taken < sent and time.monotonic() < give_up:
                        time.sleep(0.01)

        sniffer = AsyncSniffer(
            opened_socket=socket, prn=prn, store=False, count=100_001, started_callback=begun.set
        )
        sniffer.start()
        assert begun.wait(PATIENCE)
        sender.send(1)
        sniffer.join(4 * PATIENCE)  # ten waits, and as many packets
        assert seen == 100_001
        assert socket.stats().dropped == 0


def test_sessions(enabled: Lab, sender: Sender) -> None:
    class Odd(DefaultSession):
        def process(self, pkt: Packet) -> Packet | None:
            return pkt if frames.sequence_of(bytes(pkt)) % 2 else None

    class Double(DefaultSession):
        def recv(self, sock: SuperSocket) -> Any:
            packet = sock.recv()
            if packet is not None:
                yield packet
                yield packet.copy()

    class Old(DefaultSession):
        def on_packet_received(self, pkt: Packet) -> None:
            if frames.sequence_of(bytes(pkt)) % 2:
                super().on_packet_received(pkt)  # type: ignore[misc]

    session = Odd if TAKES_FROM_SOCKETS else Old
    assert numbers(sent_while(sender, 20, session=session, count=10)) == list(range(1, 20, 2))
    if TAKES_FROM_SOCKETS:
        assert numbers(sent_while(sender, 3, session=Double(), count=6)) == [20, 20, 21, 21, 22, 22]


# --- devices -------------------------------------------------------------------------------------


@simulated.linux_only
def test_loopback(enabled: Lab) -> None:
    packets = sniff(
        iface="lo", filter="udp", count=5, timeout=PATIENCE, started_callback=lambda: send_loopback(5)
    )
    assert [each[IP].dst for each in packets] == ["127.0.0.1"] * 5


@simulated.linux_only
def test_any(seen: Sender) -> None:
    packets = sent_while(seen, 5, iface="any", filter="udp", count=10)
    assert {type(each).__name__ for each in packets} == {"CookedLinux"}
    assert all(each[UDP].sport == 40001 for each in packets)


def test_vlan_tags_are_where_they_were(enabled: Lab) -> None:
    """Linux takes them off before anybody captures."""
    tagged = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=42) / IP() / UDP(dport=9)
    packets = sniff(
        iface="zc0",
        filter="vlan 42",
        count=1,
        timeout=PATIENCE,
        started_callback=lambda: send_frames("zc1", [bytes(tagged)]),
    )
    assert [bytes(each) for each in packets] == [bytes(tagged)]
    assert (packets[0][Dot1Q].vlan, packets[0][UDP].dport) == (42, 9)


def test_a_link_layer_type_that_scapy_has_no_class_for(
    enabled: Lab, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(conf.l2types.num2layer, 1)
    monkeypatch.setattr(conf, "default_l2", IP)
    with caplog.at_level(logging.WARNING, "scapy"):
        packets = sent_while(sender, 3, count=3)
    assert [bytes(each) for each in packets] == [frames.expected(n, 64) for n in range(3)]
    assert "Unable to guess datalink type (interface=zc0 linktype=1). Using IP" in caplog.text


def test_monitor_mode_that_a_device_has_not(
    enabled: Lab, sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "scapy"):
        assert numbers(sent_while(sender, 3, monitor=True, count=3)) == [0, 1, 2]
    assert "monitor mode" in caplog.text


# --- sockets -------------------------------------------------------------------------------------


def test_select_knows_of_packets_at_hand(enabled: Lab, sender: Sender) -> None:
    with ZeroCopyListenSocket(iface="zc0") as socket:
        assert socket.select([socket], 0) == []
        assert socket.nonblock_recv() is None
        sender.send(3)
        for left in (2, 1, 0):
            for select in (socket.select, SuperSocket.select):
                assert select([socket], PATIENCE) == [socket]
            assert socket.recv() is not None
            if not simulated.ACTIVE:  # where a thread takes packets as they come, each may be one of its own
                assert socket.left == left
        assert socket.select([socket], 0) == []
        if not simulated.ACTIVE:  # a BPF descriptor is readable when its read timeout has passed, too
            assert SuperSocket.select([socket], 0) == []


@simulated.linux_only
@pytest.mark.parametrize("ours_first", [True, False])
def test_beside_sockets_of_scapy_itself(
    seen: Sender, caplog: pytest.LogCaptureFixture, ours_first: bool
) -> None:
    from scapy.arch.linux import L2ListenSocket

    with L2ListenSocket(iface="zc1") as theirs, ZeroCopyListenSocket(iface="zc0") as ours:
        sockets = [ours, theirs] if ours_first else [theirs, ours]
        with caplog.at_level(logging.WARNING, "scapy"):
            packets = sent_while(seen, 20, iface=None, opened_socket=sockets, count=40)
        assert len(packets) == 40
        for label in ("socket0", "socket1"):
            assert numbers(p for p in packets if p.sniffed_on == label) == list(range(20))
        assert not caplog.text
        # What is at hand after the end is for the next one.
        seen.send(5)
        assert numbers(sniff(opened_socket=ours, count=2, timeout=PATIENCE)) == [20, 21]
        assert numbers(ours.sniff(count=3, timeout=PATIENCE)) == [22, 23, 24]


def answer(packet: Packet) -> Packet:
    return Ether(src="02:00:00:00:00:02", dst=packet.src) / ARP(
        op=2, hwsrc="02:00:00:00:00:02", psrc=packet.pdst, hwdst=packet.hwsrc, pdst=packet.psrc
    )


@pytest.mark.parametrize("threaded", [True, False])
def test_srp(enabled: Lab, threaded: bool) -> None:
    begun = threading.Event()
    with ZeroCopySocket(iface="zc1") as there:
        responder = AsyncSniffer(
            opened_socket=there, prn=lambda p: there.send(answer(p)) and None, started_callback=begun.set
        )
        responder.start()
        assert begun.wait(PATIENCE)
        asked = [Ether(ARP_REQUEST)[ARP].copy() for _ in range(3)]
        for number, each in enumerate(asked):
            each.pdst = f"198.18.0.{10 + number}"
        requests = [Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / each for each in asked]
        answered, unanswered = srp(requests, iface="zc0", timeout=PATIENCE, verbose=0, threaded=threaded)
        responder.stop()
    assert len(unanswered) == 0
    assert [got.psrc for _, got in answered] == ["198.18.0.10", "198.18.0.11", "198.18.0.12"]
    assert all(float(got.time) >= float(sent.sent_time or 0) - 1 for sent, got in answered)


def test_what_a_socket_sends(enabled: Lab) -> None:
    with ZeroCopySocket(iface="zc1") as here, ZeroCopyListenSocket(iface="zc0") as there:
        packet = Ether(ARP_REQUEST)
        assert here.send(packet) == len(ARP_REQUEST)
        assert packet.sent_time is not None
        assert here.send(frames.expected(1, 64)) == 64
        assert [bytes(there.recv() or b"") for _ in range(2)] == [ARP_REQUEST, frames.expected(1, 64)]
        assert here.nonblock_recv() is None  # it does not hear itself
        with pytest.raises(OSError, match=r"(?i)too long"):
            here.send(bytes(70_000))
        with pytest.raises(Scapy_Exception, match="Can't send anything with ZeroCopyListenSocket"):
            there.send(packet)
    with pytest.raises(OSError, match="closed"):
        here.send(packet)


def test_sendp(enabled: Lab) -> None:
    with ZeroCopyListenSocket(iface="zc0") as there:
        sendp(Ether(ARP_REQUEST), iface="zc1", count=3, verbose=0)
        assert [bytes(there.recv() or b"") for _ in range(3)] == [ARP_REQUEST] * 3


@simulated.linux_only
def test_bridge_and_sniff(enabled: Lab, sender: Sender) -> None:
    enabled.ip("link", "add", "zc2", "type", "veth", "peer", "name", "zc3")
    for device in ("zc2", "zc3"):
        enabled.ip("link", "set", device, "up")
    conf.ifaces.reload()
    with ZeroCopyListenSocket(iface="zc3") as far:
        packets = bridge_and_sniff(
            "zc0", "zc2", count=20, timeout=PATIENCE, started_callback=lambda: sender.send(20)
        )
        assert numbers(packets) == list(range(20))
        assert numbers(far.recv() for _ in range(20)) == list(range(20))


def test_recv_raw_and_a_socket_of_ones_own(enabled: Lab, sender: Sender) -> None:
    class Shouting(ZeroCopyListenSocket):
        def recv_raw(self, x: int = 0xFFFF) -> Any:
            cls, data, when = super().recv_raw(x)
            return cls, data and data[:12] + b"\x12\x34" + data[14:], when

    with ZeroCopyListenSocket(iface="zc0") as socket, Shouting(iface="zc0") as loud:
        sender.send(2)
        cls, data, when = socket.recv_raw()
        assert (cls, data) == (Ether, frames.expected(0, 64))
        assert isinstance(when, EDecimal)
        short = socket.recv(20)
        assert short is not None
        assert bytes(short) == frames.expected(1, 64)[:20]
        packet = loud.recv()
        assert packet is not None
        assert packet.type == 0x1234
        assert abs(float(packet.time) - float(when)) < 1  # BPF notes the time for each descriptor
