"""The drop-in modules beside the libraries that they stand in for: ``python -m benchmarks.compat``, as root.

One program for each library, the same on both sides: in the peer's own virtual environment, and here by
`pypcapzc run`.  Runs are fresh processes, interleaved, and every packet is counted.  The limits are ratios of
processor time per packet in drained rings of 64-byte frames; a live capture loses no more than the peer's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pypcapzc
from benchmarks import peers, report
from benchmarks.peers import BYTES, IN_C, Contestant, Way
from benchmarks.run import measure
from benchmarks.scenarios import SCENARIOS, Run, Scenario, Settings
from lab import netns

ITERATION, CALLBACK, CLASSIFICATION = 1.0, 1.3, 1.0
"""At most so many times the peer's processor time."""
_ALL = ("drain", "live", "savefile")
_STORED = ("drain", "savefile")
_DRAINED, _LIVE = ("drain",), ("live",)
_SCENARIOS = tuple(each for each in SCENARIOS if each.name in _ALL)
RATES = (100_000, 200_000, 300_000, 400_000, 500_000, 600_000)


@dataclass(frozen=True)
class Call:
    """One way to read packets, and what it may cost beside the peer."""

    way: Way
    most: float


def _calls(most: float, kinds: tuple[str, ...], *names: str, work: str = BYTES, **more: int) -> list[Call]:
    return [Call(Way(name, work, kinds=kinds, **more), most) for name in names]


CALLS: dict[str, list[Call]] = {
    "pypcap": [
        *_calls(ITERATION, _ALL, "iterator"),
        *_calls(ITERATION, _LIVE, "busy"),
        *_calls(CALLBACK, _STORED, "loop", "dispatch"),
        *_calls(ITERATION, _STORED, "next", "readpkts"),
    ],
    "pcap-ct": [
        *_calls(ITERATION, _ALL, "iterator", part=4),
        *_calls(CALLBACK, _STORED, "loop", "dispatch", part=4),
        *_calls(ITERATION, _STORED, "next", "readpkts", part=4),
    ],
    "pcapy-ng": [
        *_calls(CALLBACK, _STORED, "loop"),
        *_calls(CALLBACK, _ALL, "dispatch"),
        *_calls(ITERATION, _LIVE, "busy"),
        *_calls(ITERATION, _STORED, "next", "next_batch"),
        *_calls(CLASSIFICATION, _DRAINED, "filtered-none", "filtered-few", "filtered-all", work=IN_C),
        *_calls(CLASSIFICATION, _DRAINED, "security-none", "security-few", "security-all", work=IN_C),
        *_calls(CLASSIFICATION, _DRAINED, "to-buffer", work=IN_C),
    ],
    "python-libpcap": [
        # It keeps to libpcap's own ring of 2 MiB, which holds some 10,000 of the smallest packets.
        *_calls(ITERATION, _DRAINED, "iterator", part=60, laps=30),
        *_calls(ITERATION, ("live", "savefile"), "iterator"),
        *_calls(ITERATION, _LIVE, "busy"),
    ],
}


