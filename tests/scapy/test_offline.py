"""sniff(offline=...): the packets that scapy's own reader gives, in blocks."""

from __future__ import annotations

import gc
import gzip
import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.config import conf
from scapy.error import Scapy_Exception
from scapy.layers.http import HTTPRequest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.plist import PacketList
from scapy.sendrecv import AsyncSniffer, sniff
from scapy.sessions import IPSession, TCPSession
from scapy.utils import PcapNgWriter, PcapWriter

import pypcapzc.scapy
from pypcapzc.scapy.lazy import is_asleep

pytestmark = pytest.mark.unit

PATIENCE = 30
# Else scapy drops warnings that come soon after others from a line of the same number, in whatever file.
conf.warning_threshold = 0
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
ADDRESSES = IP(src="198.18.0.1", dst="198.18.0.2")


def made() -> list[Packet]:
    packets: list[Packet] = [ETHER / ADDRESSES / UDP(sport=n, dport=53) / Raw(bytes(n)) for n in range(1, 30)]
    packets += [ETHER / ARP(hwsrc="02:00:00:00:00:01", psrc="198.18.0.1", pdst="198.18.0.2")] * 3
    for number, packet in enumerate(packets):
        packet.time = 1_700_000_000 + number
    return packets


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "made.pcap"
    with PcapWriter(str(path), nano=True) as writer:
        for packet in made():
            writer.write(packet)
    return path


@pytest.fixture(autouse=True)
def _no_tcpdump(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("scapy called tcpdump")

    import scapy.sendrecv

    monkeypatch.setattr(scapy.sendrecv, "tcpdump", refuse)


@pytest.fixture
def enabled() -> Iterator[None]:
    with pypcapzc.scapy.enable():
        yield


def seen(packets: PacketList) -> list[Any]:
    return [
        (bytes(p), p.time, p.wirelen, p.sniffed_on, type(p.time), p.summary(), p.command()) for p in packets
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"count": 7}, {"lfilter": lambda p: ARP in p}, {"stop_filter": lambda p: UDP in p and p.sport == 9}],
)
def test_as_without_the_backend(file: Path, options: dict[str, Any]) -> None:
    for offline in (str(file), [str(file), str(file)], {str(file): "label"}):
        before = seen(sniff(offline=offline, **options))
        with pypcapzc.scapy.enable():
            packets = sniff(offline=offline, **options)
            if "count" in options or not options:
                assert all(map(is_asleep, packets))
            assert seen(packets) == before
            if not options:
                assert seen(sniff(0, True, offline)) == before
    assert before


def test_all_kinds_of_files(enabled: None, file: Path, tmp_path: Path) -> None:
    packed, other = tmp_path / "made.pcap.gz", tmp_path / "made.pcapng"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    with PcapNgWriter(str(other)) as writer:
        for packet in made():
            packet.comment = b"a remark"
            writer.write(packet)
    expected = [bytes(each) for each in made()]
    with open(file, "rb") as opened:
        for source in (str(packed), opened, io.BytesIO(file.read_bytes())):
            assert [bytes(each) for each in sniff(offline=source)] == expected
    remarks = {each.comment for each in sniff(offline=str(other))}
    assert remarks == {b"a remark"}
    assert len(sniff(offline=str(other), filter="arp")) == 3


def test_filters_by_libpcap(enabled: None, file: Path) -> None:
    assert [each.sport for each in sniff(offline=str(file), filter="udp src port 7 or udp src port 8")] == [
        7,
        8,
    ]
    packets = sniff(offline=made(), filter="arp")
    assert [bytes(each) for each in packets] == [bytes(each) for each in made()[-3:]]
    assert len(sniff(offline=made())) == 32
    with pytest.raises(Scapy_Exception, match=r"Cannot set filter: .*syntax error"):
        sniff(offline=str(file), filter="no such thing at all")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # by scapy's own reader
def test_files_that_cannot_be_read(
    enabled: None, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(FileNotFoundError):
        sniff(offline=str(tmp_path / "none.pcap"))
    text = tmp_path / "text"
    text.write_text("This is no savefile, and it is long enough to be looked at.")
    with pytest.raises(Scapy_Exception, match="Not a supported capture file"):
        sniff(offline=str(text))
    gc.collect()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(file.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING, "scapy"):
        packets = sniff(offline=str(cut))
    assert [bytes(each) for each in packets] == [bytes(each) for each in made()[:-1]]
    assert "all packets before this were read" in caplog.text


def test_a_pipe_without_packets_can_be_left(enabled: None, file: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    data = file.read_bytes()
    first = threading.Event()
    sniffer = AsyncSniffer(offline=str(fifo), prn=lambda p: first.set())
    sniffer.start()
    with open(fifo, "wb", buffering=0) as pipe:
        pipe.write(data[:200])
        assert first.wait(PATIENCE)
        sniffer.stop()
    assert sniffer.results is not None
    assert [bytes(each) for each in sniffer.results] == [
        bytes(each) for each in made()[: len(sniffer.results)]
    ]
    assert len(sniffer.results) >= 1


def conversation(request: bytes) -> list[Packet]:
    """A TCP connection whose request comes in pieces."""
    there = ETHER / ADDRESSES
    pieces = [request[:25], request[25:35], request[35:]]
    packets = [there / TCP(sport=40000, dport=80, flags="S", seq=99)]
    seq = 100
    for piece in pieces:
        packets.append(there / TCP(sport=40000, dport=80, flags="PA", seq=seq) / Raw(piece))
        seq += len(piece)
    return [*packets, there / TCP(sport=40000, dport=80, flags="FA", seq=seq)]


def fragments() -> list[Packet]:
    whole: Any = ADDRESSES / UDP(sport=1, dport=2) / Raw(bytes(3000))
    return [ETHER / each for each in whole.fragment(600)]


@pytest.mark.parametrize(
    ("session", "packets", "holds"),
    [
        (TCPSession, lambda: conversation(b"GET /here HTTP/1.1\r\nHost: example.test\r\n\r\n"), HTTPRequest),
        (IPSession, fragments, Raw),
    ],
    ids=["TCPSession", "IPSession"],
)
def test_sessions_of_scapy(
    tmp_path: Path, session: Any, packets: Callable[[], list[Packet]], holds: type[Packet]
) -> None:
    path = tmp_path / "session.pcap"
    with PcapWriter(str(path)) as writer:
        for packet in packets():
            writer.write(packet)
    before = [bytes(each) for each in sniff(offline=str(path), session=session)]
    with pypcapzc.scapy.enable():
        found = sniff(offline=str(path), session=session)
    assert [bytes(each) for each in found] == before
    assert any(holds in each for each in found)
