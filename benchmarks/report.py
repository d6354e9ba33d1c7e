"""Medians, and a table for people."""

from __future__ import annotations

import os
import platform
from statistics import median
from typing import Any

from benchmarks.peers import REFERENCE


def environment() -> dict[str, Any]:
    """The machine on which this was measured, as far as it matters for the figures."""
    processor = platform.machine()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }


def summary(name: str, way: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One contestant in one way: medians over its runs, in nanoseconds per packet."""
    wall = [1e9 * run["seconds"] / run["packets"] for run in runs]
    cpu = [1e9 * run["cpu"] / run["packets"] for run in runs]
    first = runs[0]
    return {
        "name": name,
        "way": way,
        "version": first["version"],
        "libpcap": first["libpcap"],
        "runs": runs,
        "wall_ns": median(wall),
        "wall_ns_min": min(wall),
        "wall_ns_max": max(wall),
        "cpu_ns": median(cpu),
    }


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """Adds ``ratio``, time over the reference's time, where the reference was measured."""
    wall = next((row["wall_ns"] for row in rows if (row["name"], row["way"]) == REFERENCE), None)
    for row in rows:
        row["ratio"] = row["wall_ns"] / wall if wall else None


def _table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"### {title}",
        "",
        f"| library | way | ns per packet (least to most) | CPU ns | times {' '.join(REFERENCE)} | libpcap |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: float(row["wall_ns"])):
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        spread = f"{row['wall_ns']:.0f} ({row['wall_ns_min']:.0f} to {row['wall_ns_max']:.0f})"
        library = row["libpcap"].partition(" (")[0].removeprefix("libpcap version ")
        cells = (
            f"{row['name']} {row['version']}",
            row["way"],
            spread,
            f"{row['cpu_ns']:.0f}",
            ratio,
            library,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    machine, settings = report["environment"], report["settings"]
    lines = [
        f"{settings['count']:,} packets a run, {settings['rounds']} interleaved runs each, medians; "
        f"{machine['kernel']}, {machine['processors']} x {machine['processor']}, Python {machine['python']}; "
        f"buffer {settings['buffer_size'] / 2**20:g} MiB, snaplen {settings['snaplen']}, "
        f"timeout {settings['timeout_ms']} ms.",
        "",
    ]
    for scenario in report["scenarios"]:
        if scenario["rows"]:
            lines += _table(scenario["title"], scenario["rows"])
    lines += [f"Not measured: {reason}." for reason in report["left_out"]]
    return "\n".join(lines).rstrip() + "\n"
