"""What pypcapzc promises beside its peers, as ratios measured on one machine in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.peers import BYTES, OWN, REFERENCE


@dataclass(frozen=True)
class Limit:
    """At most so many times the reference's processor time per packet, and live no loss either."""

    scenario: str
    name: str
    way: str
    most: float
    fastest: bool = False
    """The reference is the fastest peer that gives time and bytes of each packet; else pypcap's iterator."""
    rate: int = 0
    """Live: the packets a second from which on it holds; nothing is said where fewer were sent."""


LIMITS = (
    Limit("drain", "pypcapzc", "blocks", 1 / 6),
    Limit("drain", "pypcapzc", "iterator", 0.6, fastest=True),
    Limit("drain", "pypcapzc", "views", 1.5, fastest=True),
    Limit("drain", "pypcapzc-stock", "iterator", 1.0, fastest=True),
    Limit("drain-mixed", "pypcapzc", "blocks", 1 / 2.5),
    Limit("drain-mixed", "pypcapzc", "iterator", 0.8, fastest=True),
    Limit("drain-mixed", "pypcapzc", "views", 1.5, fastest=True),
    Limit("drain-mixed", "pypcapzc-stock", "iterator", 1.0, fastest=True),
    Limit("live", "pypcapzc", "blocks", 0.3, rate=500_000),
    Limit("live", "pypcapzc", "iterator", 0.8, rate=500_000),
)


def reference_of(limit: Limit, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row with which the limit compares."""
    if not limit.fastest:
        return next((row for row in rows if (row["name"], row["way"]) == REFERENCE), None)
    peers = [row for row in rows if row["work"] == BYTES and row["name"] not in OWN]
    return min(peers, key=lambda row: float(row["cpu_ns"]), default=None)
