"""What it costs to capture to a savefile, beside tcpdump: ``python -m benchmarks.savefiles``.

As root, with tcpdump.  A sender of its own paces frames into a private veth pair; tcpdump and
`pypcapzc capture -w`, with the libpcap of each PYPCAPZC_HOME that is named, write them to files, one consumer
at a time, in turns.  A consumer is a fresh process; its processor time is told for all of the process and
without its start, and every file is checked: what is missing of what was sent is loss.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from lab import frames, netns, traffic

ROOT = Path(__file__).parent.parent
_BUFFER = 256 << 20
_FILE_HEADER, _RECORD = 24, struct.Struct("=8xI4x")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.savefiles", description=__doc__)
    parser.add_argument("--rate", type=int, default=300_000, help="packets a second (300000)")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--size", type=frames.parse_size, default=64, help="bytes: 64, or 60-1500")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--home",
        action="append",
        metavar="NAME=FOLDER",
        help="a PYPCAPZC_HOME to measure, under a name; may be given again; default: the present one",
    )
    parser.add_argument("--folder", type=Path, help="where the savefiles go; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.rate < 1 or options.seconds <= 0:
        parser.error("--runs, --rate and --seconds are more than 0")
    return options


def _consumers(
    homes: list[str] | None, device: str, target: Path
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Command and environment of each consumer."""
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        raise SystemExit("needs tcpdump (Debian: apt-get install tcpdump)")
    found = {
        "tcpdump": (
            [
                tcpdump,
                "-Z",
                "root",
                "-n",
                "-i",
                device,
                "-B",
                str(_BUFFER >> 10),
                "--nano",
                "-w",
                str(target),
            ],
            dict(os.environ),
        )
    }
    command = [sys.executable, "-m", "pypcapzc", "capture", "-i", device, "--buffer-size", str(_BUFFER)]
    for home in homes or [""]:
        name, _, folder = home.partition("=")
        changes = {"PYPCAPZC_HOME": str(Path(folder).absolute())} if folder else {}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
        found["pypcapzc" + (f", {name}" if name else "")] = ([*command, "-w", str(target)], environment)
    return found


def _records(path: Path) -> int:
    """Whole records in the file, walked from its beginning."""
    data = path.read_bytes()
    position, count = _FILE_HEADER, 0
    while position < len(data):
        position += 16 + _RECORD.unpack_from(data, position)[0]
        count += 1
    if position != len(data):
        raise SystemExit(f"{path} ends in the middle of a packet")
    return count


def _processor_time(pid: int) -> float:
    """Seconds that a process has run, exact to the nanosecond (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _until_listening(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if b"listening on" in line or b"capturing on" in line:
            return
    raise SystemExit("the consumer does not begin")


def _run(
    net: netns.Lab, command: list[str], environment: dict[str, str], target: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """One run of one consumer."""
    size = options.size if isinstance(options.size, int) else "-".join(map(str, options.size))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with net.inside():
        consumer = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        _until_listening(consumer)
        began = _processor_time(consumer.pid)
        with net.inside(), traffic.Sender(net.send_device, options.size) as sender:
            sent = sender.pace(options.rate, options.seconds)
        time.sleep(1)
        ended = _processor_time(consumer.pid)
        consumer.send_signal(signal.SIGINT)
        consumer.communicate(timeout=60)
    except BaseException:
        consumer.kill()
        consumer.communicate()
        raise
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    captured = _records(target)
    target.unlink()
    return {
        "size": size,
        "sent": sent.packets,
        "seconds": sent.seconds,
        "captured": captured,
        "lost": sent.packets - captured,
        "capturing": ended - began,
        "process": _seconds(after) - _seconds(before),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, and their medians."""
    runs: dict[str, list[dict[str, Any]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pypcapzc-savefiles-", dir=options.folder) as folder,
        netns.Lab() as net,
    ):
        target = Path(folder) / "out.pcap"
        consumers = _consumers(options.home, net.capture_device, target)
        for number in range(options.runs):
            for name, (command, environment) in consumers.items():
                run = _run(net, command, environment, target, options)
                runs.setdefault(name, []).append(run)
                figures = f"{run['capturing']:.2f} s of {run['process']:.2f} s, {run['lost']} lost"
                print(f"{number + 1}/{options.runs} {name}: {figures}", file=sys.stderr)
    middle = {
        name: {
            "ns": statistics.median(1e9 * run["capturing"] / run["sent"] for run in each),
            "process": statistics.median(run["process"] for run in each),
            "lost": max(run["lost"] for run in each),
        }
        for name, each in runs.items()
    }
    return {"environment": report.environment(), "rate": options.rate, "runs": runs, "median": middle}


def main(arguments: list[str] | None = None) -> int:
    """0 where nobody needs more than tcpdump and loses where that does not, else 1."""
    options = _options(arguments)
    if why_not := netns.why_not():
        raise SystemExit(why_not)
    result = measure(options)
    reference = result["median"]["tcpdump"]
    kept = True
    rows = []
    for name, row in result["median"].items():
        row["ratio"] = row["ns"] / reference["ns"]
        kept = kept and row["ratio"] <= 1 and (row["lost"] == 0 or reference["lost"] > 0)
        rows.append(
            f"{name:24} {row['ns']:10.0f} {row['ratio']:6.2f} {row['process']:10.2f} "
            f"{row['process'] / reference['process']:6.2f} {row['lost']:9,}"
        )
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        what = f"{options.rate:,} packets/s of {options.size} bytes"
        print(f"{what} for {options.seconds:g} s, medians of {options.runs} runs, the most that was lost")
        print(f"{'':24} {'ns/packet':>10} {'ratio':>6} {'process s':>10} {'ratio':>6} {'lost':>9}")
        print("\n".join(rows))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
