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


@pytest.mark.parametrize("kind", ["plain", "asan", "tsan"])
def test_many_threads_at_once(patched: Callable[[str], Path], tree: Path, tmp_path: Path, kind: str) -> None:
    library = patched(kind)
    program = tmp_path / "stress"
    headers.run(
        *("gcc", *bpfsim.FLAGS[kind], *bpfsim.WARNINGS, f"-I{bpfsim.INCLUDE}", f"-I{bpfsim.SIM}"),
        *(f"-I{tree}", "-o", str(program), str(HERE / "stress.c"), str(library), "-lpthread"),
    )
    done = subprocess.run(
        [str(program), "3"],
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
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok\n")
    assert done.stderr == ""