def stand_in(peer: Contestant) -> Contestant:
    """pypcapzc in the place of a peer."""
    return replace(
        peer, name=f"here for {peer.name}", requirement=None, imports="", runner=("-m", "pypcapzc", "run")
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compat", description=__doc__)
    names = [each.name for each in _SCENARIOS]
    parser.add_argument(
        "--scenario", action="append", choices=names, help="default: drain, savefile; may be repeated"
    )
    parser.add_argument("--only", action="append", choices=list(CALLS), help="default: all; may be repeated")
    parser.add_argument("--call", action="append", help="only calls of this name; may be repeated")
    parser.add_argument("--count", type=int, help="packets a run (300000; with --quick 3000)")
    parser.add_argument("--rounds", type=int, help="runs of each (5; with --quick 1)")
    parser.add_argument("--rates", type=_numbers, help="of live captures, as 100000,500000 packets a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="that packets are sent to one (5)")
    parser.add_argument("--buffer-size", type=int, default=256 << 20, help="bytes of the ring (256 MiB)")
    parser.add_argument(
        "--live-buffer-size", type=int, default=8 << 20, help="the same for live captures (8 MiB)"
    )
    parser.add_argument("--venvs", type=Path, help="folder of the peers' virtual environments")
    parser.add_argument("--no-install", action="store_true", help="only the peers that are there already")
    parser.add_argument("--quick", action="store_true", help="few packets, to check counts; installs nothing")
    parser.add_argument("--out", type=Path, help="folder for compat.json and compat.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    options = parser.parse_args(arguments)
    options.count = options.count or (3_000 if options.quick else 300_000)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.rates = options.rates or ([2_000] if options.quick else list(RATES))
    options.scenario = options.scenario or ["drain", "savefile"]
    if not 100 <= options.count <= 1_000_000 or not 1 <= options.rounds <= 1000:
        parser.error("--count is 100 to 1000000, --rounds 1 to 1000")
    if not all(1 <= rate <= 10_000_000 for rate in options.rates) or not 0 < options.seconds <= 10:
        parser.error("--rates are 1 to 10000000, --seconds more than 0 and at most 10")
    return options


def _pairs(options: argparse.Namespace) -> tuple[list[tuple[Run, ...]], list[str]]:
    """For each call the runs on the peer and here, and the reasons why a peer is left out."""
    pairs: list[tuple[Run, ...]] = []
    left_out: list[str] = []
    for peer in peers.CONTESTANTS:
        if peer.name not in (options.only or CALLS):
            continue
        sides = [(stand_in(peer), sys.executable)]
        try:
            install = not (options.no_install or options.quick)
            found = peers.interpreter(peer, options.venvs or peers.default_folder(), install=install)
            sides.insert(0, (peer, found))
        except peers.PeerError as error:
            left_out.append(str(error))
        for call in CALLS[peer.name]:
            if not options.call or call.way.name in options.call:
                way = replace(call.way, laps=min(call.way.laps, 2)) if options.quick else call.way
                pairs.append(tuple(Run(who, way, python) for who, python in sides))
    return pairs, left_out


def _beside(name: str, scenario: dict[str, Any]) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """The rows of a library, and those here, of the same call at the same rate."""
    rows = {(row["name"], row["way"], row.get("asked")): row for row in scenario["rows"]}
    for (who, way, asked), row in rows.items():
        if who == f"here for {name}":
            yield rows.get((name, way, asked)), row


def compared(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Each call: the peer's figure, ours, the ratio, and whether it is within its limit."""
    found = []
    for name, calls in CALLS.items():
        limits = {call.way.name: call.most for call in calls}
        for peer, here in _beside(name, scenario):
            ratio = report.ratio(here, peer) if peer else None
            most = limits[here["way"]]
            found.append(
                {
                    "peer": name,
                    "call": here["way"],
                    "asked": here.get("asked"),
                    "peer_ns": peer["cpu_ns"] if peer else None,
                    "here_ns": here["cpu_ns"],
                    "ratio": ratio,
                    "limit": most,
                    "kept": None if ratio is None else ratio <= most,
                }
            )
    return found


def loss_free(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each call the highest rate up to which no packet was lost, in the median: the peer's, and ours.

    Where the sender was slower than it was asked to be, that is the fastest that it was.
    """
    reached = max((int(row["rate"]) for row in scenario["rows"]), default=0)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in CALLS:
        for peer, here in _beside(name, scenario):
            row = found.setdefault((name, here["way"]), {"peer": name, "call": here["way"]})
            for who, side in (("peer", peer), ("here", here)):
                if side is not None:
                    row.setdefault(f"{who}_runs", []).append(side)
    for row in found.values():
        for who in ("peer", "here"):
            sides = row.pop(f"{who}_runs", None)
            row[f"{who}_rate"] = min(_highest(sides), reached) if sides else None
        row["kept"] = None if row["peer_rate"] is None else row["here_rate"] >= row["peer_rate"]
    return list(found.values())


def _highest(rows: list[dict[str, Any]]) -> int:
    """The highest rate asked for below the first at which something was lost; 0: there is none."""
    best = 0
    for row in sorted(rows, key=lambda each: int(each["asked"])):
        if row["lost"]:
            break
        best = row["asked"]
    return best


def _cells(row: dict[str, Any], shown: dict[str, str]) -> list[str]:
    """A line of a table: some figures in their formats."""
    figures = ["" if row[key] is None else format(row[key], form) for key, form in shown.items()]
    return [row["peer"], row["call"], *figures, {True: "yes", False: "NO", None: ""}[row["kept"]]]


def markdown(result: dict[str, Any]) -> str:
    """The report for people."""
    machine, settings = result["environment"], result["settings"]
    text = (
        f"{settings['count']:,} packets a run, {settings['rounds']} interleaved runs each, medians; "
        f"{machine['kernel']}, {machine['processors']} x {machine['processor']}, load {machine['load']:.1f} "
        f"when it began, Python {machine['python']}; pypcapzc {pypcapzc.__version__} on {result['libpcap']}."
    )
    lines = [text, ""]
    for scenario in result["scenarios"]:
        lines += [f"### {scenario['title']}", ""]
        if scenario["kind"] == "live":
            reached = max((row["rate"] for row in scenario["rows"]), default=0)
            lines += [
                f"Packets a second without loss; {reached:,.0f} was the fastest that they were sent.",
                "",
            ]
            head = ["library", "call", "the library itself", "here", "kept"]
            shown = {"peer_rate": ",d", "here_rate": ",d"}
            lines += report.table(head, [_cells(row, shown) for row in scenario["loss_free"]])
            continue
        head = ["library", "call", "the library itself, ns", "here, ns", "ratio", "at most", "kept"]
        shown = {"peer_ns": ".0f", "here_ns": ".0f", "ratio": ".2f", "limit": "g"}
        lines += ["Processor time per packet.", ""]
        lines += report.table(head, [_cells(row, shown) for row in scenario["compared"]])
    lines += [f"Not measured: {reason}." for reason in result["left_out"]]
    return "\n".join(lines).rstrip() + "\n"


def _measured(
    scenario: Scenario, settings: Settings, pairs: list[tuple[Run, ...]], options: argparse.Namespace
) -> dict[str, Any]:
    """A scenario's rows, and what is told from them."""
    runs = [run for pair in pairs for run in pair if scenario.kind in run.way.kinds]
    if scenario.kind == "live":
        runs = [replace(run, rate=rate) for rate in options.rates for run in runs]
    found = measure(scenario, settings, runs, options.rounds)
    found["compared"] = compared(found)
    if scenario.kind == "live":
        found["loss_free"] = loss_free(found)
    return found


def _report(options: argparse.Namespace) -> dict[str, Any]:
    pairs, left_out = _pairs(options)
    chosen = [each for each in _SCENARIOS if each.name in options.scenario]
    if any(each.kind != "savefile" for each in chosen) and (why_not := netns.why_not()):
        raise SystemExit(why_not)
    given = {name: getattr(options, name) for name in ("count", "buffer_size", "live_buffer_size", "seconds")}
    given |= {"snaplen": 65535, "timeout_ms": 20 if options.quick else 100}
    environment = report.environment()
    library = pypcapzc.zerocopy.status().library
    with tempfile.TemporaryDirectory(prefix="pypcapzc-compat-") as scratch:
        settings = Settings(**given, scratch=Path(scratch))
        scenarios = [_measured(each, settings, pairs, options) for each in chosen]
    return {
        "environment": environment,
        "libpcap": f"{library.version}{', patched' if library.patched else ''}",
        "settings": {**given, "rounds": options.rounds, "rates": options.rates},
        "scenarios": scenarios,
        "left_out": left_out,
    }


def main(arguments: list[str] | None = None) -> int:
    """0 if every run counted what was sent and what was promised is kept, else 1.

    With --quick times mean nothing, and counts are all that is looked at.
    """
    options = _options(arguments)
    result = _report(options)
    text, table = json.dumps(result, indent=1) + "\n", markdown(result)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "compat.json").write_text(text)
        (options.out / "compat.md").write_text(table)
    print(text if options.json else table, end="")
    scenarios = result["scenarios"]
    failed = any(scenario["errors"] or not scenario["rows"] for scenario in scenarios)
    told = [row for each in scenarios for row in each.get("loss_free", each["compared"])]
    return 1 if failed or (not options.quick and any(row["kept"] is False for row in told)) else 0


if __name__ == "__main__":
    sys.exit(main())
