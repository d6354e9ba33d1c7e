"""The local engine: zig, flex and bison from PyPI, run on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ... import paths
from .. import data, recipe, toolchain
from ..failures import BuildError, NoSpaceError
from ..targets import Target
from ..toolchain import Toolchain
from . import Job
from .progress import Progress

_LOOK = 0.25


class LocalEngine:
    """Builds here."""

    name = "local"

    def __init__(self, tools: Toolchain | None = None) -> None:
        self._tools = tools or toolchain.find()

    def versions(self) -> dict[str, str]:
        """The versions of all its tools."""
        return self._tools.versions()

    def identity(self, target: Target) -> dict[str, str]:
        """The versions of the tools that shape the result."""
        return {**self._tools.shaping(), "sysroot": self.sysroot(target)}

    def sysroot(self, target: Target) -> str:
        """zig's own headers and libraries, or FreeBSD's."""
        return recipe.sysroot_name(target, self._tools.zig.version)

    def build(self, job: Job) -> Path:
        """Configure and compile."""
        work = job.work
        tools = work / recipe.TOOLS
        self._tools.write_wrappers(tools, recipe.compiler_flags(job.target, work))
        sysroot = job.target.sysroot.folder() if job.target.sysroot else None
        if sysroot is not None:
            recipe.write_libc_file(tools, sysroot)
        zig_cache = paths.cache_dir() / "kit" / "zig"
        zig_cache.mkdir(parents=True, exist_ok=True)
        system = f"{os.environ.get('PATH', os.defpath)}:{self._tools.make.path.parent}"
        script = str(data.docker_dir() / "scripts" / "compile.sh")
        _run(
            job,
            ["sh", script, job.version, str(_processors()), *recipe.configure_arguments(job.target)],
            recipe.environment(work, system, zig_cache, own_headers=sysroot is not None),
        )
        return work / recipe.BUILD / f"libpcap.so.{job.version}"


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _run(job: Job, command: list[str], environment: Mapping[str, str]) -> None:
    """Run the script; whatever ends it early ends its children too."""
    progress = Progress(job)
    deadline = time.monotonic() + job.seconds
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=job.work,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise _failure(job, progress, f"{progress.step} was not done within {job.seconds:.0f} s")
                _wait(process)
                progress.look()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    progress.look()
    if process.returncode:
        raise _failure(job, progress, f"{progress.step} failed with exit code {process.returncode}")


def _failure(job: Job, progress: Progress, what: str) -> BuildError | NoSpaceError:
    error = progress.failure(what, job.work)
    detail = job.work / recipe.BUILD / "config.log"
    if detail.is_file():
        progress.add_detail(detail.read_bytes())
    return error


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        pass
