"""Choosing packets beside pcapy-ng, with pcapy-ng's own scenarios: ``python -m benchmarks.selection``.

The packets and the sets come from the generator in pcapy-ng's repository (a folder pcapy-ng in the one that
PYPCAPZC_PEERS names), which also writes a manifest of how many packets each set and each number of heads has
to admit.  Each run is a fresh process and is timed from the opened savefile on, making tables included; the
two libraries take turns, and what each admits is compared with the manifest.

Equal work: pcapy-ng calls a function that does nothing for each admitted packet, with its header and its
bytes; here a loop that does nothing goes over (ts_ns, bytes) of each.  Into a buffer both copy the admitted
packets and tell where they are.  next_batch() with a slice for each packet stands beside the iteration of a
capture.  With --stand-in the peer's program runs on pypcapzc's stand-in for pcapy too.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers, report

ROOT = Path(__file__).parent.parent
_CONSUMER = "benchmarks.consumers.selection"
_TIMEOUT = 300
_PEER = next(contestant for contestant in peers.CONTESTANTS if contestant.name == "pcapy-ng")
_OURS, _THEIRS, _STAND_IN = "pypcapzc", "pcapy-ng", "stand-in"


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    name: str
    which: str
    expected: int
    into: str = "callback"
    addresses: tuple[int, ...] | None = None
    heads: int = 0
    limit: float = 1.0
    """Times pcapy-ng's, at most."""
    peer_may_exceed: bool = False
    """Its table of flows forgets the one of two that share a place, and counts anew."""


