"""Lazy packets: what needs no dissection, what packets become, and what may go wrong in between."""

from __future__ import annotations

import decimal
import gc
import importlib
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.config import conf
from scapy.fields import ByteField, StrField
from scapy.layers.dot11 import RadioTap
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import LLC, CookedLinux, Dot3, Ether, Loopback
from scapy.packet import Packet, Raw, bind_layers, split_layers
from scapy.utils import EDecimal, rdpcap, wrpcap

import pypcapzc.scapy.lazy as lazy_module
from pypcapzc.scapy.lazy import is_asleep, packet_maker, seconds

pytestmark = pytest.mark.unit

TS_NS = 1_700_000_000_123_456_789
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
INTERNET = IP(src="192.0.2.1", dst="192.0.2.2")
FRAME = bytes(ETHERNET / INTERNET / UDP(sport=40000, dport=40001) / (b"x" * 22))


def lazy(data: bytes = FRAME, cls: type[Packet] = Ether, wirelen: int | None = None) -> Packet:
    return packet_maker(cls)(data, TS_NS, len(data) if wirelen is None else wirelen, "eth0", None)


@pytest.fixture
def dissected(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bytes of all Ethernet frames that scapy has dissected since."""
    seen: list[bytes] = []
    dissect = Ether.dissect

    def noting(self: Packet, data: bytes) -> None:
        seen.append(data)
        dissect(self, data)

    monkeypatch.setattr(Ether, "dissect", noting)
    return seen


def test_what_needs_no_dissection(dissected: list[bytes], tmp_path: Path) -> None:
    packet = lazy(wirelen=1400)
    assert (bytes(packet), len(packet), bool(packet)) == (FRAME, 64, True)
    assert packet.time == EDecimal("1700000000.123456789")
    assert (packet.wirelen, packet.sniffed_on, packet.direction, packet.sent_time) == (
        1400,
        "eth0",
        None,
        None,
    )
    packet.sniffed_on, packet.sent_time = "eth1", 5.0
    assert (packet.sniffed_on, packet.sent_time) == ("eth1", 5.0)
    assert isinstance(packet, Ether)
    assert packet.__class__ is Ether
    assert not isinstance(packet, IP)
    wrpcap(str(tmp_path / "written.pcap"), [packet, packet], nano=True)
    assert is_asleep(packet)
    assert not dissected

    (read, _) = rdpcap(str(tmp_path / "written.pcap"))
    assert (bytes(read), read.time, read.wirelen) == (FRAME, packet.time, 1400)
    dissected.clear()
    assert packet[IP].src == "192.0.2.1"
    assert packet[UDP].dport == 40001
    assert dissected == [FRAME]
    assert type(packet) is Ether


def test_what_was_noted_stays_noted() -> None:
    packet = lazy(wirelen=1400)
    packet.time, packet.direction, packet.process_information = 5.5, 4, {"pid": 1}
    packet.sniffed_on = None
    assert packet.ttl == 64
    assert (packet.time, packet.direction, packet.sniffed_on, packet.wirelen) == (5.5, 4, None, 1400)
    assert packet.process_information == {"pid": 1}


@pytest.mark.parametrize("ts_ns", [0, 1, 999_999_999, 1_000_000_000, TS_NS, 2**63 - 1])
def test_times_are_exact_in_any_context(ts_ns: int) -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        found = seconds(ts_ns)
    assert isinstance(found, EDecimal)
    assert decimal.Decimal(found) == decimal.Decimal(ts_ns).scaleb(-9)
    assert int(found.scaleb(9)) == ts_ns


def test_the_type_stands_for_the_real_one() -> None:
    packet = lazy()
    known = len(conf.layers)
    assert type(packet) == Ether  # noqa: E721  `is` would say no, which docs/scapy-packets.md says
    assert Ether == type(packet)  # noqa: E721
    assert not type(packet) == IP  # type: ignore[comparison-overlap]  # noqa: E721, SIM201
    assert type(packet) != IP  # type: ignore[comparison-overlap]  # noqa: E721
    assert {Ether: 1}[type(packet)] == 1
    assert conf.l2types.get(type(packet), None) == 1
    assert isinstance(Ether(), type(packet))
    assert issubclass(Ether, type(packet))
    assert type(type(packet)()) is Ether
    assert is_asleep(packet)
    assert len(conf.layers) == known


def test_a_class_attribute_is_set_on_the_real_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(lazy()), "show_indent", 7)
    assert Ether.show_indent == 7


@pytest.mark.parametrize(
    ("cls", "data", "becomes", "sleeps"),
    [
        (Ether, bytes(Dot3(dst=ETHERNET.dst, src=ETHERNET.src) / LLC() / Raw(b"abc")), Dot3, True),
        (Ether, FRAME[:14], Ether, True),
        (Ether, FRAME[:20], Ether, True),
        (Ether, FRAME[:13], Raw, False),
        (Ether, b"", Ether, False),
        (CookedLinux, bytes(CookedLinux() / INTERNET), CookedLinux, True),
        (CookedLinux, b"abc", Raw, False),
        (Loopback, bytes(Loopback() / INTERNET), Loopback, True),
        (conf.l2types[12], bytes(INTERNET / TCP()), IP, True),
        (conf.l2types[12], b"\x60" + b"abc" * 20, conf.l2types[31], True),
        (IP, bytes(INTERNET / TCP()), IP, True),
        (conf.l2types[31], bytes(IPv6(src="::1", dst="::2", nh=43) / b"ab"), Raw, True),
        (RadioTap, bytes(RadioTap() / b"abc"), RadioTap, True),
        (RadioTap, b"\x00\x00\xff", Raw, True),
        (Raw, b"abc", Raw, True),
    ],
    ids=str,
)
def test_the_class_is_what_scapy_makes(cls: Any, data: bytes, becomes: type[Packet], sleeps: bool) -> None:
    packet = lazy(data, cls)
    assert is_asleep(packet) == sleeps
    assert isinstance(packet, becomes)
    assert packet.__class__ is becomes
    packet.summary()
    assert type(packet) is becomes
    assert bytes(packet) == data or not data


@pytest.mark.parametrize("name", lazy_module._HEADER_BYTES)
def test_a_first_header_that_is_whole_does_not_fail(name: str) -> None:
    """What lets a packet say its class before it has been dissected."""
    module, _, cls_name = name.rpartition(".")
    cls = getattr(importlib.import_module(module), cls_name, None)
    if cls is None:
        pytest.skip(f"this scapy has no {cls_name}")
    source = random.Random(7)
    for _ in range(200):
        data = source.randbytes(lazy_module._HEADER_BYTES[name] + source.choice((0, 1, 2, 5, 10, 30)))
        made = cls.__new__(cls)
        made.__init__(data)
        assert made.original == data


def test_layers_that_are_bound_before_the_first_look_count() -> None:
    class Late(Packet):
        fields_desc = [StrField("load", b"")]  # noqa: RUF012  as scapy's are

    packet = lazy()
    bind_layers(UDP, Late, dport=40001)
    try:
        assert Late in packet
    finally:
        split_layers(UDP, Late, dport=40001)


def test_filtered_layers_count_when_the_packet_is_taken() -> None:
    conf.layers.filter([Ether, IP])
    try:
        packet = lazy()
    finally:
        conf.layers.unfilter()
    assert UDP not in packet
    assert packet[IP].payload.load[:4] == FRAME[34:38]
    assert UDP in lazy()


def test_scapy_may_drop_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "padding", 0)
    padded = FRAME + b"padding"
    assert bytes(lazy(padded)) == FRAME
    assert len(lazy(padded)) == len(FRAME)


def test_a_dissector_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Packet, data: bytes) -> bytes:
        raise ValueError("a dissector's bug")

    monkeypatch.setattr(IP, "pre_dissect", fail)
    packet = lazy()
    assert type(packet.payload) is Raw
    assert bytes(packet) == FRAME


def test_the_first_dissector_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ether lies in memory otherwise than Raw: what is known to be one remains one, and keeps its bytes."""

    def fail(self: Packet, data: bytes) -> bytes:
        raise ValueError("a bug in somebody's override")

    monkeypatch.setattr(Ether, "pre_dissect", fail)
    packet = lazy()
    assert type(packet.payload) is Raw
    assert type(packet) is Ether
    assert bytes(packet) == FRAME
    assert packet.payload.underlayer is packet
    cooked = lazy(bytes(CookedLinux() / INTERNET), CookedLinux)
    monkeypatch.setattr(CookedLinux, "pre_dissect", fail)
    assert cooked.load == bytes(CookedLinux() / INTERNET)
    assert type(cooked) is Raw


def test_debugging_dissectors(monkeypatch: pytest.MonkeyPatch) -> None:
    from scapy.sendrecv import debug

    def fail(self: Packet, data: bytes) -> bytes:
        raise ValueError("a dissector's bug")

    packet = lazy()
    with monkeypatch.context() as broken:
        broken.setattr(Ether, "pre_dissect", fail)
        broken.setattr(conf, "debug_dissector", 1)
        with pytest.raises(ValueError, match="bug"):
            lazy()  # at once, as scapy's sockets do
        assert debug.crashed_on == (Ether, FRAME)
        with pytest.raises(ValueError, match="bug"):
            packet.summary()
        assert is_asleep(packet)
    assert UDP in packet


def test_an_interrupted_dissection_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Packet, data: bytes) -> bytes:
        raise KeyboardInterrupt

    packet = lazy()
    with monkeypatch.context() as interrupted:
        interrupted.setattr(UDP, "pre_dissect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            packet.show()
        assert is_asleep(packet)
    assert packet[UDP].sport == 40000


def test_the_clone_that_iterating_gives(dissected: list[bytes]) -> None:
    packet = lazy(wirelen=1400)
    packet.sent_time = 5.0
    (clone,) = packet
    (expected,) = packet_maker(Ether, lazy=False)(FRAME, TS_NS, 1400, "eth0", None)
    dissected.clear()
    assert is_asleep(packet)
    assert is_asleep(clone)
    assert clone is not packet
    for note in ("time", "wirelen", "sniffed_on", "sent_time", "direction"):
        assert getattr(clone, note) == getattr(expected, note)
    assert clone[IP].ttl == 64
    assert not is_asleep(packet)
    assert dissected == [FRAME]

    packet = lazy()
    (clone,) = packet
    packet[IP].ttl = 9
    assert clone[IP].ttl == 64
    assert bytes(clone) == FRAME


def test_nothing_of_the_dissection_is_left_over() -> None:
    data = bytes(bytearray(FRAME))  # of this packet alone
    packet = lazy(data)
    assert packet[UDP].underlayer.underlayer is packet
    assert not hasattr(packet, "_pkt")
    gone = weakref.ref(packet)
    packets = [other for other in gc.get_objects() if type(other) is Ether]
    found = [other for other in packets if other.original is data]
    assert found == [packet]
    del packet, packets, found
    gc.collect()
    assert gone() is None


def test_pickled_for_another_program() -> None:
    code = """
import pickle, sys, scapy.layers.inet
packet = pickle.load(sys.stdin.buffer)
print(packet.summary(), packet.time, packet.wirelen)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=pickle.dumps(lazy(wirelen=1400)),
        capture_output=True,
        check=True,
    )
    expected = "Ether / IP / UDP 192.0.2.1:40000 > 192.0.2.2:40001 / Raw 1700000000.123456789 1400"
    assert done.stdout.decode().strip() == expected


def test_not_lazy(dissected: list[bytes]) -> None:
    packet = packet_maker(Ether, lazy=False)(FRAME, TS_NS, 1400, "eth0", 4)
    assert type(packet) is Ether
    assert dissected == [FRAME]
    assert (packet.time, packet.wirelen, packet.sniffed_on, packet.direction) == (
        seconds(TS_NS),
        1400,
        "eth0",
        4,
    )


@pytest.mark.skipif(
    "stop_dissection_after" not in Packet.__slots__, reason="scapy before 2.6 has no such option"
)
def test_options_of_the_class() -> None:
    packet = packet_maker(Ether, stop_dissection_after=IP)(FRAME, TS_NS, 64, None, None)
    assert type(packet[IP].payload) is Raw


def test_who_looks_into_all_packets_gets_them_dissected() -> None:
    make = packet_maker(Ether)
    asleep = 0
    for _ in range(200):
        packet = make(FRAME, TS_NS, 64, "eth0", None)
        asleep += is_asleep(packet)
        assert packet[IP].src == "192.0.2.1"
    assert asleep == 64


def test_who_leaves_out_a_packet_gets_them_lazy() -> None:
    make = packet_maker(Ether)
    for number in range(200):
        packet = make(FRAME, TS_NS, 64, "eth0", None)
        assert is_asleep(packet)
        if number != 50:
            assert packet[IP].src == "192.0.2.1"


def test_a_packet_takes_at_most_a_fifth_of_the_memory() -> None:
    def each(make: Any) -> float:
        tracemalloc.start()
        kept = [make(bytes(bytearray(FRAME)), TS_NS + number, 64, "eth0", None) for number in range(300)]
        for packet in kept:  # as sniff() does
            packet.sniffed_on = "eth0"
        size = tracemalloc.get_traced_memory()[0] / len(kept)
        tracemalloc.stop()
        return size

    lazy()[IP].src  # noqa: B018  what is made once
    assert each(packet_maker(Ether)) * 5 < each(packet_maker(Ether, lazy=False))


@pytest.fixture
def own_classes() -> Iterator[dict[str, type[Packet]]]:
    """Classes of a program's own for a datalink, out of scapy's lists again afterwards."""
    before = list(conf.layers)

    class Slots(Packet):
        __slots__ = ["extra"]
        fields_desc = [ByteField("kind", 0)]  # noqa: RUF012

        def post_dissect(self, s: bytes) -> bytes:
            self.extra = "dissected"
            return s

    class MoreSlots(Slots):
        __slots__ = ["more"]

    class Special(Packet):
        fields_desc = [ByteField("kind", 0)]  # noqa: RUF012

        def __bool__(self) -> bool:
            return bool(self.kind)

        def __bytes__(self) -> bytes:
            return b"special"

        def __iter__(self) -> Iterator[Any]:
            return iter("special")

        def post_dissect(self, s: bytes) -> bytes:
            self.seen = s
            return s

    yield {"Slots": Slots, "MoreSlots": MoreSlots, "Special": Special}
    conf.layers[:] = before


@pytest.mark.parametrize("name", ["Slots", "MoreSlots"])
def test_a_class_with_slots_of_its_own(own_classes: dict[str, type[Packet]], name: str) -> None:
    packet = lazy(b"\x01abc", own_classes[name])
    assert (packet.kind, packet.extra, packet.load) == (1, "dissected", b"abc")


def test_a_class_with_special_methods_of_its_own(own_classes: dict[str, type[Packet]]) -> None:
    special = own_classes["Special"]
    assert is_asleep(lazy(b"\x00abc", special))
    assert not lazy(b"\x00abc", special)
    assert bytes(lazy(b"\x01abc", special)) == b"special"
    assert len(lazy(b"\x01abc", special)) == len(b"special")
    assert list(lazy(b"\x01abc", special)) == list("special")
    assert lazy(b"\x01abc", special).seen == b"abc"


def test_importing_the_package_loads_no_scapy() -> None:
    code = "import sys, pypcapzc.scapy; print('scapy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"
