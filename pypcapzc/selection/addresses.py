"""Sets of IP addresses, of any size."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .. import decode
from ..decode.numeric import np
from .hashing import Array, HashSet
from .native import AddressTables

Address = str | bytes | IPv4Address | IPv6Address


def _packed(address: Address) -> bytes:
    if isinstance(address, str):
        try:
            return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        except OSError:
            raise ValueError(f"{address!r} is no IPv4 or IPv6 address") from None
    raw = address if isinstance(address, bytes) else address.packed
    if len(raw) not in (4, 16):
        raise ValueError(f"an address has 4 or 16 bytes, not {len(raw)}")
    return raw


class AddressSet:
    """IPv4 and IPv6 addresses, to be looked up for many packets at once.

    Made of strings, addresses of ``ipaddress``, or packed bytes, in any mixture; or of a numpy array of u4,
    IPv4 addresses as numbers.  Takes 16 to 32 bytes an IPv4 address, 64 to 128 an IPv6 address.
    """

    def __init__(self, addresses: Iterable[Address] | Any) -> None:
        if isinstance(addresses, np.ndarray):
            if addresses.dtype.kind != "u" or addresses.dtype.itemsize != 4:
                raise TypeError(f"an array of IPv4 addresses is of u4, not {addresses.dtype}")
            four, six = addresses.astype("u4").ravel(), np.zeros((0, 2), "u8")
        else:
            packed = [_packed(address) for address in addresses]
            four = np.frombuffer(b"".join(raw for raw in packed if len(raw) == 4), ">u4").astype("u4")
            six = np.frombuffer(b"".join(raw for raw in packed if len(raw) == 16), ">u8").astype("u8")
            six = six.reshape(-1, 2)
        self._four = HashSet([four]) if four.size else None
        self._six = HashSet([six[:, 0], six[:, 1]]) if six.size else None
        self.tables = AddressTables.of(self._four, self._six)
        """For the companion library, as long as this set lives."""

    def holds(self, found: Array, side: str) -> Array:
        """Which decoded packets have an address of the set as their ``side``, "src" or "dst".

        The addresses of ARP (for IPv4) count as those of IPv4.
        """
        result = np.zeros(found.size, bool)
        some = found["layers"] & np.uint32(decode.ADDRESSES) != 0
        is_six = found["ip_version"] == 6
        if self._four is not None:
            places = np.flatnonzero(some & ~is_six)
            result[places] = self._four.has([found[f"{side}_lo"][places].astype("u4")])
        if self._six is not None:
            places = np.flatnonzero(some & is_six)
            result[places] = self._six.has([found[f"{side}_{half}"][places] for half in ("hi", "lo")])
        return result