def scenarios(manifest: dict[str, Any]) -> Iterator[Scenario]:
    """pcapy-ng's, by their names there where they have one."""
    total, heads = manifest["packets"], manifest["flow_head_counts"]
    yield Scenario("raw_next_batch_1024_slice", "all", total, "batch")
    yield Scenario("cls_admit_all", "all", total)
    yield Scenario("cls_admit_none", "none", 0)
    for name, made in manifest["addr_sets"].items():
        yield Scenario(f"cls_addrset_{name}", "set", made["expected_matches"], addresses=tuple(made["ips"]))
    for kind, table in (("seq", "addr_set_sizes"), ("rand", "addr_set_sizes_random")):
        for size, made in manifest[table].items():
            expected, members = made["expected_matches"], tuple(made["ips"])
            yield Scenario(f"cls_setsize_{kind}_{size}", "set", expected, addresses=members)
    for number in (1, 3):
        expected = heads[str(number)]
        yield Scenario(
            f"cls_flowheads_{number}", "heads", expected, heads=number, limit=1.5, peer_may_exceed=True
        )
    yield Scenario("buf_admit_all", "all", total, "buffer")
    tenth = manifest["addr_sets"]["10pct"]
    yield Scenario(
        "buf_addrset_10pct", "set", tenth["expected_matches"], "buffer", addresses=tuple(tenth["ips"])
    )
    yield Scenario("buf_flowheads_3", "heads", heads["3"], "buffer", heads=3, limit=1.5, peer_may_exceed=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--packets", type=int, default=400_000, help="in the savefile (400000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each library (5)")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--venvs", type=Path, default=None, help="folder of the peers' virtual environments")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the savefile (200 MB)")
    parser.add_argument("--stand-in", action="store_true", help="measure the stand-in for pcapy too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--out", type=Path, help="folder for selection.json and selection.md")
    options = parser.parse_args(arguments)
    if not 100 <= options.packets <= 10_000_000 or not 1 <= options.rounds <= 1000:
        parser.error("--packets is 100 to 10000000, --rounds 1 to 1000")
    return options


def _generated(folder: Path, packets: int) -> dict[str, Any]:
    """The manifest of a savefile that pcapy-ng's generator made."""
    home = os.environ.get("PYPCAPZC_PEERS")
    generator = Path(home or ".") / "pcapy-ng" / "benchmarks" / "gen_pcap.py"
    if home is None or not generator.is_file():
        raise SystemExit("PYPCAPZC_PEERS has to name a folder with pcapy-ng's repository, as pcapy-ng, in it")
    target = folder / "selection.pcap"
    command = [sys.executable, str(generator), "--packets", str(packets), "--out", str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=_TIMEOUT)
    manifest: dict[str, Any] = json.loads(Path(f"{target}.manifest.json").read_text())
    return manifest


def _run(
    who: str, python: list[str], scenario: Scenario, manifest: dict[str, Any], folder: Path
) -> dict[str, Any]:
    members = folder / "addresses"
    if scenario.addresses is not None:
        members.write_bytes(struct.pack(f"!{len(scenario.addresses)}I", *scenario.addresses))
    run = {
        "savefile": manifest["path"],
        "which": scenario.which,
        "into": scenario.into,
        "heads": scenario.heads,
        "addresses": str(members) if scenario.addresses is not None else None,
        # What pcapy-ng writes: five bytes before each packet.
        "buffer": manifest["bytes"] + 5 * manifest["packets"] if scenario.into == "buffer" else 0,
    }
    done = subprocess.run(
        [*python, "-m", _CONSUMER, _OURS if who == _OURS else _THEIRS, json.dumps(run)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_TIMEOUT,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    may_exceed = who != _OURS and scenario.peer_may_exceed
    admitted = found["admitted"]
    if admitted < scenario.expected or (admitted > scenario.expected and not may_exceed):
        raise SystemExit(f"{scenario.name}: {who} admitted {admitted}, not {scenario.expected}")
    return found


def _measured(
    scenario: Scenario, manifest: dict[str, Any], pythons: dict[str, list[str]], folder: Path, rounds: int
) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {who: [] for who in pythons}
    for turn in range(rounds):
        order = list(pythons.items())
        for who, python in order if turn % 2 == 0 else reversed(order):
            runs[who].append(_run(who, python, scenario, manifest, folder))
    row: dict[str, Any] = {"name": scenario.name, "limit": scenario.limit, "expected": scenario.expected}
    for who, found in runs.items():
        of_each = {key: [run[key] for run in found] for key in ("wall", "cpu", "memory_kib")}
        medians = {key: median(values) for key, values in of_each.items()}
        row[who] = {"admitted": found[0]["admitted"], "runs": found, **medians}
    for key in ("wall", "cpu"):
        row[f"{key}_ratio"] = row[_OURS][key] / row[_THEIRS][key]
        if _STAND_IN in row:
            row[f"{key}_stand_in"] = row[_STAND_IN][key] / row[_THEIRS][key]
    return row


def _table(result: dict[str, Any]) -> str:
    machine, rows = result["environment"], result["scenarios"]
    more = ["stand-in, processor time"] if any(_STAND_IN in row for row in rows) else []
    head = "scenario", "admitted", "pcapy-ng admitted", "ms", "pcapy-ng ms", "processor time", "time", "limit"
    text = (
        f"{result['packets']:,} packets ({result['bytes'] / 2**20:.0f} MiB), {result['rounds']} runs each in "
        f"turns, medians; {machine['kernel']}, {machine['processors']} x {machine['processor']}, Python "
        f"{machine['python']}. ms of processor time; the last columns are times pcapy-ng's."
    )
    table = []
    for row in rows:
        ours, theirs = row[_OURS], row[_THEIRS]
        cells = [row["name"], f"{ours['admitted']:,}", f"{theirs['admitted']:,}"]
        cells += [f"{1000 * each['cpu']:.0f}" for each in (ours, theirs)]
        cells += [f"{row[key]:.2f}" for key in ("cpu_ratio", "wall_ratio")]
        cells += [f"{row['limit']:g}" + ("" if row["cpu_ratio"] <= row["limit"] else ", exceeded")]
        table.append([*cells, *(f"{row['cpu_stand_in']:.2f}" for _ in more)])
    return "\n".join([text, "", *report.table([*head, *more], table)]).rstrip() + "\n"


def main(arguments: list[str] | None = None) -> int:
    """0 if every scenario is within its limit, else 1; a wrong count ends it."""
    options = _options(arguments)
    try:
        peer = peers.interpreter(_PEER, options.venvs or peers.default_folder(), install=True)
    except peers.PeerError as error:
        raise SystemExit(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="pypcapzc-selection-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        manifest = _generated(folder, options.packets)
        Path(manifest["path"]).read_bytes()  # into the page cache
        pythons = {_OURS: [sys.executable], _THEIRS: [peer]}
        if options.stand_in:
            pythons[_STAND_IN] = [sys.executable, "-m", "pypcapzc", "run"]
        rows = []
        for scenario in scenarios(manifest):
            if options.only in scenario.name:
                rows.append(_measured(scenario, manifest, pythons, folder, options.rounds))
                print(f"{scenario.name}: {rows[-1]['cpu_ratio']:.2f}", file=sys.stderr, flush=True)
    result = {
        "environment": report.environment(),
        "packets": manifest["packets"],
        "bytes": manifest["bytes"],
        "rounds": options.rounds,
        "scenarios": rows,
    }
    text, table = json.dumps(result, indent=1) + "\n", _table(result)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "selection.json").write_text(text)
        (options.out / "selection.md").write_text(table)
    print(text if options.json else table, end="")
    return 0 if all(row["cpu_ratio"] <= row["limit"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
