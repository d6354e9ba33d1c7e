"""Counts packets of hosts in the background of a service: sudo python service.py eth0"""

from __future__ import annotations

import collections
import signal
import sys
import threading

from scapy.layers.inet import IP
from scapy.packet import Packet
from scapy.sendrecv import AsyncSniffer

import pypcapzc.scapy


class Counter:
    """A sniffer that can be asked while it runs."""

    def __init__(self, iface: str | None, **options: object) -> None:
        self.hosts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._sniffer = AsyncSniffer(iface=iface, filter="ip", prn=self._count, store=False, **options)

    def start(self) -> None:
        """Begin."""
        self._sniffer.start()

    def busiest(self, number: int = 5) -> list[tuple[str, int]]:
        """The hosts that sent most."""
        with self._lock:
            return self.hosts.most_common(number)

    def stop(self) -> tuple[int, int]:
        """End; gives what the kernel received and what it lost."""
        stats = self._sniffer.stop().capture_stats
        return stats.received, stats.dropped

    def _count(self, packet: Packet) -> None:
        with self._lock:
            self.hosts[packet[IP].src] += 1


def main(iface: str | None = None, every: float = 5) -> None:
    """Tell until a signal ends the service."""
    pypcapzc.scapy.enable()
    over, counter = threading.Event(), Counter(iface)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: over.set())
    counter.start()
    while not over.wait(every):
        print(counter.busiest(), flush=True)
    received, lost = counter.stop()
    print(f"received {received}, lost {lost}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
