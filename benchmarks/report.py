"""Medians over the runs, what was promised beside what was found, and tables for people."""

from __future__ import annotations

import contextlib
import os
import platform
from statistics import median
from typing import Any

from benchmarks.limits import LIMITS, Limit, reference_of
from benchmarks.peers import REFERENCE

Row = dict[str, Any]
_REACHED = 0.98
"""The share of a rate from which on it counts as reached."""


def environment() -> dict[str, Any]:
    """The machine on which this was measured, as far as it matters for the figures."""
    processor = platform.machine()
    with contextlib.suppress(FileNotFoundError), open("/proc/cpuinfo") as lines:
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
        "load": os.getloadavg()[0],
    }


def summary(name: str, way: str, work: str, copies: int | None, runs: list[Row]) -> Row:
    """One contestant in one way: medians over its runs, in nanoseconds per packet."""
    wall = [1e9 * run["seconds"] / max(1, run["packets"]) for run in runs]
    cpu = [1e9 * run["cpu"] / max(1, run["packets"]) for run in runs]
    first = runs[0]
    told: int | None = first.get("copies")
    row = {
        "name": name,
        "way": way,
        "work": work,
        "version": first["version"],
        "libpcap": first["libpcap"],
        "copies": copies if told is None else told,
        "runs": runs,
        "wall_ns": median(wall),
        "wall_ns_min": min(wall),
        "wall_ns_max": max(wall),
        "cpu_ns": median(cpu),
        "cpu_ns_min": min(cpu),
        "cpu_ns_max": max(cpu),
    }
    if "sent" in first:
        share = [run["lost"] / run["sent"] for run in runs]
        row |= {
            "rate": median(run["sent"] / run["sending"] for run in runs),
            "lost": median(share),
            "lost_min": min(share),
            "lost_max": max(share),
            "cpu_seconds": median(run["cpu"] for run in runs),
            "cpu_share": median(run["cpu"] / run["sending"] for run in runs),
        }
    return row


def _figures(row: Row) -> dict[int, float]:
    """The figure of each round: processor time per packet."""
    return {run["round"]: run["cpu"] / max(1, run["packets"]) for run in row["runs"]}


def ratio(row: Row, reference: Row) -> float | None:
    """The median over the rounds of one's processor time per packet over the other's in the same round.

    Processor time, as other work on the machine disturbs it less; where nothing else runs, the time that
    passes is the same, but live.
    """
    mine, other = _figures(row), _figures(reference)
    both = [mine[number] / other[number] for number in mine.keys() & other.keys()]
    return median(both) if both else None


def add_ratios(rows: list[Row]) -> None:
    """Adds ``ratio``, processor time over the reference's, where the reference was measured."""
    for row in rows:
        asked = row.get("asked")
        reference = next(
            (r for r in rows if (r["name"], r["way"]) == REFERENCE and r.get("asked") == asked), None
        )
        row["ratio"] = ratio(row, reference) if reference else None


def _promise(limit: Limit, scenario: dict[str, Any]) -> Row | None:
    """What was found of a limit in a scenario; None if there is nothing to compare."""
    for rate in sorted({row.get("asked") or 0 for row in scenario["rows"]}, reverse=True):
        rows = [row for row in scenario["rows"] if (row.get("asked") or 0) == rate]
        mine = next((r for r in rows if (r["name"], r["way"]) == (limit.name, limit.way)), None)
        reference = reference_of(limit, rows)
        if mine is None or reference is None:
            continue
        if rate and min(mine["rate"], reference["rate"]) < _REACHED * max(rate, limit.rate):
            continue
        found = ratio(mine, reference)
        if found is None:
            continue
        lost = max((run["lost"] for run in mine["runs"]), default=0) if rate else 0
        what = f"{limit.name} {limit.way} : {reference['name']} {reference['way']}"
        return {
            "scenario": scenario["name"],
            "what": what + (f", {rate:,} packets/s" if rate else ""),
            "found": found,
            "limit": limit.most,
            "lost": lost,
            "kept": found <= limit.most and not lost,
        }
    return None


