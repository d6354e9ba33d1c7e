"""Nothing is left when a capture is closed, whatever was lent; and no byte is used that nobody has set."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import netns, savefiles
from support.patches import Built

pytestmark = [
    pytest.mark.kit,
    pytest.mark.cc,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("valgrind") is None, reason="needs valgrind (Debian: apt-get install valgrind libc6-dbg)"
    ),
]

WRONG = 77
VALGRIND = ["valgrind", "-q", "--leak-check=full", f"--error-exitcode={WRONG}"]
EVERYTHING = ("--show-leak-kinds=all", "--errors-for-leak-kinds=all")
"""What a pointer still leads to as well."""


@pytest.fixture
def wire() -> Iterator[netns.Lab]:
    with netns.Lab(9000, "zcb", "zca") as made:
        yield made


def check(built: Built, *command: str | Path, kinds: tuple[str, ...] = EVERYTHING) -> str:
    done = subprocess.run(
        [*VALGRIND, *kinds, *command],
        capture_output=True,
        text=True,
        timeout=200,
        env=built.environment(ZC_ALARM="180", ZC_BURSTS="100"),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.netns
@pytest.mark.parametrize("how", ["dispatch", "lent"])
def test_open_capture_close(wire: netns.Lab, patched: Built, how: str) -> None:
    program = patched.program("zccost", str(patched.archive))
    with wire.inside():
        assert check(patched, program, "live", "zcb", "zca", "1000", how, "3").startswith("3000 packets")


@pytest.mark.netns
@pytest.mark.parametrize("case", ["mode", "misuse", "held", "mix", "close", "departure"])
def test_whatever_is_done_between(wire: netns.Lab, newest_patched: Built, case: str) -> None:
    """``close`` opens and closes 50 times, with and without blocks lent."""
    program = newest_patched.program("zcbehave", str(newest_patched.archive), "-lpthread")
    with wire.inside():
        check(newest_patched, program, case)


@pytest.mark.parametrize("how", ["callback", "lent"])
def test_savefiles(patched: Built, tmp_path: Path, how: str) -> None:
    program = patched.program("zcread", str(patched.archive))
    path = tmp_path / "file"
    savefiles.write_pcap(path, savefiles.numbered(300))
    assert check(patched, program, path, how).endswith("end\n")
    savefiles.write_pcapng(path, savefiles.numbered(300))
    assert check(patched, program, path, how).endswith("end\n")
    path.write_bytes(path.read_bytes()[:-10])
    assert "truncated" in check(patched, program, path, how)
    path.write_bytes(b"nothing of the kind, and long enough for a header")
    assert check(patched, program, path, how).startswith("not opened")


def test_made_up_savefiles(newest_stock: Built, newest_patched: Built) -> None:
    program = newest_patched.program("zcsave", "-ldl")
    libraries = newest_stock.library, newest_patched.library
    # The linker's own tables of what was loaded stay, and what a writing child was made with.
    check(newest_patched, program, *libraries, "300", "4", kinds=())


def test_a_leak_would_be_seen(patched: Built, tmp_path: Path) -> None:
    program = patched.program("zcread", str(patched.archive))
    path = tmp_path / "file"
    savefiles.write_pcap(path, savefiles.numbered(300))
    command: list[str | Path] = [*VALGRIND, *EVERYTHING, program, path, "lent", "leak"]
    done = subprocess.run(command, capture_output=True, env=patched.environment(), check=False)
    assert done.returncode == WRONG
