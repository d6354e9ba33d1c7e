"""The simulated device itself: no data races, no leaks, and the same for every libpcap."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import bpfsim, headers
from support.patches import SANITIZER_OPTIONS

pytestmark = [pytest.mark.bpfsim]

HERE = Path(__file__).parent


def stress(library: Path, tree: Path, folder: Path, kind: str, *arguments: str) -> tuple[int, str, str]:
    """Run stress.c with that library: its status, what it printed, and what a sanitizer said."""
    program = folder / "stress"
    headers.run(
        *("gcc", *bpfsim.FLAGS[kind], *bpfsim.WARNINGS, f"-I{bpfsim.INCLUDE}", f"-I{bpfsim.SIM}"),
        *(f"-I{tree}", "-o", str(program), str(HERE / "stress.c"), str(library), "-lpthread"),
    )
    done = subprocess.run(
        [str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={
            "LD_LIBRARY_PATH": str(bpfsim.as_libpcap(library)),
            **SANITIZER_OPTIONS,
            "TSAN_OPTIONS": "exitcode=99",
        },
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["plain", "asan", "tsan"])
def test_many_threads_at_once(patched: Callable[[str], Path], tree: Path, tmp_path: Path, kind: str) -> None:
    status, said, report = stress(patched(kind), tree, tmp_path, kind, "3")
    assert (status, report) == (0, ""), said + report
    assert said.endswith("ok\n")


def test_a_reader_that_does_not_wait_is_a_data_race(
    patched: Callable[[str], Path], tree: Path, tmp_path: Path
) -> None:
    """That ThreadSanitizer is silent elsewhere means something."""
    status, _, report = stress(patched("tsan"), tree, tmp_path, "tsan", "race")
    assert status == 99
    assert "data race" in report
    assert "buf_append" in report
