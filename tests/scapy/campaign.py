"""scapy's own test campaign, with the backend and without: python tests/scapy/campaign.py FOLDER [FILE...]

FOLDER is a clone of scapy's repository.  Root, Linux: it runs in network and mount namespaces of its own,
without the tests that need the internet.  Prints the tests that differ; the exit code is 1 where one fails
with the backend alone and is not in DIFFERENT.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.netns import Lab

QUICK = ("sendsniff", "linux", "tuntap", "scapy/automaton", "scapy/layers/l2", "scapy/layers/http")
FILES = (
    *(*QUICK, "regression", "pipetool", "answering_machines", "contrib/bgp", "contrib/automotive/doip"),
    *("scapy/layers/inet", "scapy/layers/inet6", "scapy/layers/dns", "scapy/layers/netflow"),
    *("scapy/layers/dcerpc", "scapy/layers/kerberos", "scapy/layers/tftp", "scapy/layers/tls/tls"),
    *("contrib/isotp_soft_socket", "contrib/automotive/ecu", "contrib/automotive/ecu_am"),
)
"""Those that sniff and send: sockets, sniff(), automatons, sessions, savefiles; where a release has them."""
# timers: they count how often one went off in a second, and have no sockets.
NEEDLESS = ("timers", "netaccess", "ipv6", "windows", "osx", "scanner", "wireshark", "tshark", "vcan_socket")
LEFT_OUT = {
    # scapy's build_graph() goes in circles where a state uses a name that is a function of the automaton.
    "scapy/automaton": ("Automaton graph", "Automaton graph - with indirection"),
}
"""Tests that do not end, with the backend or without."""
DIFFERENT: dict[str, str] = {}
"""Tests that pass without the backend only, and why."""

ROOT = Path(__file__).resolve().parents[2]
TRIES, PATIENCE = 3, 900
"""How often a file is run, and seconds for each time."""

_RESULT = re.compile(r"###\((\d+)\)=\[(passed|failed)\] (.*)$", re.MULTILINE)
"""Of the report: what is printed while the tests run stands in one line with what they print themselves."""
_OWN_MOUNTS = 'mkdir -p /run/netns && mount -t tmpfs none /run/netns && exec "$@"'
_SUDO = '#!/bin/sh\nexec "$@"\n'
Verdicts = dict[tuple[int, str], str]
"""passed or failed, of each test's number and name (of which a file may have two alike)."""


def results(folder: Path, file: str, enabled: bool, seconds: float = PATIENCE) -> Verdicts:
    """What became of each test of a file; nothing where it did not end in time.  Within a Lab."""
    skipped = [word for each in NEEDLESS for word in ("-K", each)]
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as output:
        tests = Path(scratch, f"{Path(file).name}.uts")
        tests.write_text(without((folder / "test" / f"{file}.uts").read_text(), LEFT_OUT.get(file, ())))
        sudo = Path(scratch, "sudo")  # which tests call, as root too
        sudo.write_text(_SUDO)
        sudo.chmod(0o755)
        utscapy = [
            "-m",
            "scapy.tools.UTscapy",
            "-f",
            "text",
            "-t",
            str(tests),
            *skipped,
            "-b",
            *_before(file),
        ]
        runner = [sys.executable, *(["-m", "pypcapzc", "run"] if enabled else []), *utscapy]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "PATH": f"{scratch}{os.pathsep}{os.environ['PATH']}",
        }
        child = subprocess.Popen(
            # They name network namespaces.
            ["unshare", "--mount", "sh", "-c", _OWN_MOUNTS, "sh", *runner],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return {}
        finally:
            child.kill()
            child.wait()
        output.seek(0)
        return {(int(number), name): verdict for number, verdict, name in _RESULT.findall(output.read())}


def _before(file: str) -> list[str]:
    """As scapy's own test/configs has it."""
    folder, _, name = file.rpartition("/")
    statement = {"contrib": f'load_contrib("{name}")', "scapy/layers/tls": 'load_layer("tls")'}.get(folder)
    return [] if statement is None else ["-P", statement]


def without(tests: str, names: tuple[str, ...]) -> str:
    """A file of tests without these: each begins with ``= name`` and ends where another or a set begins."""
    for name in names:
        tests = re.sub(rf"^= {re.escape(name)}\n.*?(?=^[=+] )", "", tests, flags=re.MULTILINE | re.DOTALL)
    return tests


def compare(folder: Path, file: str) -> tuple[Verdicts, Verdicts, list[str]]:
    """Without the backend, with it, and what passes without it only, but for DIFFERENT.

    Many of these tests wait for a time and not for what is to come: a file in which one fails with the
    backend is run again, and what has passed with it has passed.
    """
    native, ours = results(folder, file, False), results(folder, file, True)
    if not native:
        return native, ours, ["no result without the backend"]
    passed = {test for test, verdict in native.items() if verdict == "passed" and test[1] not in DIFFERENT}
    for _ in range(TRIES - 1):
        if all(ours.get(test) == "passed" for test in passed):
            break
        again = results(folder, file, True)
        ours |= {test: verdict for test, verdict in again.items() if ours.get(test) != "passed"}
    return native, ours, sorted(name for number, name in passed if ours.get((number, name)) != "passed")


def prepared(net: Lab) -> None:
    """Let scapy find a default route in the lab."""
    net.ip("address", "add", "198.18.0.1/24", "dev", net.capture_device)
    net.ip("route", "add", "default", "via", "198.18.0.2", "dev", net.capture_device)


def main(folder: Path, names: list[str]) -> int:
    """Run them all."""
    broken: list[str] = []
    for name in names:
        if not (folder / "test" / f"{name}.uts").exists():
            continue
        with Lab() as net, net.inside():
            prepared(net)
            native, ours, worse = compare(folder, name)
        passed = [sum(each == "passed" for each in side.values()) for side in (native, ours)]
        print(
            f"{name}: {passed[0]} of {len(native)} pass without, {passed[1]} of {len(ours)} with", flush=True
        )
        for test in sorted(native.keys() | ours.keys()):
            verdicts = [side.get(test, "not run") for side in (native, ours)]
            if verdicts != ["passed", "passed"]:
                print(f"    {test[1]}: {verdicts[0]} without, {verdicts[1]} with", flush=True)
        broken += worse
    return 1 if broken else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:] or list(FILES)))
