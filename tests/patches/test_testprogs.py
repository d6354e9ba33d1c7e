"""libpcap's own test programs say on the patched library what they say on the stock one.

(libpcap has no ``make check``.  threadsignaltest waits for a minute; the case ``wakeup`` of zcbehave does
what it does.)
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from lab import netns, traffic
from support import patches
from support.patches import Built

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(120)]

EXPRESSIONS = [
    ("EN10MB", ""),
    ("EN10MB", "tcp port 80 and not host 10.0.0.1"),
    ("EN10MB", "vlan 5 and udp"),
    ("EN10MB", "ip6 and len > 200"),
    ("LINUX_SLL", "udp or arp"),
    ("RAW", "icmp[0] = 8"),
    ("EN10MB", "tcp port and"),
    ("NO_SUCH_DLT", "ip"),
]


def say(built: Built, *command: str | Path) -> tuple[int, str]:
    """Exit code, and what was said, without the program's path."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=built.environment(), check=False
    )
    return done.returncode, (done.stdout + done.stderr).replace(str(built.build), "")


def test_they_compile(patched: Built) -> None:
    said = patches.make(patched.build, "testprogs")
    assert not [line for line in said if "zc" in line]
    sources = {path.stem for path in (patched.source / "testprogs").glob("*.c")}
    programs = {path.name for path in (patched.build / "testprogs").iterdir() if path.stat().st_mode & 0o111}
    assert {"filtertest", "capturetest", "opentest"} <= programs & sources


@pytest.mark.parametrize(("link", "expression"), EXPRESSIONS)
@pytest.mark.parametrize("optimized", [True, False])
def test_filters_compile_to_the_same(
    stock: Built, patched: Built, link: str, expression: str, optimized: bool
) -> None:
    options = [] if optimized else ["-O"]
    said = [
        say(built, built.testprogram("filtertest"), *options, link, expression) for built in (stock, patched)
    ]
    assert said[0] == said[1]
    assert ("(000)" in said[0][1]) is (said[0][0] == 0)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("findalldevstest", []),
        ("opentest", ["-i", "zc0"]),
        ("opentest", ["-a", "-i", "zc0"]),
        ("opentest", ["-I", "-i", "zc0"]),
        ("opentest", ["-i", "nosuch"]),
        ("can_set_rfmon_test", ["zc0"]),
        ("writecaptest", ["-L", "-i", "zc0"]),
        ("reactivatetest", []),
        ("valgrindtest", ["-i", "zc0", "tcp"]),
        ("valgrindtest", ["-a", "-i", "zc0"]),
    ],
)
def test_devices_open_as_ever(stock: Built, patched: Built, program: str, arguments: list[str]) -> None:
    # On the same devices: since 1.11 findalldevstest prints their addresses.
    with netns.Lab() as net, net.inside():
        said = [say(built, built.testprogram(program), *arguments) for built in (stock, patched)]
    assert said[0] == said[1]


def _listening(net: netns.Lab) -> bool:
    """Whether a socket bound to a device receives."""
    with net.inside(), open("/proc/thread-self/net/packet") as table:
        rows = [line.split() for line in table.read().splitlines()[1:]]
    return any(row[4] != "0" and row[5] == "1" for row in rows)


def _captured(built: Built, command: list[str], count: int) -> str:
    """What a program prints that captures until its device is gone, after so many packets."""
    with netns.Lab() as net:
        with net.inside():
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=built.environment()
            )
        try:
            deadline = time.monotonic() + 20
            while not _listening(net):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)  # it sets its filter after it has bound its socket
            with net.inside(), traffic.Sender(net.send_device, 100) as sender:
                sender.pace(1000, count / 1000)  # in immediate mode the ring holds but 32
            time.sleep(1.3)  # their timeout is a second
            net.remove_devices()
            return process.communicate(timeout=20)[0]
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.mark.netns
@pytest.mark.parametrize(
    "arguments",
    [
        ["capturetest", "-i", "zc0"],
        ["capturetest", "-t", "200", "-i", "zc0"],
        ["capturetest", "-m", "-i", "zc0", "greater", "50"],
        ["selpolltest", "-s", "-q", "-i", "zc0"],
        ["selpolltest", "-p", "-q", "-i", "zc0"],
        ["selpolltest", "-p", "-t", "-n", "-q", "-i", "zc0"],
    ],
    ids=" ".join,
)
def test_they_capture_every_packet(patched: Built, arguments: list[str]) -> None:
    program = str(patched.testprogram(arguments[0]))
    said = _captured(patched, [program, *arguments[1:]], 500)
    counts = re.findall(r"^(\d+) packets seen, (\d+) packets counted", said, re.MULTILINE)
    assert all(seen == counted for seen, counted in counts), said
    assert sum(int(seen) for seen, _ in counts) == 500, said
    assert "disappeared" in said or "went down" in said, said


@pytest.mark.netns
def test_they_write_every_packet(patched: Built, tmp_path: Path) -> None:
    path = tmp_path / "file"
    said = _captured(patched, [str(patched.testprogram("writecaptest")), "-i", "zc0", "-w", str(path)], 500)
    assert "disappeared" in said or "went down" in said, said
    assert path.stat().st_size == 24 + 500 * (16 + 100)


@pytest.mark.netns
def test_finding_devices_again_and_again(patched: Built, net: netns.Lab) -> None:
    with net.inside():
        code, said = say(patched, patched.testprogram("findalldevstest-perf"))
    assert code == 0, said


@pytest.mark.netns
def test_switching_between_blocking_and_not(stock: Built, patched: Built) -> None:
    few_files = "sh", "-c", 'ulimit -n 200; exec "$@"', "sh"  # it opens them until it may not open more
    said = []
    for built in (stock, patched):
        with netns.Lab() as net, net.inside():
            process = subprocess.Popen(
                [*few_files, str(built.testprogram("nonblocktest")), "-i", net.capture_device],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=built.environment(),
            )
            try:
                with traffic.Sender(net.send_device, 100) as sender:
                    while process.poll() is None:
                        sender.send(3000)  # it waits for a whole block
                        time.sleep(0.1)
            finally:
                process.kill()
                answer = process.communicate()[0]
        said.append((process.returncode, answer))
    assert said[0] == said[1]
    assert "failed as expected" in said[0][1]


@pytest.mark.netns
def test_the_program_that_comes_with_the_patch(patched: Built) -> None:
    if not (patched.source / "testprogs" / "zctest.c").is_file():
        pytest.skip("this series brings no testprogs/zctest.c")
    said = _captured(patched, [str(patched.testprogram("zctest")), "-i", "zc0"], 500)
    blocks = re.findall(r"^block \d+: (\d+) packets", said, re.MULTILINE)
    assert sum(map(int, blocks)) == 500, said
