"""The model of the zero-copy buffer protocol holds, and each way to get it wrong is found out.

spin makes a C program of zbuf.pml that tries every order of steps; README.md says what that proves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import headers

pytestmark = [pytest.mark.bpfsim]

MODEL = Path(__file__).with_name("zbuf.pml")

# More packets: up to 25 million states and 2.2 GB for 6, 82 million for 7.
PACKETS = os.environ.get("PYPCAPZC_MODEL_PACKETS", "5")

HOLDS = {
    "buffers-of-2": {"CAP": 2},
    "buffers-of-3": {"CAP": 3},
    "emptied": {"CAP": 2, "PACKETS": 4, "RESETS": 1},
    "patched-kernel": {"CAP": 2, "PACKETS": 4, "KERNEL_PATCH": 1},
    "patched-kernel-emptied": {"CAP": 2, "PACKETS": 3, "RESETS": 1, "KERNEL_PATCH": 1},
    "patched-kernel-no-peek": {"CAP": 3, "KERNEL_PATCH": 1, "NO_PEEK": 1},
}

# What spin has to say of each fault: packets that stay behind, that come twice, or what is no packet at all.
STRANDED = r"delivered>=before"
DOUBLED = r"\(record>>2\)==\(delivered\+1\)"
GARBAGE = r"\(record&3\)==1"

FAULTS = {
    "stall": ({"NO_PEEK": 1}, STRANDED),
    "old-content": ({"NO_POISON": 1}, DOUBLED),
    "handed-over-meanwhile": ({"NO_SECOND_LOOK": 1}, GARBAGE),
    "freed-meanwhile": ({"NO_SECOND_TURN": 1}, STRANDED),
    "given-back-meanwhile": ({"STALE_HELD": 1}, STRANDED),
    "given-back-but-not-yet-free": ({"HELD_BY_FLAG": 1}, STRANDED),
    "in-the-middle-with-the-other-one": ({"NO_NEW_START": 1}, f"{DOUBLED}|{GARBAGE}"),
    "looks-before-it-is-back": ({"EARLY_FLAG": 1}, GARBAGE),
    "marks-after-giving-back": ({"LATE_POISON": 1}, STRANDED),
    "emptied-and-not-noticed": ({"RESETS": 1, "KEEP_CONSUMED": 1}, STRANDED),
    "not-emptied-and-not-noticed": ({"RESETS": 1, "ALWAYS_FROM_START": 1}, DOUBLED),
}


def _why_not() -> str | None:
    """Why nothing can be checked here."""
    if shutil.which("spin") is None:
        return "there is no spin (Debian: spin)"
    if shutil.which(headers.compiler()) is None:
        return "there is no C compiler (Debian: gcc)"
    return None


@pytest.fixture(autouse=True)
def _needs() -> None:
    if reason := _why_not():
        if "bpfsim" in {word.strip() for word in os.environ.get("PYPCAPZC_REQUIRE", "").split(",")}:
            pytest.fail(f"PYPCAPZC_REQUIRE names 'bpfsim', but {reason}", pytrace=False)
        pytest.skip(reason)


def _check(folder: Path, switches: dict[str, int], optimize: str = "-O1") -> str:
    """What spin's verifier says of the model with these switches.

    -w: gcc warns of array bounds in what spin writes. -m: deeper than any run, or the search is cut short.
    """
    defined = [f"-D{name}={value}" for name, value in switches.items()]
    headers.run("spin", *defined, "-a", MODEL, cwd=folder)
    headers.run(headers.compiler(), "-w", optimize, "-DSAFETY", "-o", "pan", "pan.c", cwd=folder)
    done = subprocess.run(
        ["./pan", "-m100000"], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert "max search depth too small" not in done.stdout
    assert "out of memory" not in done.stdout
    return done.stdout


def _never_reached(report: str) -> list[str]:
    return [line.strip() for line in report.splitlines() if re.search(r", state \d+, ", line)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HOLDS)
def test_holds(name: str, tmp_path: Path) -> None:
    """In every order of steps; and there is no step in the model that no order reaches."""
    report = _check(tmp_path, {"PACKETS": int(PACKETS), **HOLDS[name]})
    assert "errors: 0" in report, report
    assert "Search not completed" not in report
    # The process that gives buffers back has no end to reach.
    assert [line for line in _never_reached(report) if "-end-" not in line] == []


@pytest.mark.parametrize("name", FAULTS)
def test_finds_what_is_wrong(name: str, tmp_path: Path) -> None:
    switches, complaint = FAULTS[name]
    report = _check(tmp_path, {"CAP": 2, "PACKETS": 4, **switches}, "-O0")
    assert re.search(rf"assertion violated .*({complaint})", report), report
