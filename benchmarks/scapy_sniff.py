"""sniff() with scapy's own sockets and with ours, interleaved: python -m benchmarks.scapy_sniff [--out FILE]

Root, Linux.  64-byte frames over a veth pair in a namespace of its own.  Medians of several runs; what counts
are the ratios, since both sides had the same machine at the same time.  Loss: benchmarks.scapy_loss.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
import tracemalloc
from pathlib import Path
from typing import Any

from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.sendrecv import sniff

import pypcapzc.scapy
from lab import frames, traffic
from lab.netns import Lab

OURS, NATIVE = 20_000, 60
"""Packets in a run: what each can take in one burst (scapy's buffer has 64 KiB)."""


def counting(number: int) -> dict[str, Any]:
    """sniff(prn=count, store=False)."""
    seen = 0

    def count(packet: Packet) -> None:
        nonlocal seen
        seen += 1

    return {"prn": count, "store": False}


def storing(number: int) -> dict[str, Any]:
    """sniff(store=True, count=N)."""
    return {}


def touching(number: int) -> dict[str, Any]:
    """A prn that looks at an address."""

    def touch(packet: Packet) -> None:
        packet[IP].src  # noqa: B018

    return {"prn": touch, "store": False}


def cpu_per_packet(outlet: traffic.Sender, number: int, options: dict[str, Any]) -> float:
    """Nanoseconds of this thread, from the moment when ``number`` frames are sent."""
    began = 0

    def started() -> None:
        nonlocal began
        outlet.send(number)
        began = time.thread_time_ns()

    sniff(iface="zc0", count=number, timeout=60, started_callback=started, **options)
    return (time.thread_time_ns() - began) / number


def memory_per_packet(outlet: traffic.Sender, number: int) -> float:
    """Bytes that Python holds for a stored packet."""
    tracemalloc.start()
    kept = sniff(iface="zc0", count=number, timeout=60, started_callback=lambda: outlet.send(number))
    held = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return held


def dissection() -> float:
    """Nanoseconds of dissecting a frame, and looking at its address, without any capture."""
    data, number = frames.expected(1, 64), 300
    began = time.thread_time_ns()
    for _ in range(number):
        packet = Ether(data)
        packet[IP].src, packet[UDP].sport
    return (time.thread_time_ns() - began) / number


def measure(rounds: int) -> dict[str, Any]:
    """All figures, as medians, with the ratios."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(what: str, who: str, value: float) -> None:
        found.setdefault(what, {}).setdefault(who, []).append(value)

    with Lab() as net, net.inside(), traffic.Sender("zc1") as outlet:
        conf.ifaces.reload()
        for _ in range(rounds):
            note("dissection alone, ns", "native", dissection())
            for who, number in (("native", NATIVE), ("ours", OURS)):
                with pypcapzc.scapy.enable() if who == "ours" else contextlib.nullcontext():
                    for make in (counting, storing):
                        note(f"{make.__name__}, ns", who, cpu_per_packet(outlet, number, make(number)))
                    note("touching, ns", who, cpu_per_packet(outlet, min(number, 1000), touching(number)))
                    note("memory, bytes", who, memory_per_packet(outlet, min(number, 5000)))
            with pypcapzc.scapy.enable(lazy=False):
                note("not lazy, ns", "ours", cpu_per_packet(outlet, 500, counting(500)))
    table: dict[str, Any] = {}
    for what, sides in found.items():
        row = {who: statistics.median(values) for who, values in sides.items()}
        if len(row) == 2 and row["ours"] and row["native"]:
            row["native / ours"] = row["native"] / row["ours"]
        table[what] = row
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, too")
    options = parser.parse_args()
    table = measure(options.rounds)
    for what, row in table.items():
        print(f"{what:28}", "  ".join(f"{who} {value:,.1f}" for who, value in row.items()))
    if options.out:
        options.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
