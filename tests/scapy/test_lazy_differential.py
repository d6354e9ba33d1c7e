"""A lazy packet is, for whoever looks at it, the packet that scapy dissects.

Every observer of `lazy_observers` looks at a lazy packet that nobody has touched, and at a packet of the same
bytes that was dissected at once, and has to see the same.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scapy.layers.all  # binds the layers of all protocols
import scapy.layers.can
import scapy.packet
from lazy_observers import OBSERVERS, OF_BYTES, OF_TYPES, observe
from scapy.config import conf
from scapy.layers.dot11 import Dot11, RadioTap
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, Ether
from scapy.layers.ppp import PPP
from scapy.packet import Packet, fuzz
from scapy.utils import RawPcapReader

from pypcapzc.scapy.lazy import Maker, is_asleep, packet_maker

pytestmark = pytest.mark.unit

TS_NS = 1_700_000_000_123_456_789
NAMES = list(OBSERVERS)


@pytest.fixture(autouse=True)
def _one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are made by and by note when."""
    clock = SimpleNamespace(time=lambda: 1.0, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr(scapy.packet, "time", clock)


def _captures() -> list[Path]:
    peers = os.environ.get("PYPCAPZC_PEERS")
    return sorted(Path(peers, "scapy/test/pcaps").glob("*.pcap*")) if peers else []


def _differences(cls: type[Packet], data: bytes, names: list[str]) -> Iterator[str]:
    """What observers see in a lazy packet and not in one that scapy dissected."""
    lazy, awake = packet_maker(cls), packet_maker(cls, lazy=False)

    def made(maker: Maker) -> Packet:
        return maker(data, TS_NS, len(data) + 4, "eth0", None)

    def seen(maker: Maker, name: str) -> Any:
        return observe(OBSERVERS[name], made(maker), made(awake))

    broken = type(made(awake)) is conf.raw_layer
    rebuilt = _bytes(made(awake)) != data
    for name in names:
        if (broken and name in OF_TYPES) or (rebuilt and name in OF_BYTES):
            continue
        for _ in range(3):  # some dissectors remember, some defaults are the time of day
            found, expected = seen(lazy, name), seen(awake, name)
            if found == expected or expected != seen(awake, name):
                break
        else:
            yield f"{cls.__name__} {data.hex()} {name}:\n  {found}\n  {expected}"
    packet = made(lazy)
    assert not is_asleep(packet) or bytes(packet) == data


def _bytes(packet: Packet) -> bytes | None:
    """What scapy builds from what it has dissected, which may be something else or fail."""
    try:
        return bytes(packet)
    except Exception:
        return None


@pytest.mark.skipif(not _captures(), reason="PYPCAPZC_PEERS names no folder with scapy's repository")
@pytest.mark.parametrize("path", _captures(), ids=lambda path: path.name)
def test_scapys_captures(path: Path) -> None:
    frames: list[bytes] = []
    reader = RawPcapReader(str(path))
    with contextlib.closing(reader), contextlib.suppress(EOFError):
        while len(frames) < 60:
            frames.append(reader._read_packet()[0])
    linktype = getattr(reader, "linktype", None) or vars(reader)["interfaces"][0][0]
    cls = conf.l2types.num2layer.get(linktype, conf.raw_layer)
    for number, frame in enumerate(frames):
        step = 29 if number else 5
        assert not list(_differences(cls, frame, NAMES[number % step :: step]))


def _protocols() -> list[type[Packet]]:
    """The classes of scapy's layers, in an order that does not depend on how they were imported."""
    classes = {cls for cls in conf.layers if cls.__module__.startswith("scapy.layers.")}
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__))


def _built(cls: type[Packet], *lower: Packet) -> bytes | None:
    """Bytes of a packet with random fields; None for classes that scapy cannot build so."""
    try:
        return bytes(functools.reduce(operator.truediv, [*lower, fuzz(cls())]))
    except Exception:
        return None


@pytest.mark.parametrize("part", range(4))
def test_protocols_of_scapys_layers(part: int) -> None:
    """Random values in every protocol, which is the first layer."""
    compared = 0
    for number, cls in enumerate(_protocols()[part::4]):
        random.seed(number)
        if data := _built(cls):
            assert not list(_differences(cls, data[:1500], NAMES[number % 41 :: 41]))
            compared += 1
    assert compared > 200


# With all addresses, since scapy would look for others' in the network.
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
INTERNET = ETHERNET / IP(src="192.0.2.1", dst="192.0.2.2")
CARRIERS = (
    (ETHERNET,),
    (INTERNET,),
    (ETHERNET, IPv6(src="2001:db8::1", dst="2001:db8::2")),
    (INTERNET, UDP()),
    (INTERNET, TCP()),
    (RadioTap(), Dot11()),
    (CookedLinux(),),
    (PPP(),),
)


@pytest.mark.parametrize("lower", CARRIERS, ids=lambda lower: "/".join(str(layer.name) for layer in lower))
def test_protocols_on_those_that_carry_them(lower: tuple[Packet, ...]) -> None:
    carrier = type(lower[-1].lastlayer())
    carried = [cls for cls in _protocols() if carrier in cls._overload_fields]
    compared = 0
    for number, cls in enumerate(carried):
        random.seed(number)
        if data := _built(cls, *lower):
            first = type(lower[0])
            assert not list(_differences(first, data[:1500], NAMES[number % 17 :: 17]))
            assert not list(
                _differences(first, data[: 60 + number], NAMES[number % 19 :: 19])
            )  # a short snaplen
            compared += 1
    assert compared > 3
