"""Says when an IPv4 address moves to another hardware address: sudo python arp_watch.py eth0"""

from __future__ import annotations

import sys

from scapy.layers.l2 import ARP
from scapy.packet import Packet
from scapy.sendrecv import sniff

import pypcapzc.scapy


class Watch:
    """Remembers who has which address."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def __call__(self, packet: Packet) -> str | None:
        """What there is to say of a packet; None if it tells nothing new."""
        address, owner = packet[ARP].psrc, packet[ARP].hwsrc
        before = self.owners.get(address)
        self.owners[address] = owner
        if address == "0.0.0.0" or before == owner:
            return None
        return f"{address} is at {owner}" + (f", and was at {before}" if before else "")


def main(iface: str | None = None, **options: object) -> None:
    """Watch until Ctrl-C; ``options`` are further ones of sniff()."""
    pypcapzc.scapy.enable()
    sniff(iface=iface, filter="arp", prn=Watch(), store=False, **options)


if __name__ == "__main__":
    main(*sys.argv[1:2])
