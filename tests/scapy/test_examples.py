"""The examples in examples/scapy, each run as a user would."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.config import conf
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

import pypcapzc.scapy
from lab.netns import Lab
from lab.traffic import send_frames
from support import cli

PATIENCE = 30
FOLDER = cli.ROOT / "examples" / "scapy"
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inside(net: Lab) -> Iterator[Lab]:
    with net.inside():
        conf.ifaces.reload()
        yield net
    pypcapzc.scapy.disable()
    conf.ifaces.reload()


def sending(packets: list[Packet]) -> Any:
    return lambda: send_frames("zc1", [bytes(each) for each in packets])


@pytest.mark.netns
def test_dns_logger(inside: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [
        ETHER / IP(src="198.18.0.1", dst="198.18.0.2") / UDP(sport=5000, dport=53) / DNS(qd=DNSQR(qname=name))
        for name in ("one.test", "two.test")
    ]
    noise = ETHER / IP(src="198.18.0.1", dst="198.18.0.2") / UDP(sport=1, dport=2)
    example("dns_logger").main(
        "zc0",
        stop_filter=lambda p: b"two" in bytes(p),
        timeout=PATIENCE,
        started_callback=sending([questions[0], noise, questions[1]]),
    )
    output, errors = capsys.readouterr()
    assert [line.split()[1:] for line in output.splitlines()] == [
        ["198.18.0.1", "one.test."],
        ["198.18.0.1", "two.test."],
    ]
    assert errors == "2 questions, 0 of them lost\n"


@pytest.mark.netns
def test_arp_watch(inside: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    def claim(hardware: str) -> Packet:
        return ETHER / ARP(op=2, hwsrc=hardware, psrc="198.18.0.9", hwdst=hardware, pdst="198.18.0.9")

    claims = [claim("02:00:00:00:00:0a"), claim("02:00:00:00:00:0a"), claim("02:00:00:00:00:0b")]
    example("arp_watch").main("zc0", count=3, timeout=PATIENCE, started_callback=sending(claims))
    assert capsys.readouterr().out.splitlines() == [
        "198.18.0.9 is at 02:00:00:00:00:0a",
        "198.18.0.9 is at 02:00:00:00:00:0b, and was at 02:00:00:00:00:0a",
    ]


def segments(sport: int, dport: int, *pieces: bytes, back: bool = False) -> list[Packet]:
    ends = ("198.18.0.2", "198.18.0.1") if back else ("198.18.0.1", "198.18.0.2")
    seq, packets = 1000, []
    for piece in pieces:
        tcp = TCP(sport=sport, dport=dport, flags="PA", seq=seq)
        packets.append(ETHER / IP(src=ends[0], dst=ends[1]) / tcp / Raw(piece))
        seq += len(piece)
    return packets


@pytest.mark.netns
def test_http_credentials(inside: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    basic = (
        b"GET / HTTP/1.1\r\nHost: one.test\r\nAuthorization: Basic " + b64encode(b"ann:secret") + b"\r\n\r\n"
    )
    body = b"user=bob&password=secret"
    head = b"POST /in HTTP/1.1\r\nHost: two.test\r\nContent-Length: %d\r\n\r\n" % len(body)
    plain = b"GET / HTTP/1.1\r\nHost: three.test\r\n\r\n"
    packets = [
        *segments(40001, 80, basic[:40], basic[40:]),
        *segments(40002, 80, plain),
        *segments(40003, 80, head + body[:9], body[9:]),
    ]
    example("http_credentials").main("zc0", count=3, timeout=PATIENCE, started_callback=sending(packets))
    assert capsys.readouterr().out.splitlines() == [
        "198.18.0.1 logs in at one.test as ann, in clear text",
        "198.18.0.1 logs in at two.test as bob, in clear text",
    ]


def run(name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FOLDER / f"{name}.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.unit
def test_tcp_streams(tmp_path: Path) -> None:
    path = tmp_path / "http.pcap"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    with PcapWriter(str(path)) as writer:
        for packet in [
            *segments(40000, 80, b"GET /here HTTP/1.1\r\nHost: a", b".test\r\n\r\n"),
            *segments(80, 40000, answer[:30], answer[30:], back=True),
        ]:
            writer.write(packet)
    child = run("tcp_streams", str(path))
    output, errors = child.communicate(timeout=100)
    assert (child.returncode, errors) == (0, "")
    assert output == "GET /here\n    200 5 bytes\n"


@pytest.mark.netns
def test_service(inside: Lab) -> None:
    service = example("service")
    pypcapzc.scapy.enable()
    begun = threading.Event()
    counter = service.Counter("zc0", started_callback=begun.set)
    counter.start()
    assert begun.wait(PATIENCE)
    packets = [ETHER / IP(src=f"198.18.0.{n}", dst="198.18.1.1") / UDP() for n in (1, 2, 2, 3, 3, 3)]
    sending(packets)()
    deadline = time.monotonic() + PATIENCE
    while sum(counter.hosts.values()) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counter.busiest(2) == [("198.18.0.3", 3), ("198.18.0.2", 2)]
    assert counter.stop() == (6, 0)


@pytest.mark.netns
def test_service_ends_with_a_signal(inside: Lab) -> None:
    child = run("service", "zc0")
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "[]\n"  # after its first five seconds
        child.send_signal(signal.SIGTERM)
        output, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, errors) == (0, "")
    assert output.endswith("received 0, lost 0\n")
