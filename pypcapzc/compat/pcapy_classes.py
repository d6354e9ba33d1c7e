"""What pcapy-ng's loop_filtered() and loop_to_buffer() decide by: the classes of its two profiles.

Generic (0)     0 other, 1 flow head: one of the first ``flow_cutoff`` packets of its flow, 2 an address of
                ``addr_set``.
Security (1)    100 DNS, 101 payload over TCP from or to ``dpi_ports``, 102 noise, 103 an address of
                ``addr_set``, 104 flow head from or to ``tls_ports``, 105 a TCP SYN alone; the first that
                holds of 100, 105, 101, 103, 104.

Only IPv4 is looked at: where the four bits at ``l2_offset``, or after up to two VLAN tags that end there,
are 4.  A flow is a direction: addresses, ports and protocol of a TCP or UDP packet.  How many packets of a
flow were seen is kept for a million flows or more; then those not seen for the longest time are forgotten.
"""

from __future__ import annotations

import ctypes
import operator
import struct
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from .. import companion

OTHER, FLOW_HEAD, SET_MATCH = range(3)
DNS, PAYLOAD, NOISE, ADDRESS, HEAD, SYN = range(6)
GENERIC_CLASSES = 3
_CLASSES = (GENERIC_CLASSES, 6)
_BASE = (0, 100)
_DPI_PORTS = (80, 8080, 3128, 8000, 8118, 1080)
_TLS_PORTS = (443,)
_TCP, _UDP = 6, 17
_VLAN = (b"\x81\x00", b"\x88\xa8")
_FLOWS = 1 << 20
_MAXIMUM_L2_OFFSET = 64


class Found(NamedTuple):
    """An IPv4 header, and the ports behind it where there are any."""

    addresses: bytes
    protocol: int
    ports: tuple[int, int] | None
    transport: int
    """Where the TCP or UDP header begins."""


class Given(NamedTuple):
    """The arguments of a loop_filtered() or loop_to_buffer()."""

    addr_set: bytes = b""
    flow_cutoff: int = 0
    dpi_ports: Sequence[int] | None = None
    tls_ports: Sequence[int] | None = None
    dns_port: int = 53
    l2_offset: int = 14
    profile: int = 0

    def settled(self) -> Given:
        """The same in values that can be compared and do not change.  Raises TypeError."""
        dpi_ports, tls_ports = self.dpi_ports, self.tls_ports
        return Given(
            self.addr_set if type(self.addr_set) is bytes else memoryview(self.addr_set).tobytes(),
            operator.index(self.flow_cutoff),
            tuple(dpi_ports) if dpi_ports is not None else None,
            tuple(tls_ports) if tls_ports is not None else None,
            operator.index(self.dns_port) & 0xFFFF,
            operator.index(self.l2_offset),
            operator.index(self.profile),
        )


