"""The local engine: zig, flex and bison from PyPI, run on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ... import paths
from .. import recipe, toolchain
from ..failures import BuildError, NoSpaceError
from ..targets import Target
from . import Job

_TAIL = 25
"""Lines of the log that a failure shows."""
_LOOK = 0.25
_FULL = ("No space left on device", "NoSpaceLeft", "Disk quota exceeded")


class LocalEngine:
    """Builds here."""

    name = "local"

    def __init__(self) -> None:
        self._tools = toolchain.find()

    def versions(self) -> dict[str, str]:
        """The versions of all its tools."""
        return self._tools.versions()

    def identity(self, target: Target) -> dict[str, str]:
        """The versions of the tools that shape the result."""
        return {**self._tools.shaping(), "sysroot": self.sysroot(target)}

    def sysroot(self, target: Target) -> str:
        """zig's own headers and libraries."""
        return f"{self._tools.zig.version}: {target.libc}"

    def build(self, job: Job) -> Path:
        """Configure and compile."""
        work = job.work
        self._tools.write_wrappers(work / recipe.TOOLS, recipe.compiler_flags(job.target, work))
        build = work / recipe.BUILD
        for folder in (build, work / "tmp"):
            folder.mkdir()
        zig_cache = paths.cache_dir() / "kit" / "zig"
        zig_cache.mkdir(parents=True, exist_ok=True)
        system = f"{os.environ.get('PATH', os.defpath)}:{self._tools.make.path.parent}"
        steps = _Steps(job, recipe.environment(work, system, zig_cache))
        steps.run("configure", recipe.configure_call(job.target), lambda: None)
        compiled = _Compiled(job)
        steps.run("make", [str(self._tools.make.path), f"-j{_processors()}", "shared"], compiled.look)
        library = build / f"libpcap.so.{job.version}"
        if not library.is_file():
            raise steps.failure(f"make left no {library.name}")
        return library


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class _Compiled:
    """Reports how many files make has compiled, as the log grows."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._offset = job.log.stat().st_size
        self._files = 0

    def look(self) -> None:
        """Report if there is something new."""
        with self._job.log.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        if files := new.count(b" -c "):
            self._files += files
            self._job.report(f"compiling, file {self._files}")


class _Steps:
    """Runs the commands of one build, one after the other, into one log and against one deadline."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._job = job
        self._environment = environment
        self._deadline = time.monotonic() + job.seconds

    def run(self, name: str, command: list[str], look: Callable[[], None]) -> None:
        """Run one; whatever ends it early ends its children too."""
        self._job.report(name)
        with self._job.log.open("ab") as log:
            log.write(f"== {name}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command,
                cwd=self._job.work / recipe.BUILD,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    if time.monotonic() > self._deadline:
                        raise self.failure(f"{name} was not done within {self._job.seconds:.0f} s")
                    look()
                    _wait(process)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if process.returncode:
            raise self.failure(f"{name} failed with exit code {process.returncode}")

    def failure(self, what: str) -> BuildError | NoSpaceError:
        """The error for this; the log gets the end of configure's own log."""
        job = self._job
        tail = job.log.read_text(errors="replace").splitlines()[-_TAIL:]
        if any(words in line for line in tail for words in _FULL):
            return NoSpaceError(job.work)
        detail = job.work / recipe.BUILD / "config.log"
        if detail.is_file():
            with job.log.open("ab") as log:
                log.write(b"\n== config.log\n" + detail.read_bytes())
        return BuildError(f"{what}; the whole log is {job.log}", job.log, tail)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        pass
