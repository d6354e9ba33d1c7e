"""Logs DNS questions, one line each: sudo python dns_logger.py eth0

The filter lets the kernel throw away all else, and the ring holds bursts while this prints.
"""

from __future__ import annotations

import sys

from scapy.layers.dns import DNSQR
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.sendrecv import sniff

import pypcapzc.scapy


def line(packet: Packet) -> str | None:
    """Who asks for what, or None for a packet that is no question over IP."""
    if DNSQR not in packet:
        return None
    network = packet.getlayer(IP) or packet.getlayer(IPv6)
    asks = network.src if network else "?"
    return f"{float(packet.time):.6f} {asks} {packet[DNSQR].qname.decode(errors='replace')}"


def main(iface: str | None = None, **options: object) -> None:
    """Log until Ctrl-C; ``options`` are further ones of sniff()."""
    pypcapzc.scapy.enable()
    seen = sniff(iface=iface, filter="udp dst port 53", prn=line, store=False, **options)
    stats = seen.capture_stats
    print(f"{stats.received} questions, {stats.dropped} of them lost", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:2])
