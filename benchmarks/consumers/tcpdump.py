"""tcpdump, the reference in C: it writes to /dev/null, and counts a savefile.

A capture to be drained is stopped (SIGSTOP) while the ring fills.  It says how many packets there were, not
how many bytes; and it ends after so many, or, live, when it is told to.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import IO

from benchmarks.consumers import common

_PATIENCE = 1.5
"""Seconds that tcpdump may take to see the last packets: its timeout is one second."""


def _command(task: common.Task) -> list[str]:
    program = shutil.which("tcpdump") or "tcpdump"
    if not task.live:
        return [program, "-r", task.source, "--count"]
    command = [program, "-Z", "root", "-n", "-i", task.source, "-B", str(task.buffer_size >> 10)]
    command += ["-s", str(task.snaplen), "-w", "/dev/null"]
    return [*command, "-c", str(task.count)] if task.kind == "drain" else command


def _processor_time(pid: int) -> float:
    """Seconds that a process has run (proc(5), schedstat)."""
    with open(f"/proc/{pid}/schedstat") as figures:
        return int(figures.read().split()[0]) / 1e9


def _until(lines: IO[str], text: str) -> str:
    seen = []
    for line in lines:
        if text in line:
            return line
        seen.append(line)
    raise SystemExit(f"tcpdump said: {''.join(seen).strip()}")


def _figure(line: str) -> int:
    found = re.search(r"\d+", line)
    return int(found[0]) if found else 0


def _capture(task: common.Task) -> dict[str, object]:
    with subprocess.Popen(_command(task), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        _until(process.stderr, "listening on")
        if task.kind == "drain":
            process.send_signal(signal.SIGSTOP)
        common.say(ready=True)
        if not sys.stdin.readline():
            process.kill()
            raise SystemExit("the harness has gone")
        before, began = _processor_time(process.pid), time.perf_counter()
        if task.kind == "drain":
            process.send_signal(signal.SIGCONT)
        else:
            sys.stdin.readline()
            time.sleep(_PATIENCE)
            process.send_signal(signal.SIGINT)
        packets = _figure(_until(process.stderr, "captured"))
        cpu, seconds = _processor_time(process.pid) - before, time.perf_counter() - began
        received = _figure(_until(process.stderr, "received by filter"))
        dropped = _figure(_until(process.stderr, "dropped by kernel"))
    return {"packets": packets, "seconds": seconds, "cpu": cpu, "counters": [received, dropped]}


def _count(task: common.Task) -> dict[str, object]:
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    began = time.perf_counter()
    with subprocess.Popen(
        _command(task), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        output, errors = process.communicate()
    seconds, usage = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(errors)
    cpu = usage.ru_utime + usage.ru_stime - before
    return {"packets": _figure(output), "seconds": seconds, "cpu": cpu, "counters": None}


def main() -> int:
    """The same talk as the other consumers'."""
    task = common.Task(**json.loads(sys.argv[1]))
    program = shutil.which("tcpdump") or "tcpdump"
    about = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    lines = [line for line in (about.stdout + about.stderr).splitlines() if " version " in line]
    tcpdump, libpcap = [*lines, "tcpdump version unknown", "libpcap version unknown"][:2]
    found = _capture(task) if task.live else _count(task)
    about_it = {"version": tcpdump.split()[2], "libpcap": libpcap, "libpcap_file": "", "python": ""}
    common.say(**found, **about_it, bytes=None, copies=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
