"""scapy's own test campaign, with the backend and without: python tests/scapy/campaign.py FOLDER [FILE...]

FOLDER is a clone of scapy's repository.  Root, Linux: it runs in a network namespace of its own, without the
tests that need the internet.  Prints the tests that differ; the exit code is 1 where one fails with the
backend alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.netns import Lab

FILES = (
    *("sendsniff", "linux", "bpf", "pipetool", "answering_machines", "tuntap"),
    *("scapy/automaton", "scapy/layers/l2", "scapy/layers/inet", "scapy/layers/http", "scapy/layers/dns"),
)
"""Those that sniff and send: sockets, sniff(), automatons, sessions, savefiles; where a release has them."""
NEEDLESS = ("netaccess", "ipv6", "windows", "osx", "mock_read_routes_bsd", "scanner", "wireshark", "tshark")
_RESULT = re.compile(r"^(passed|failed) +[0-9A-F]+ +[0-9.]+s +(.*)$", re.MULTILINE)


def results(folder: Path, file: Path, enabled: bool) -> dict[str, str]:
    """Each test of a file, and whether it passed."""
    skipped = [word for each in NEEDLESS for word in ("-K", each)]
    utscapy = ["-m", "scapy.tools.UTscapy", "-f", "text", "-t", str(file), *skipped, "-b"]
    runner = [sys.executable, "-m", "pypcapzc", "run", *utscapy] if enabled else [sys.executable, *utscapy]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"}
    with tempfile.TemporaryFile("w+") as output:
        subprocess.run(
            runner,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        output.seek(0)
        return {name: verdict for verdict, name in _RESULT.findall(output.read())}


def main(folder: Path, names: list[str]) -> int:
    """Run them all."""
    broken = 0
    with Lab() as net, net.inside():
        net.ip("address", "add", "198.18.0.1/24", "dev", "zc0")
        net.ip("route", "add", "default", "via", "198.18.0.2", "dev", "zc0")
        for name in names:
            file = folder / "test" / f"{name}.uts"
            if not file.exists():
                continue
            native, ours = results(folder, file, False), results(folder, file, True)
            passed = [sum(each == "passed" for each in side.values()) for side in (native, ours)]
            print(
                f"{name}: {passed[0]} of {len(native)} pass without, {passed[1]} of {len(ours)} with",
                flush=True,
            )
            for test in sorted(native.keys() | ours.keys()):
                if native.get(test) != ours.get(test):
                    print(
                        f"    {test}: {native.get(test, 'not run')} without, {ours.get(test, 'not run')} with"
                    )
                    broken += ours.get(test) != "passed"
    return 1 if broken else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:] or list(FILES)))
