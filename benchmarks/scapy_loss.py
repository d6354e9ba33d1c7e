"""What sniff() loses at rising rates, with scapy's own socket and with ours: python -m benchmarks.scapy_loss

Root, Linux.  64-byte frames over a veth pair in a namespace of its own, both sides with their defaults, one
after the other at each rate; once with a prn that counts and once with one that looks into the packet.
Prints a table; --out FOLDER writes scapy.json and the plot, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from scapy.config import conf
from scapy.layers.inet import IP
from scapy.packet import Packet
from scapy.sendrecv import AsyncSniffer

import pypcapzc.scapy
from lab import traffic
from lab.netns import Lab

NATIVE, OURS = "scapy alone", "enabled"
COUNTS, LOOKS = "prn counts packets", "prn reads p[IP].src"
LOWEST = 250.0
"""Frames a second; each rate is twice the one before, and the last what the generator reaches."""
_PATIENCE = 120.0


def run(who: str, work: str, rate: float, seconds: float) -> dict[str, Any]:
    """One sniff() while frames are sent: the rate that was reached, and the share that was lost."""
    seen = 0

    def count(packet: Packet) -> None:
        nonlocal seen
        seen += 1

    def look(packet: Packet) -> None:
        packet[IP].src  # noqa: B018
        count(packet)

    begun = threading.Event()
    with pypcapzc.scapy.enable() if who == OURS else contextlib.nullcontext():
        sniffer = AsyncSniffer(
            iface="zc0", prn=count if work == COUNTS else look, store=False, started_callback=begun.set
        )
        sniffer.start()
        if not begun.wait(_PATIENCE):
            raise TimeoutError("sniff() has not begun")
        generator = traffic.start("--device", "zc1", "--rate", str(rate), "--duration", str(seconds))
        sent = traffic.finish(generator, timeout=_PATIENCE + 10 * seconds)
        before = -1
        while seen > before:  # scapy's 64 KiB are read after a second, and what the kernel held back has come
            before = seen
            time.sleep(1)
            if work == LOOKS:  # what is still in our buffer is not lost: prn would get it, minutes later
                break
        sniffer.stop()
    results: Any = sniffer.results
    lost = results.capture_stats.dropped if who == OURS else sent.packets - seen
    if who == OURS and work == COUNTS and seen + lost != sent.packets:
        raise RuntimeError(f"{seen} seen, {lost} lost, {sent.packets} sent")
    return {
        "who": who,
        "work": work,
        "asked": rate,
        "rate": sent.packets / sent.seconds,
        "lost": lost / sent.packets,
    }


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Medians of all rounds, a row for each side, work and rate; and what the generator reaches alone."""
    runs: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    with Lab() as net, net.inside():
        conf.ifaces.reload()
        alone = traffic.finish(traffic.start("--device", "zc1", "--count", "1000000"))
        generator = alone.packets / alone.seconds
        rates = [generator]
        while (rate := LOWEST * 2 ** (len(rates) - 1)) < generator:
            rates.insert(-1, rate)
        for _ in range(rounds):
            for rate in rates:
                for work in (COUNTS, LOOKS):
                    for who in (NATIVE, OURS):
                        one = run(who, work, rate, seconds)
                        runs.setdefault((who, work, rate), []).append(one)
                        print("{who}, {work}: {rate:,.0f}/s, {lost:.3%} lost".format(**one), flush=True)
    rows = [
        {**each[0], **{key: statistics.median(one[key] for one in each) for key in ("rate", "lost")}}
        for each in runs.values()
    ]
    return {"generator": generator, "seconds": seconds, "rounds": rounds, "rows": rows}


def lossless(result: dict[str, Any], who: str, work: str) -> float:
    """The highest rate at which nothing was lost, and nothing below; 0 where there is none."""
    best = 0.0
    for row in sorted(result["rows"], key=lambda row: float(row["asked"])):
        if (row["who"], row["work"]) == (who, work):
            if row["lost"]:
                break
            best = max(best, row["rate"])
    return best


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scapy_loss", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each rate")
    parser.add_argument("--out", type=Path, help="a folder for the figures and the plot")
    options = parser.parse_args()
    result = measure(options.rounds, options.seconds)
    print(f"the generator alone: {result['generator']:,.0f} packets a second")
    for work in (COUNTS, LOOKS):
        native, ours = (lossless(result, who, work) for who in (NATIVE, OURS))
        ratio = f"{ours / native:,.0f} times" if native else "no rate without loss"
        print(f"{work}: nothing lost up to {native:,.0f} a second alone, {ours:,.0f} enabled: {ratio}")
    if options.out:
        from benchmarks import plots

        (options.out / "scapy.json").write_text(json.dumps(result, indent=1) + "\n")
        for path in plots.draw_sniff(result, options.out):
            print(path)


if __name__ == "__main__":
    main()
