"""The simulated device itself: no data races, no leaks, and the same for every libpcap."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support import bpfsim, headers
from support.patches import NEWEST, SANITIZER_OPTIONS, Workshop

pytestmark = [pytest.mark.bpfsim]

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    bpfsim.require()
    return Workshop(tmp_path_factory.mktemp("bpfsim"))


@pytest.mark.parametrize("kind", ["plain", "asan", "tsan"])
def test_many_threads_at_once(workshop: Workshop, tmp_path: Path, kind: str) -> None:
    tree = workshop.tree(NEWEST, patched=True)
    library = bpfsim.build(tree, workshop.root, bpfsim.FLAGS[kind])
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
