"""Drives csrc/zcops.c, which captures on the simulated /dev/bpf and checks what comes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from support import bpfsim, headers

HERE = Path(__file__).parent
PROGRAM = HERE / "csrc" / "zcops.c"

HELD = -1000
BREAK = -2
ANY_LENGTH = 1_000_000
MOST_LENT = 6
"""Blocks lent at a time: the kernel's two, and four in which packets were copied."""
MOST_FORKS = 16

OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99:second_deadlock_stack=1",
}


def build(tree: Path, folder: Path, flags: Sequence[str]) -> Path:
    """The program, linked with the libpcap of this tree and the simulated device."""
    library = bpfsim.build(tree, folder, flags)
    made = library.parent / "zcops"
    made.mkdir(exist_ok=True)
    link = made / bpfsim.SONAME
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    headers.run(
        *(
            "gcc",
            "-std=gnu11",
            *flags,
            *bpfsim.WARNINGS,
            f"-I{bpfsim.INCLUDE}",
            f"-I{bpfsim.SIM}",
            f"-I{tree}",
        ),
        *("-o", made / "zcops", PROGRAM, library, f"-Wl,-rpath,{made}", "-lpthread"),
    )
    return made / "zcops"


def copy_with(tree: Path, copy: Path, old: str, new: str) -> None:
    """A tree with a fault in pcap-bpf.c, to see that it is found."""
    shutil.copytree(tree, copy, symlinks=True)
    source = copy / "pcap-bpf.c"
    text = source.read_text()
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    source.write_text(text.replace(old, new))


class Settings(NamedTuple):
    """How the capture is opened."""

    timeout: int = 20
    immediate: bool = False
    buffer_size: int = 4096
    nonblock: bool = False
    read_mode: bool = False


class WrongError(AssertionError):
    """The program found something wrong, or ended; with what it was told last."""


@dataclass
class Totals:
    """What the kernel saw, what was handed over, and what was dropped."""

    sent: int
    delivered: int
    dropped: int


class Capture:
    """One run of the program, with one capture."""

    def __init__(self, program: Path, settings: Settings) -> None:
        environment = {**os.environ, **OPTIONS}
        environment.pop("BPFSIM_READ", None)
        if settings.read_mode:
            environment["BPFSIM_READ"] = "1"
        self.settings = settings
        self.lent: list[int] = []
        self.gone = False
        self.forks = 0
        self.told: deque[str] = deque(maxlen=400)
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            bufsize=1,
            env=environment,
        )
        self._tell(
            f"open {settings.timeout} {settings.immediate:d} {settings.buffer_size} {settings.nonblock:d}"
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _tell(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.told.append(line)
        answer = ""
        try:
            self._process.stdin.write(f"{line}\n")
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = self._process.stdout.readline()
        if not answer or answer.startswith("FAILED"):
            self._fail(answer)
        if answer != "0\n":
            self.told[-1] = f"{line}    # {answer.strip()}"
        return answer.split()

    def _fail(self, answer: str) -> None:
        code = self._process.wait(timeout=60)
        self._said.seek(0)
        said = self._said.read()[-20_000:]
        self.end()
        told = "\n".join(self.told)
        raise WrongError(
            f"{answer.strip()} (exit status {code})\n{said}\n--- {self.settings}; it was told, last:\n{told}"
        )

    def _status(self, line: str) -> int:
        return int(self._tell(line)[0])

    def send(self, count: int, shortest: int, longest: int, seed: int, gap_us: int = 0) -> None:
        """Frames begin to arrive."""
        self._tell(f"send {count} {shortest} {longest} {seed} {gap_us}")

    def drain(self) -> None:
        """All that was sent has arrived."""
        self._tell("drain")

    def next(self, timeout_ms: int) -> int:
        """Borrow a block: 1, 0, HELD, BREAK or another error."""
        status, *more = map(int, self._tell(f"next {timeout_ms}"))
        if status == 1:
            self.lent.append(more[0])
        return status

    def dispatch(self, count: int) -> int:
        """How many packets came."""
        return self._status(f"dispatch {count}")

    def one(self) -> int:
        """pcap_next_ex()."""
        return self._status("one")

    def release(self, which: int, delay_us: int | None = None) -> None:
        """Give one of the lent blocks back, in this thread or after a while in another one."""
        block = self.lent.pop(which % len(self.lent))
        self._tell(f"release {block} {-1 if delay_us is None else delay_us}")

    def filter(self, shortest: int = 0, longest: int = ANY_LENGTH) -> None:
        """Let only frames of these lengths through, once all that was sent has arrived."""
        self._tell(f"filter {shortest} {longest}")

    def rotate(self) -> None:
        """Ask for a rotation behind the library's back."""
        self._tell("rotate")

    def poll(self) -> int:
        """Wait for the descriptor as a program does."""
        return self._status("poll")

    def breakloop(self) -> None:
        self._tell("break")

    def wakeup(self) -> None:
        self._tell("wakeup")

    def fork(self, stays: bool) -> None:
        """A child closes its copy of the handle and goes, or stays and does nothing."""
        if self.forks < MOST_FORKS:
            self.forks += stays
            self._tell(f"fork {stays:d}")

    def depart(self) -> None:
        """The interface goes away."""
        self.gone = True
        self._tell("depart")

    def settle(self) -> Totals:
        """Give everything back and read all that there is: the sums are right."""
        self.lent.clear()
        _, *numbers = self._tell("settle")
        return Totals(*map(int, numbers))

    def close(self) -> None:
        """Close the handle, with blocks lent or not, then give those back; no report of a sanitizer."""
        self._tell("close")
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(timeout=60) != 0:
            self._fail("at the end")
        self.end()

    def end(self) -> None:
        """End the program, however far it has got."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
