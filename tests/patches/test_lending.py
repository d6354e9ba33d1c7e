"""Blocks of live traffic: the same packets as stock hands out, and every promise about lending."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import netns
from support import patches
from support.patches import NEWEST, VERSIONS, Built, Workshop

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.netns, pytest.mark.timeout(1200)]

CAPTURE, SEND = "zcb", "zca"
VARIANTS = [
    (CAPTURE, ""),
    (CAPTURE, "snaplen=64"),
    (CAPTURE, "snaplen=10"),
    (CAPTURE, "filter=udp"),
    (CAPTURE, "filter=udp|snaplen=64"),
    (CAPTURE, "filter=udp or vlan"),
    (CAPTURE, "filter=port 53|snaplen=64"),
    (CAPTURE, "in|snaplen=64"),
    (CAPTURE, "mix|hold=20|snaplen=64"),
    (CAPTURE, "mix|hold=3|block=4096|maxlen=1500"),
    (CAPTURE, "hold=500|block=65536"),
    (CAPTURE, "dispatch"),
    (CAPTURE, "micro"),
    (CAPTURE, "vlan=100"),
    ("any", ""),
    ("any", "snaplen=64"),
    ("any", "filter=udp"),
    ("any", "in|snaplen=64"),
    ("any", "filter=udp and port 53|snaplen=80"),
    ("any", "mix|hold=7"),
]
BRIEF = [VARIANTS[number] for number in (0, 5, 8, 9, 14, 18)]


def _cases() -> list[str]:
    text = (patches.PROGRAMS / "zcbehave.c").read_text()
    return re.findall(r'\{ "(\w+)", t_\1 \}', text)


@pytest.fixture
def wire() -> Iterator[netns.Lab]:
    with netns.Lab(9000, CAPTURE, SEND) as made:
        yield made


def compare(wire: netns.Lab, stock: Built, built: Built, device: str, options: str, count: int) -> int:
    """How many packets both libraries have captured, all of them the same."""
    program = built.program("zcdiff", "-ldl")
    command = [str(program), str(stock.library), str(built.library), device, SEND, str(count)]
    with wire.inside():
        done = subprocess.run(
            [*command, *options.split("|")] if options else command,
            capture_output=True,
            text=True,
            timeout=600,
            env=built.environment(),
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    same = re.match(r"(\d+) sent, (\d+) captured and the same", done.stdout)
    assert same, done.stdout
    assert int(same[1]) == count
    return int(same[2])


@pytest.mark.parametrize(("device", "options"), VARIANTS)
def test_lent_packets_are_what_stock_hands_out(
    wire: netns.Lab, newest_stock: Built, newest_patched: Built, packets: int, device: str, options: str
) -> None:
    count = packets // len(VARIANTS)
    captured = compare(wire, newest_stock, newest_patched, device, options, count)
    if "filter=" in options:
        assert 0 < captured < 2 * count
    elif device == "any":
        # Once or twice each, except those that end with their Ethernet header: the kernel drops these.
        sent = count if "in" in options.split("|") else 2 * count
        assert 0.99 * sent < captured < sent
    else:
        assert captured == count


@pytest.mark.parametrize("older", [version for version in VERSIONS if version != NEWEST])
@pytest.mark.parametrize(("device", "options"), BRIEF)
def test_so_they_are_in_the_other_versions(
    wire: netns.Lab, workshop: Workshop, older: str, packets: int, device: str, options: str
) -> None:
    stock = workshop.get(older, patched=False)
    assert compare(wire, stock, workshop.get(older), device, options, packets // len(VARIANTS))


@pytest.mark.parametrize(("device", "options"), BRIEF)
def test_nothing_is_read_beyond_its_end(
    wire: netns.Lab, newest_stock: Built, sanitized: Built, packets: int, device: str, options: str
) -> None:
    assert compare(wire, newest_stock, sanitized, device, options, packets // len(VARIANTS))


def test_a_difference_would_be_seen(
    wire: netns.Lab, newest_stock: Built, newest_patched: Built, tmp_path: Path
) -> None:
    """The comparison can fail: here one of the two cuts packets to another length."""
    program = newest_patched.program("zcdiff", "-ldl")
    command: list[str | Path] = [program, newest_stock.library, newest_patched.library]
    command += [CAPTURE, SEND, "2000", "unlike"]
    with wire.inside():
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=newest_patched.environment(), check=False
        )
    assert done.returncode == 1
    assert "differs" in done.stderr


def behave(wire: netns.Lab, built: Built, case: str) -> None:
    program = built.program("zcbehave", str(built.archive), "-lpthread")
    with wire.inside():
        done = subprocess.run(
            [program, case],
            capture_output=True,
            text=True,
            timeout=100,
            env=built.environment(ZC_ALARM="80"),
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", _cases())
def test_lending_keeps_its_promises(wire: netns.Lab, sanitized: Built, case: str) -> None:
    behave(wire, sanitized, case)


def test_so_it_does_as_it_is_shipped(patched: Built) -> None:
    """Without sanitizers, which change what takes how long; all versions."""

    def alone(case: str) -> None:
        with netns.Lab(9000, CAPTURE, SEND) as wire:
            behave(wire, patched, case)

    patched.program("zcbehave", str(patched.archive), "-lpthread")
    with ThreadPoolExecutor(4) as pool:  # most of them wait most of the time
        assert list(pool.map(alone, _cases()))
