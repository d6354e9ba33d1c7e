"""Runs the benchmarks: ``python -m benchmarks.run`` as root, from the top of the source tree.

Prints a table (with --json: everything); docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers, report
from benchmarks.scenarios import SCENARIOS, Run, RunError, Scenario, Settings, fastest, staged
from lab import netns

RATES = (100_000, 200_000, 300_000, 400_000, 500_000)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=os.environ.get("PYPCAPZC_BENCH_PROG", "python -m benchmarks.run"),
        description="Measures pypcapzc beside its peers: packets a second, loss, processor time.",
    )
    names = [contestant.name for contestant in peers.CONTESTANTS]
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[s.name for s in SCENARIOS],
        help="default: all; may be repeated",
    )
    parser.add_argument("--only", action="append", choices=names, help="default: all; may be repeated")
    parser.add_argument(
        "--way", action="append", help="only ways of this name, as iterator or blocks; may be repeated"
    )
    parser.add_argument("--count", type=int, help="packets a run (1000000; with --quick 5000)")
    parser.add_argument("--rounds", type=int, help="runs of each (5; with --quick 1)")
    parser.add_argument("--rates", type=_numbers, help="of live captures, as 100000,500000 packets a second")
    parser.add_argument("--seconds", type=float, help="that packets are sent to a live capture (2)")
    parser.add_argument("--buffer-size", type=int, default=256 << 20, help="bytes of the ring (256 MiB)")
    parser.add_argument(
        "--live-buffer-size", type=int, default=8 << 20, help="the same for live captures (8 MiB)"
    )
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
    parser.add_argument("--out", type=Path, help="folder for results.json, results.md and the plots")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    quick = options.quick
    options.count = options.count or (5_000 if quick else 1_000_000)
    options.rounds = options.rounds or (1 if quick else 5)
    options.rates = options.rates or ([5_000] if quick else list(RATES))
    options.seconds = options.seconds or (0.5 if quick else 2.0)
    if not 1 <= options.count <= 10_000_000 or not 1 <= options.rounds <= 1000:
        parser.error("--count is 1 to 10000000, --rounds 1 to 1000")
    if not all(1 <= rate <= 10_000_000 for rate in options.rates) or not 0 < options.seconds <= 600:
        parser.error("--rates are 1 to 10000000, --seconds more than 0 and at most 600")
    return options


def _runs(options: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """Who is measured, and the reasons why others are not."""
    runs: list[Run] = []
    left_out: list[str] = []
    has_numpy = importlib.util.find_spec("numpy") is not None
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
        for way in contestant.ways:
            if way.work == peers.COLUMN and not has_numpy:
                left_out.append(f"{contestant.name} {way.name}: numpy is not installed")
            elif not options.way or way.name in options.way:
                runs.append(Run(contestant, way, python))
    return runs, left_out


def _of(scenario: Scenario, runs: list[Run], rates: list[int]) -> list[Run]:
    """The runs of one round of a scenario."""
    able = [run for run in runs if scenario.kind in run.way.kinds]
    if scenario.kind != "live":
        return able
    return [Run(run.contestant, run.way, run.python, rate) for rate in rates for run in able]


def measure(scenario: Scenario, settings: Settings, runs: list[Run], rounds: int) -> dict[str, Any]:
    """All runs of a scenario, interleaved: each round begins with another contestant."""
    results: dict[Run, list[dict[str, Any]]] = {run: [] for run in runs}
    errors: list[str] = []
    with staged(scenario, settings) as stage:
        for turn in range(rounds):
            shift = turn % len(runs) if runs else 0
            for run in runs[shift:] + runs[:shift]:
                who = f"{run.contestant.name} {run.way.name}" + (f" at {run.rate:,}/s" if run.rate else "")
                try:
                    result = stage.run(run)
                except RunError as error:
                    errors.append(f"{scenario.name}, {who}: {error}")
                    _note(f"FAILED {errors[-1]}")
                    continue
                results[run].append(result | {"round": turn})
                wall, cpu = (1e9 * result[what] / max(1, result["packets"]) for what in ("seconds", "cpu"))
                figure = f"{wall:.0f} ns per packet, {cpu:.0f} ns CPU"
                if run.rate:
                    figure = f"{result['lost']:,} lost, {result['cpu']:.2f} s CPU"
                _note(f"{scenario.name} {turn + 1}/{rounds}: {who} {figure}")
    rows = []
    for run, found in results.items():
        if found:
            way = run.way
            row = report.summary(run.contestant.name, way.name, way.work, way.copies, found)
            rows.append(row | ({"asked": run.rate} if run.rate else {}))
    report.add_ratios(rows)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "kind": scenario.kind,
        "rows": rows,
        "errors": errors,
    }


def _report(options: argparse.Namespace) -> dict[str, Any]:
    runs, left_out = _runs(options)
    chosen = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario]
    generator = None
    if any(s.kind != "savefile" for s in chosen) and (why_not := netns.why_not()):
        left_out.append(f"live captures: {why_not}")
        chosen = [s for s in chosen if s.kind == "savefile"]
    for reason in left_out:
        _note(f"not measured: {reason}")
    environment = report.environment()
    if any(s.kind == "live" for s in chosen):
        generator = fastest(options.count)
    names = "count", "buffer_size", "live_buffer_size", "snaplen", "timeout_ms", "seconds"
    given = {name: getattr(options, name) for name in names}
    with tempfile.TemporaryDirectory(prefix="pypcapzc-bench-", dir=options.scratch) as scratch:
        settings = Settings(**given, scratch=Path(scratch))
        scenarios = [measure(s, settings, _of(s, runs, options.rates), options.rounds) for s in chosen]
    return {
        "environment": environment,
        "settings": {**given, "rounds": options.rounds, "rates": options.rates},
        "generator": generator,
        "scenarios": scenarios,
        "limits": [] if options.quick else report.promises(scenarios),
        "left_out": left_out,
    }


def _write(result: dict[str, Any], table: str, text: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(text)
    (folder / "results.md").write_text(table)
    if importlib.util.find_spec("matplotlib") is None:
        _note("no plots: they need matplotlib (pip install 'pypcapzc[bench]')")
        return
    from benchmarks import plots

    for path in plots.draw(result, folder):
        _note(f"written: {path}")


def main(arguments: list[str] | None = None) -> int:
    """0 if every run counted what was sent, 1 if one did not, or nothing was measured."""
    options = _options(arguments)
    result = _report(options)
    table = report.markdown(result)
    text = json.dumps(result, indent=1) + "\n"
    if options.out:
        _write(result, table, text, options.out)
    print(text if options.json else table, end="")
    failed = any(scenario["errors"] for scenario in result["scenarios"])
    return 0 if not failed and any(scenario["rows"] for scenario in result["scenarios"]) else 1


if __name__ == "__main__":
    sys.exit(main())
