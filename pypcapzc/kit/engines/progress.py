"""What a build is at, told from its log."""

from __future__ import annotations

import re
from pathlib import Path

from ..failures import BuildError, NoSpaceError
from . import Job

_TAIL = 25
"""Lines of the log that a failure shows."""
_FULL = ("No space left on device", "NoSpaceLeft", "Disk quota exceeded")
_STEP = re.compile(rb"^== (\w+)$|\x20-c\x20", re.MULTILINE)


class Progress:
    """Follows the log of one build: the steps, and how many files are compiled."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._offset = job.log.stat().st_size
        self._files = 0
        self.step = "the build"

    def look(self) -> None:
        """Report what is new."""
        with self._job.log.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        files = self._files
        for found in _STEP.finditer(whole):
            if found[1]:
                self.step = found[1].decode()
                self._job.report(self.step)
            elif self.step == "make":
                files += 1
        if files > self._files:
            self._files = files
            self._job.report(f"compiling, file {files}")

    def failure(self, what: str, disk: Path | None) -> BuildError | NoSpaceError:
        """The error for this; ``disk`` is where a build on this machine writes."""
        tail = self._job.log.read_text(errors="replace").splitlines()[-_TAIL:]
        if any(words in line for line in tail for words in _FULL):
            return NoSpaceError(disk)
        return BuildError(f"{what}; the whole log is {self._job.log}", self._job.log, tail)

    def add_detail(self, content: bytes) -> None:
        """Put the end of configure's own log behind the build's."""
        with self._job.log.open("ab") as log:
            log.write(b"\n== config.log\n" + content)
