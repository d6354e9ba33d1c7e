"""The simulated device does what a real FreeBSD 13.2 kernel did, case by case (see cases/)."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import netns

pytestmark = [pytest.mark.bpfsim]

HERE = Path(__file__).parent
TABLES = ("modes", "rotate", "drops", "flush", "time", "hdr", "fork", "depart", "extra")


@pytest.fixture(scope="module")
def library(patched: Callable[[str], Path]) -> Path:
    return patched("plain")


def outcomes(library: Path, actions: list[str], **environment: str) -> list[str]:
    """Of the probe, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bpfsim.sources", str(library)],
        input=json.dumps(actions),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), **environment},
    )
    assert done.returncode == 0, done.stderr
    result: list[str] = json.loads(done.stdout)
    return result


def alike(said: str, expected: str) -> bool:
    """Equal but for times, which need only be of the same order."""
    pattern = r"(.*) after (\d+)"
    got, want = re.fullmatch(pattern, said), re.fullmatch(pattern, expected)
    if not got or not want:
        return said == expected
    ms, about = int(got[2]), int(want[2])
    return got[1] == want[1] and about * 0.7 - 20 <= ms <= about * 1.5 + 200


def compare(library: Path, table: str) -> None:
    steps: list[tuple[str, str]] = importlib.import_module(f"bpfsim.cases.{table}").STEPS
    said = outcomes(library, [action for action, _ in steps])
    wrong = [
        f"step {n}: {action}: {got!r}, not {expected!r}"
        for n, ((action, expected), got) in enumerate(zip(steps, said, strict=True))
        if not alike(got, expected)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("table", TABLES)
def test_what_a_real_kernel_did(library: Path, table: str) -> None:
    compare(library, table)


@pytest.mark.parametrize("table", ["source", "controls"])
def test_what_the_sources_say(library: Path, table: str) -> None:
    compare(library, table)


@pytest.mark.netns
def test_packets_of_linux_devices(library: Path, net: netns.Lab) -> None:
    with net.inside():
        compare(library, "device")


def test_saturation_loses_nothing_that_is_not_counted(library: Path) -> None:
    """zbt's "slow": more packets than a slow consumer can take."""
    sent = 100_000
    (said,) = outcomes(library, [f"consume slow {sent}"])
    seen = json.loads(said)
    assert seen["recv"] == seen["sent"] == sent + seen["nudges"]
    assert seen["drop"] > sent // 2, "the consumer was meant to be too slow"
    assert seen["got"] + seen["drop"] == seen["sent"]
    assert seen["lost"] == seen["drop"], "every gap in the numbers is a drop, and the other way round"
    assert seen["corrupt"] == 0
    assert seen["without_call"] > 0, "under load a buffer is there without a system call"


@pytest.fixture(scope="module")
def bursts(library: Path) -> dict[str, dict[str, int]]:
    """zbt's "bursts" with each of its consumers, side by side: they sleep most of the time."""
    names = ("late", "copy", "peek", "immediate", "rtimeout")
    with ThreadPoolExecutor(len(names)) as pool:
        said = pool.map(lambda name: outcomes(library, [f"consume {name} 600"])[0], names)
        return {name: json.loads(text) for name, text in zip(names, said, strict=True)}


def test_bursts_lose_nothing(bursts: dict[str, dict[str, int]]) -> None:
    for seen in bursts.values():
        assert seen["recv"] == seen["sent"]
        assert (seen["drop"], seen["lost"], seen["corrupt"], seen["twice"]) == (0, 0, 0, 0)


def test_bursts_stall_when_a_buffer_is_given_back_late(bursts: dict[str, dict[str, int]]) -> None:
    late = bursts["late"]
    assert late["late"] + late["stuck"] > 0
    assert bursts["copy"]["late"] + bursts["copy"]["stuck"] < late["late"] + late["stuck"]


def test_bursts_do_not_stall_when_the_store_buffer_is_looked_at(bursts: dict[str, dict[str, int]]) -> None:
    assert (bursts["peek"]["late"], bursts["peek"]["stuck"]) == (0, 0)
    assert bursts["peek"]["peeked"] > 0


def test_a_stall_keeps_poll_ready_in_immediate_mode(bursts: dict[str, dict[str, int]]) -> None:
    """zbt counted 4.5 million turns of the loop where the others had 2,000, without a packet more."""
    assert bursts["immediate"]["loops"] > 10 * bursts["late"]["loops"]
