"""Each defect of BPF capturing, on the unpatched and on the patched source; what lending promises there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import bpfsim, headers
from support.patches import SANITIZER_OPTIONS

pytestmark = [pytest.mark.bpfsim, pytest.mark.timeout(300)]

Build = Callable[[str], Path]
CSRC = Path(__file__).parent / "csrc"

DEFECTS = {
    "quiet": "a deadline passes without a return",
    "signals": "a deadline passes without a return, in a rain of signals",
    "nonblock": "a non-blocking read spins",
    "descriptor": "an fd_set is too small",
    "select": "an application's own poll sleeps",
    "timeout": "a long timeout is refused, or not told the kernel",
    "breakloop": "a blocked thread is not woken",
    "depart": "a departed interface is not noticed",
    "leave": "a departed interface is not noticed by who waits",
    "tail": "packets are stranded",
    "immediate": "immediate mode spins",
    "overload": "packets are stranded under overload",
    "fork": "a capture is dead after fork",
    "sandbox": "a sandboxed program (Capsicum) fails or spins",
}
READ_TOO = ("quiet", "nonblock", "select", "timeout", "breakloop", "depart", "leave", "tail", "fork")
"""What is promised in read mode, too."""
READ_WRONG = ("timeout", "breakloop", "depart")
"""What is wrong there in the unpatched source."""

LENT = {
    "zclend": ("info", "mode", "held", "burst", "patient", "tail", "short", "close", "mix"),
    "zcbeside": ("wakeup", "threads", "filter", "refused", "calls"),
}
LENT_READ = ("info", "short", "close", "mix", "wakeup", "threads", "filter", "refused")

# pcap_breakloop() sets a flag that other threads read: libpcap's own way, on every platform.
SUPPRESSIONS = "race:pcapint_breakloop_common\n"


def program(name: str, library: Path, tree: Path, kind: str) -> Path:
    """One of the programs of csrc, linked with this library."""
    made = library.parent / f"{name}-{kind}-{library.stem[-16:]}"
    if not made.exists():
        unfinished = made.with_suffix(f".{os.getpid()}")
        link = library.parent / bpfsim.SONAME
        if link.resolve() != library.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(library)
        headers.run(
            # libpcap 1.11 asks for more results to be looked at than these programs do.
            *("gcc", *bpfsim.FLAGS[kind], "-Wall", "-Wextra", "-Werror", "-Wno-unused-result"),
            *(f"-I{bpfsim.INCLUDE}", f"-I{tree}"),
            *("-o", str(unfinished), str(CSRC / f"{name}.c"), str(library), "-lpthread"),
            f"-Wl,-rpath,{library.parent}",
        )
        unfinished.rename(made)
    return made


def run(
    name: str, case: str, library: Path, tree: Path, kind: str = "plain", **environment: str
) -> subprocess.CompletedProcess[str]:
    suppressions = library.parent / "suppressions.txt"
    suppressions.write_text(SUPPRESSIONS)
    seconds = int(environment.get("BPFSIM_ALARM", "60")) + 5
    try:
        return subprocess.run(
            [program(name, library, tree, kind), case],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env={
                **os.environ,
                **SANITIZER_OPTIONS,
                "TSAN_OPTIONS": f"suppressions={suppressions}",
                **environment,
            },
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(error.cmd, -1, "", f"not done within {seconds} s")


def passes(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 0 and done.stdout.endswith("ok\n")


def mode(read: bool) -> dict[str, str]:
    return {"BPFSIM_READ": "1"} if read else {}


def test_the_lists_are_those_of_the_programs(patched: Build, tree: Path) -> None:
    library = patched("plain")
    assert set(run("zcbpf", "list", library, tree).stdout.split()) == set(DEFECTS)
    for name, cases in LENT.items():
        assert set(run(name, "list", library, tree).stdout.split()) == set(cases)


def mended_cases() -> Iterator[tuple[str, bool, str]]:
    for kind in bpfsim.FLAGS:
        for case in DEFECTS:
            # ThreadSanitizer does not go with fork in a program that has threads.
            if (case, kind) != ("fork", "tsan"):
                yield case, False, kind
                if case in READ_TOO:
                    yield case, True, kind


@pytest.mark.parametrize(("case", "read", "kind"), list(mended_cases()))
def test_mended(patched: Build, tree: Path, case: str, read: bool, kind: str) -> None:
    done = run("zcbpf", case, patched(kind), tree, kind, **mode(read))
    assert passes(done), f"{DEFECTS[case]}\n{done.stdout}{done.stderr}"


def test_every_defect_is_there_without_the_patches(unpatched: Build, patched: Build, tree: Path) -> None:
    """Or the tests above would show nothing."""
    library = unpatched("plain")
    program("zcbpf", library, tree, "plain")
    cases = [*((case, False) for case in DEFECTS), *((case, True) for case in READ_WRONG)]
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(
            lambda one: run("zcbpf", one[0], library, tree, BPFSIM_ALARM="4", **mode(one[1])), cases
        )
        wrong = [case for case, done in zip(cases, results, strict=True) if passes(done)]
    assert not wrong


def test_a_kernel_that_writes_eight_bytes(unpatched: Build, patched: Build, tree: Path) -> None:
    """BIOCGETZMAX: on 64-bit systems more than libpcap had room for."""
    done = run("zcbpf", "quiet", unpatched("asan"), tree, "asan", BPFSIM_ALARM="10")
    assert "stack-buffer-overflow" in done.stderr
    assert "pcap_activate_bpf" in done.stderr
    done = run("zcbpf", "quiet", patched("asan"), tree, "asan")
    assert passes(done), done.stdout + done.stderr


def lent_cases() -> Iterator[tuple[str, str, bool, str]]:
    for kind in bpfsim.FLAGS:
        for name, cases in LENT.items():
            for case in cases:
                yield name, case, False, kind
                if case in LENT_READ:
                    yield name, case, True, kind


@pytest.mark.parametrize(("name", "case", "read", "kind"), list(lent_cases()))
def test_lent(patched: Build, tree: Path, name: str, case: str, read: bool, kind: str) -> None:
    done = run(name, case, patched(kind), tree, kind, BPFSIM_ALARM="200", **mode(read))
    assert passes(done), done.stdout + done.stderr


def test_an_idle_capture_uses_no_cpu(patched: Build, tree: Path) -> None:
    """Under 1 % in ten seconds, in each way of waiting."""
    library = patched("plain")
    program("zcidle", library, tree, "plain")
    ways = run("zcidle", "list", library, tree).stdout.split()
    cases = [*((way, False) for way in ways), *((way, True) for way in ways)]
    with ThreadPoolExecutor(len(cases)) as pool:
        results = pool.map(
            lambda one: run("zcidle", one[0], library, tree, BPFSIM_ALARM="100", **mode(one[1])), cases
        )
        for case, done in zip(cases, results, strict=True):
            assert passes(done), f"{case}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("buffer_size", [32768, 524288])
def test_under_load_no_more_system_calls_than_upstream(
    unpatched: Build, patched: Build, tree: Path, buffer_size: int
) -> None:
    """The consumer's cost in zero-copy mode; what one costs in time is for zcflood, by hand."""
    calls = []
    for library in (unpatched("plain"), patched("plain")):
        done = subprocess.run(
            [program("zcflood", library, tree, "plain"), "100000", "200", str(buffer_size), "4"],
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        calls.append(float(done.stdout.split()[-4]))
    before, after = calls
    assert before > 0
    assert after <= 1.1 * before + 0.1