def promises(scenarios: list[dict[str, Any]]) -> list[Row]:
    """The limits that can be told from these figures, and whether they are kept."""
    found = (_promise(limit, s) for limit in LIMITS for s in scenarios if s["name"] == limit.scenario)
    return [row for row in found if row is not None]


def _libpcap(row: Row) -> str:
    told: str = row["libpcap"].removeprefix("libpcap version ")
    version, _, rest = told.partition(" (")
    return version + (", patched" if rest.endswith(", patched") else "")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)] + [""]


def _table(scenario: dict[str, Any]) -> list[str]:
    head = ["library", "way", "what a packet gives", "CPU ns per packet (least to most)", "ns passed"]
    head += [f"CPU, times {' '.join(REFERENCE)}", "copies", "libpcap"]
    rows = []
    for row in sorted(scenario["rows"], key=lambda row: float(row["cpu_ns"])):
        spread = f"{row['cpu_ns']:.0f} ({row['cpu_ns_min']:.0f} to {row['cpu_ns_max']:.0f})"
        copies = "" if row["copies"] is None or scenario["kind"] == "savefile" else str(row["copies"])
        who = f"{row['name']} {row['version']}", row["way"], row["work"], spread, f"{row['wall_ns']:.0f}"
        rows.append([*who, f"{row['ratio']:.2f}" if row["ratio"] else "", copies, _libpcap(row)])
    return [f"### {scenario['title']}", "", *table(head, rows)]


def _point(row: Row) -> str:
    """One cell; with the rate that was reached, where the machine could not send faster."""
    found = f"{100 * row['lost']:.3g} % / {row['cpu_share']:.2f}"
    return found + (f" (at {row['rate']:,.0f}/s)" if row["rate"] < _REACHED * row["asked"] else "")


def _curves(scenario: dict[str, Any]) -> list[str]:
    """Loss, and processor seconds a second, at each rate."""
    rates = sorted({row["asked"] for row in scenario["rows"]})
    who = list(dict.fromkeys((row["name"], row["way"]) for row in scenario["rows"]))
    at = {(row["name"], row["way"], row["asked"]): row for row in scenario["rows"]}
    rows = []
    for name, way in who:
        cells = [name, way]
        for rate in rates:
            row = at.get((name, way, rate))
            cells.append(_point(row) if row else "")
        rows.append(cells)
    head = ["library", "way", *(f"{rate:,}/s" for rate in rates)]
    text = "Packets lost / processors kept busy by the consumer, at so many packets a second:"
    return [f"### {scenario['title']}", "", text, "", *table(head, rows)]


def _kept(rows: list[Row]) -> list[str]:
    cells = [
        [
            row["scenario"],
            row["what"],
            f"{row['found']:.3f}",
            f"{row['limit']:.3f}",
            ("yes" if row["kept"] else "NO") + (f" ({row['lost']:,} lost)" if row["lost"] else ""),
        ]
        for row in rows
    ]
    return ["### Limits", "", *table(["scenario", "processor time", "ratio", "at most", "kept"], cells)]


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    machine, settings = report["environment"], report["settings"]
    ring, live_ring = (settings[name] / 2**20 for name in ("buffer_size", "live_buffer_size"))
    text = (
        f"{settings['count']:,} packets a run (a quarter of large frames, fewer for slow ways), "
        f"{settings['rounds']} interleaved runs each, medians; "
        f"{machine['kernel']}, {machine['processors']} x {machine['processor']}, "
        f"load {machine['load']:.1f} when it began, Python {machine['python']}; "
        f"buffer {ring:g} MiB (live {live_ring:g} MiB), "
        f"snaplen {settings['snaplen']}, timeout {settings['timeout_ms']} ms."
    )
    if report.get("generator"):
        text += f" The generator sends at most {report['generator']:,.0f} packets of 64 bytes a second here."
    lines = [text, ""]
    for scenario in report["scenarios"]:
        if scenario["rows"]:
            lines += _curves(scenario) if scenario["kind"] == "live" else _table(scenario)
    if report["limits"]:
        lines += _kept(report["limits"])
    lines += [f"Not measured: {reason}." for reason in report["left_out"]]
    return "\n".join(lines).rstrip() + "\n"