class Rules:
    """The decisions of one loop_filtered() or loop_to_buffer(), with what they remember."""

    def __init__(self, wanted: Given) -> None:
        """``wanted`` is settled().  Raises ValueError, TypeError."""
        self._given = wanted
        self.addresses, self.flow_cutoff = wanted.addr_set, max(wanted.flow_cutoff, 0)
        self.dpi_ports = _ports(wanted.dpi_ports, _DPI_PORTS)
        self.tls_ports = _ports(wanted.tls_ports, _TLS_PORTS)
        self.dns_port, self.l2_offset, self.profile = wanted.dns_port, wanted.l2_offset, wanted.profile
        if not 0 <= self.l2_offset <= _MAXIMUM_L2_OFFSET:
            raise ValueError(f"l2_offset out of range [0,{_MAXIMUM_L2_OFFSET}]")
        if self.profile not in (0, 1):
            raise ValueError("profile must be 0 (generic) or 1 (security)")
        self.base = _BASE[self.profile]
        self.classes = _CLASSES[self.profile]
        self._flows: OrderedDict[tuple[bytes, int, tuple[int, int]], int] = OrderedDict()
        self._native: int | None = None

    def again(self, wanted: Given) -> Rules:
        """Rules(wanted), or these if they are that and remember nothing: what native() made serves again."""
        return self if wanted == self._given and not self.flow_cutoff else Rules(wanted)

    def native(self, fast: companion.Companion) -> int:
        """A struct profile of the companion library's that decides the same, and lives as long."""
        if self._native is not None:
            return self._native
        given = _Given(self.profile, self.l2_offset, self.flow_cutoff, self.dns_port)
        for bits, ports in ((given.payload_ports, self.dpi_ports), (given.head_ports, self.tls_ports)):
            for port in ports:
                bits[port >> 3] |= 1 << (port & 7)
        made: int | None = fast.profile_new(ctypes.byref(given), self.addresses, len(self.addresses) // 4)
        if not made:
            raise MemoryError("no memory for the address set")
        weakref.finalize(self, fast.profile_free, made).atexit = False
        self._native = made
        return made

    @property
    def possible(self) -> int:
        """The classes that packets may have, as bits; others never."""
        of_set, heads = len(self.addresses) >= 4, self.flow_cutoff > 0
        if not self.profile:
            return 1 << OTHER | heads << FLOW_HEAD | of_set << SET_MATCH
        with_ports = bool(self.dpi_ports) << PAYLOAD | (heads and bool(self.tls_ports)) << HEAD
        return 1 << DNS | 1 << NOISE | 1 << SYN | of_set << ADDRESS | with_ports

    def class_of(self, packet: bytes) -> int:
        """The class of a packet, without the profile's base."""
        return self._security(packet) if self.profile else self._generic(packet)

    def _generic(self, packet: bytes) -> int:
        found = self._locate(packet)
        if found is None:
            return OTHER
        if self._in_set(found):
            return SET_MATCH
        return FLOW_HEAD if found.ports and self._is_head(found) else OTHER

    def _security(self, packet: bytes) -> int:
        found = self._locate(packet)
        if found is None:
            return NOISE
        if found.ports is not None:
            if self.dns_port in found.ports:
                return DNS
            if found.protocol == _TCP and (kind := self._tcp(packet, found)) is not None:
                return kind
        if self._in_set(found):
            return ADDRESS
        if found.ports and not self.tls_ports.isdisjoint(found.ports) and self._is_head(found):
            return HEAD
        return NOISE

    def _tcp(self, packet: bytes, found: Found) -> int | None:
        if len(packet) < found.transport + 14:
            return None
        if packet[found.transport + 13] == 0x02:
            return SYN
        header = (packet[found.transport + 12] >> 4) * 4
        payload = header >= 20 and len(packet) > found.transport + header
        assert found.ports
        return PAYLOAD if payload and not self.dpi_ports.isdisjoint(found.ports) else None

    @cached_property
    def _set(self) -> set[bytes]:
        return {self.addresses[i : i + 4] for i in range(0, len(self.addresses) - 3, 4)} - {bytes(4)}

    def _in_set(self, found: Found) -> bool:
        return found.addresses[:4] in self._set or found.addresses[4:] in self._set

    def _is_head(self, found: Found) -> bool:
        """One of the first packets of its flow; counts it."""
        if not self.flow_cutoff:
            return False
        assert found.ports
        flow = (found.addresses, found.protocol, found.ports)
        seen = self._flows.pop(flow, 0)
        self._flows[flow] = seen + 1
        if len(self._flows) > _FLOWS:
            self._flows.popitem(last=False)
        return seen < self.flow_cutoff

    def _locate(self, packet: bytes) -> Found | None:
        at = self.l2_offset
        for tags in range(3):
            if len(packet) < at + 20:
                return None
            if packet[at] >> 4 == 4:
                break
            if tags == 2 or packet[at - 2 : at] not in _VLAN:
                return None
            at += 4
        addresses, protocol, header = packet[at + 12 : at + 20], packet[at + 9], (packet[at] & 15) * 4
        transport = at + header
        if protocol not in (_TCP, _UDP) or header < 20 or len(packet) < transport + 4:
            return Found(addresses, protocol, None, 0)
        ports = struct.unpack_from("!HH", packet, transport)
        return Found(addresses, protocol, ports, transport)


def _ports(given: Sequence[int] | None, default: tuple[int, ...]) -> frozenset[int]:
    """An empty sequence means none; None means the default ones."""
    return frozenset(operator.index(port) & 0xFFFF for port in (default if given is None else given))


class _Given(ctypes.Structure):
    """struct profile_rules of companion/csrc/profiles.c."""

    _fields_ = (
        ("security", ctypes.c_uint32),
        ("l2_offset", ctypes.c_uint32),
        ("flow_cutoff", ctypes.c_uint32),
        ("dns_port", ctypes.c_uint32),
        ("payload_ports", ctypes.c_uint8 * 8192),
        ("head_ports", ctypes.c_uint8 * 8192),
    )
