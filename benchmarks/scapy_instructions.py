"""What sniff() costs beside dissecting, in instructions: python -m benchmarks.scapy_instructions

Root, Linux, with valgrind.  They are the same whatever else the machine does.  Each figure is the difference
between a run with more packets and one with fewer, so that starting Python and loading scapy are not in it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALONE, EAGER, LAZY = "Ether(bytes) alone", "sniff(), lazy=False", "sniff(), nobody looks"
FEWER, MORE = 300, 1300
_SLOWER = 100
"""Callgrind takes so many times as long: sniff() takes packets of a socket for 5 ms and then looks around."""


def work(what: str, number: int) -> None:
    """What is measured, in a process of its own."""
    import gc

    from scapy.config import conf
    from scapy.layers.inet import UDP  # noqa: F401 - bound to IP
    from scapy.layers.l2 import Ether
    from scapy.sendrecv import sniff

    import pypcapzc.scapy
    from lab import frames, traffic
    from lab.netns import Lab
    from pypcapzc.scapy import selecting

    selecting.TURN *= _SLOWER
    packets = [frames.expected(each, 64) for each in range(MORE)]
    with Lab() as net, net.inside(), traffic.Sender("zc1") as outlet:
        conf.ifaces.reload()
        gc.freeze()  # else a look through all of scapy's objects falls into one run and not into another
        if what == ALONE:
            for data in packets[:number]:
                Ether(data)
            return
        with pypcapzc.scapy.enable(lazy=what == LAZY):
            sniff(
                iface="zc0",
                prn=lambda packet: None,
                store=False,
                count=number,
                timeout=600,
                started_callback=lambda: outlet.send(MORE),
            )


def instructions(what: str, number: int) -> int:
    """All that such a process takes."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, sys.executable, "-m", "benchmarks.scapy_instructions", "--work", what, str(number)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr[-2000:])
    return int(found[1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scapy_instructions", description=__doc__)
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], int(options.work[1]))
        return
    each = {
        what: (instructions(what, MORE) - instructions(what, FEWER)) / (MORE - FEWER)
        for what in (ALONE, EAGER, LAZY)
    }
    for what, number in each.items():
        print(f"{what:24}{number:12,.0f} instructions a packet{number / each[ALONE]:10.3f}")


if __name__ == "__main__":
    main()
