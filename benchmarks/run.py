"""Runs the benchmarks: ``python -m benchmarks.run`` as root, from the top of the source tree.

Prints a table (with --json: everything); docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers, report
from benchmarks.scenarios import SCENARIOS, RunError, Scenario, Settings, staged
from lab import netns

Entry = tuple[peers.Contestant, str, str]
"""A contestant, a way, and the Python that runs it."""


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    names = [contestant.name for contestant in peers.CONTESTANTS]
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[s.name for s in SCENARIOS],
        help="default: all; may be repeated",
    )
    parser.add_argument("--only", action="append", choices=names, help="default: all; may be repeated")
    parser.add_argument("--count", type=int, help="packets a run (1000000; with --quick 5000)")
    parser.add_argument("--rounds", type=int, help="runs of each (5; with --quick 1)")
    parser.add_argument("--buffer-size", type=int, default=256 << 20, help="bytes of the ring")
    parser.add_argument("--snaplen", type=int, default=262144)
    parser.add_argument("--timeout-ms", type=int, default=100)
    parser.add_argument("--venvs", type=Path, default=None, help="folder of the peers' virtual environments")
    parser.add_argument(
        "--no-install", action="store_true", help="measure only the peers that are there already"
    )
    parser.add_argument(
        "--quick", action="store_true", help="check counts with few packets; installs nothing"
    )
    parser.add_argument("--scratch", type=Path, default=None, help="folder for savefiles (up to 1 GB)")
    parser.add_argument("--out", type=Path, help="folder into which results.json and results.md are written")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)
    options.count = options.count or (5_000 if options.quick else 1_000_000)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if not 1 <= options.count <= 10_000_000 or not 1 <= options.rounds <= 1000:
        parser.error("--count is 1 to 10000000, --rounds 1 to 1000")
    return options


def _entries(options: argparse.Namespace) -> tuple[list[Entry], list[str]]:
    """Who is measured, and the reasons why others are not."""
    entries: list[Entry] = []
    left_out: list[str] = []
    for contestant in peers.CONTESTANTS:
        if options.only and contestant.name not in options.only:
            continue
        try:
            python = peers.interpreter(
                contestant,
                options.venvs or peers.default_folder(),
                install=not (options.no_install or options.quick),
            )
        except peers.PeerError as error:
            left_out.append(str(error))
            continue
        entries += [(contestant, way, python) for way in contestant.ways]
    return entries, left_out


def _measure(scenario: Scenario, settings: Settings, entries: list[Entry], rounds: int) -> dict[str, Any]:
    """All runs of a scenario, interleaved: each round begins with another contestant."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {(c.name, way): [] for c, way, _ in entries}
    errors: list[str] = []
    with staged(scenario, settings) as stage:
        for turn in range(rounds):
            shift = turn % len(entries)
            for contestant, way, python in entries[shift:] + entries[:shift]:
                try:
                    result = stage.run(contestant, way, python)
                except RunError as error:
                    errors.append(f"{scenario.name}, {contestant.name} {way}: {error}")
                    _note(f"FAILED {errors[-1]}")
                    continue
                runs[contestant.name, way].append(result)
                figure = 1e9 * result["seconds"] / result["packets"]
                _note(
                    f"{scenario.name} {turn + 1}/{rounds}: {contestant.name} {way} {figure:.0f} ns per packet"
                )
    rows = [report.summary(*who, found) for who, found in runs.items() if found]
    report.add_ratios(rows)
    return {"name": scenario.name, "title": scenario.title, "rows": rows, "errors": errors}


def _report(options: argparse.Namespace) -> dict[str, Any]:
    entries, left_out = _entries(options)
    for reason in left_out:
        _note(f"not measured: {reason}")
    chosen = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario]
    if any(s.live for s in chosen) and (why_not := netns.why_not()):
        left_out.append(f"live captures: {why_not}")
        chosen = [s for s in chosen if not s.live]
    with tempfile.TemporaryDirectory(prefix="pypcapzc-bench-", dir=options.scratch) as scratch:
        settings = Settings(
            options.count, options.buffer_size, options.snaplen, options.timeout_ms, Path(scratch)
        )
        scenarios = [_measure(s, settings, entries, options.rounds) for s in chosen] if entries else []
    return {
        "environment": report.environment(),
        "settings": {
            "count": options.count,
            "rounds": options.rounds,
            "buffer_size": options.buffer_size,
            "snaplen": options.snaplen,
            "timeout_ms": options.timeout_ms,
        },
        "scenarios": scenarios,
        "left_out": left_out,
    }


def main(arguments: list[str] | None = None) -> int:
    """0 if every run counted what was sent, 1 if one did not, or nothing was measured."""
    options = _options(arguments)
    result = _report(options)
    table = report.markdown(result)
    text = json.dumps(result, indent=1) + "\n"
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(text)
        (options.out / "results.md").write_text(table)
    print(text if options.json else table, end="")
    failed = any(scenario["errors"] for scenario in result["scenarios"])
    return 0 if not failed and any(scenario["rows"] for scenario in result["scenarios"]) else 1


if __name__ == "__main__":
    sys.exit(main())
