"""What the patch costs those who don't use it, and what an index costs: ``python -m benchmarks.dispatch``.

As root, with a C compiler.  Builds libpcap with the kit twice, stock and patched, and measures both side by
side: pcap_dispatch() with a callback in C that does nothing, on the same packets of 64 bytes in a filled
ring; pcap_zc_next() and pcap_zc_release(), which make the index; and numpy reading one field of all headers.
The ways take turns after every round, and a result is the median of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from lab import netns
from lab.traffic import Sender
from pypcapzc import paths
from pypcapzc.kit import data, driver, patching, pins, sources

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "tests" / "patches" / "csrc" / "zcbench.c"
ROUND = 500_000
"""Packets that are in the ring at a time."""
FIELD = "wirelen"
LIMITS = {"dispatch, patched : stock": 1.02, "index, ns": 15.0, "field, ns": 3.0}


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000_000, help="packets a run (5000000)")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--libraries",
        nargs=2,
        type=Path,
        metavar=("STOCK", "PATCHED"),
        help="two libpcap.so to compare; default: the kit builds them, and installs the patched one",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.runs < 1:
        parser.error("--count and --runs are 1 or more")
    return options


def _libraries(options: argparse.Namespace) -> tuple[Path, Path]:
    if options.libraries:
        stock, patched = options.libraries
        return stock.absolute(), patched.absolute()
    built = [driver.build(driver.Request(stock=stock), _note).path for stock in (True, False)]
    return built[0], built[1]


def _program(folder: Path) -> Path:
    """zcbench, compiled with the headers of the patched libpcap."""
    patches = data.patches_dir()
    version = driver.DEFAULT_LIBPCAP
    pin = pins.pin_of(patches, version)
    tree = folder / "tree"
    found = sources.find(pin, paths.cache_dir() / "kit" / "sources", keys=patches / "keys")
    sources.unpack(found, tree)
    patching.apply(patching.read_series(patches, version), tree, version)
    made = folder / "zcbench"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", f"-I{tree}", "-o", str(made), str(PROGRAM), "-ldl"], check=True)
    return made


def _run(net: netns.Lab, program: Path, libraries: tuple[Path, Path], count: int) -> dict[str, float]:
    """One run: nanoseconds a packet for each way."""
    size = min(ROUND, count)
    ends = net.capture_device, net.send_device
    with net.inside():
        done = subprocess.run(
            [program, *libraries, *ends, str(size), str(-(-count // size))],
            capture_output=True,
            text=True,
            timeout=60 + count / 20_000,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {name: float(figure) for name, figure in map(str.split, done.stdout.splitlines())}


def _fields(net: netns.Lab, library: Path, count: int) -> dict[str, float]:
    """Nanoseconds a packet in Python: to get the array of a block, to read a field of it, to add one up.

    The first is the price of a block, however many packets are in it; a call of numpy is in the others.
    """
    os.environ["PYPCAPZC_LIBPCAP"] = str(library)
    import numpy as np

    import pypcapzc

    clock = time.perf_counter_ns
    taken = {"array": 0, "field": 0, "sum": 0}
    packets = dict.fromkeys(taken, 0)
    size = min(ROUND, count)
    rounds = -(-count // size)
    turn = 0
    with (
        net.inside(),
        pypcapzc.open_live(
            net.capture_device, timeout_ms=50, buffer_size=size * 256 + (4 << 20), mode="zerocopy"
        ) as capture,
        Sender(net.send_device, 64) as sender,
    ):
        for number in range(1, rounds + 1):
            sender.send(size)
            while packets["array"] < number * size:
                block = capture.next_block(timeout=5)
                if block is None:
                    raise SystemExit("packets are missing")
                turn += 1
                way = "field" if turn % 2 else "sum"
                began = clock()
                headers = block.headers
                got = clock()
                found = np.array(headers[FIELD]) if way == "field" else np.sum(headers[FIELD])
                taken[way] += clock() - got
                taken["array"] += got - began
                packets[way] += len(block)
                packets["array"] += len(block)
                if int(np.sum(found)) != 64 * len(block):
                    raise SystemExit(f"the lengths of {len(block)} packets of 64 bytes add up to {found}")
                del headers
                block.release()
    return {name: taken[name] / max(1, packets[name]) for name in taken}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, and their medians."""
    libraries = _libraries(options)
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="pypcapzc-dispatch-") as folder, netns.Lab() as net:
        program = _program(Path(folder))
        for number in range(options.runs):
            run = _run(net, program, libraries, options.count)
            run["ratio"] = run["patched"] / run["stock"]
            run |= _fields(net, libraries[1], options.count)
            figures = ", ".join(f"{name} {figure:.3f}" for name, figure in run.items())
            _note(f"{number + 1}/{options.runs}: {figures}")
            runs.append(run)
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    found = middle["ratio"], middle["lent"], middle["field"]
    return {
        "environment": report.environment(),
        "libraries": [str(path) for path in libraries],
        "count": options.count,
        "runs": runs,
        "median": middle,
        "limits": [
            {"name": name, "found": figure, "limit": limit, "kept": figure <= limit}
            for (name, limit), figure in zip(LIMITS.items(), found, strict=True)
        ],
    }


def main(arguments: list[str] | None = None) -> int:
    """0 if all limits are kept, 1 if one is not."""
    options = _options(arguments)
    if why_not := netns.why_not():
        raise SystemExit(why_not)
    result = measure(options)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"medians of {options.runs} runs of {options.count:,} packets each, nanoseconds a packet")
        print(", ".join(f"{name} {figure:.2f}" for name, figure in result["median"].items()))
        for row in result["limits"]:
            kept = "kept" if row["kept"] else "NOT KEPT"
            print(f"{row['name']}: {row['found']:.3f}, limit {row['limit']:g}: {kept}")
    return 0 if all(row["kept"] for row in result["limits"]) else 1


if __name__ == "__main__":
    sys.exit(main())
