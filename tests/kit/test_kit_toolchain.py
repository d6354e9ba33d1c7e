"""The tools, and what is said where they are missing."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pypcapzc.kit import recipe, targets, toolchain
from pypcapzc.kit.engines import Job, local
from pypcapzc.kit.failures import BuildError, NoSpaceError, ToolError
from support import kit


def _no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    monkeypatch.setattr(metadata, "files", absent)
    monkeypatch.setattr(metadata, "version", absent)


def test_missing_wheels_are_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    _no_wheels(monkeypatch)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ToolError, match=r"zig, flex, bison and m4 .* pip install 'pypcapzc\[kit\]'"):
        toolchain.find()


def test_on_freebsd_the_systems_own_serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _no_wheels(monkeypatch)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "pkg install zig flex bison m4" in str(toolchain.why_not())
    program = tmp_path / "zig"
    program.write_text("#!/bin/sh\necho 0.15\n")
    program.chmod(0o755)
    assert "pkg install flex bison m4" in str(toolchain.why_not())


def test_missing_programs_of_the_system_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if reason := toolchain.why_not():
        pytest.skip(reason)
    for name in toolchain._POSIX:
        if name not in ("make", "patch") and (found := shutil.which(name)):
            (tmp_path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert str(toolchain.why_not()).startswith("make and patch are missing here")
    assert "apt-get install make patch" in str(toolchain.why_not())


def _tool(name: str) -> toolchain.Tool:
    return toolchain.Tool(name, Path("/bin/echo"), "1")


def test_wrappers_hand_their_arguments_on(tmp_path: Path) -> None:
    tools = toolchain.Toolchain(*(_tool(name) for name in ("zig", "flex", "bison", "m4", "make", "patch")))
    tools.write_wrappers(tmp_path, ["-target", "x86_64-linux-musl"])
    done = subprocess.run([tmp_path / "cc", "-DX=a b", "$y"], capture_output=True, text=True, check=True)
    assert done.stdout == "cc -target x86_64-linux-musl -DX=a b $y\n"
    assert set(tools.shaping()) == {"zig", "flex", "bison"}


def test_flex_and_bison_find_m4_without_the_systems(tmp_path: Path) -> None:
    """Their wheels do not bring it, and a new machine may have none."""
    if reason := toolchain.why_not():
        kit.absent(reason)
    tools = toolchain.find()
    assert "cmeel.prefix" in tools.m4.path.parts
    tools.write_wrappers(tmp_path, [])
    (tmp_path / "x.l").write_text("%%\n%%\n")
    (tmp_path / "x.y").write_text("%token X\n%%\nx: X;\n")
    for name, source, made in (("flex", "x.l", "lex.yy.c"), ("bison", "x.y", "x.tab.c")):
        command = ["/bin/sh", str(tmp_path / name), source]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / made).stat().st_size > 10_000


class TestSteps:
    """The runner of the local engine, with shell scripts for configure and make."""

    @pytest.fixture
    def job(self, tmp_path: Path) -> Job:
        (tmp_path / recipe.BUILD).mkdir()
        log = tmp_path / "log"
        log.touch()
        return Job(targets.parse("linux-amd64"), "1.2.3", tmp_path, log, lambda line: None, seconds=60.0)

    def _run(self, job: Job, script: str) -> None:
        local._run(job, ["sh", "-c", f"echo == make; {script}"], {"PATH": "/usr/bin:/bin"})

    def test_a_failure_has_the_end_of_the_log(self, job: Job) -> None:
        (job.work / recipe.BUILD / "config.log").write_text("configure's own log\n")
        with pytest.raises(BuildError, match="make failed with exit code 3") as caught:
            self._run(job, "seq 100; echo error: no >&2; exit 3")
        assert caught.value.tail[-2:] == ["100", "error: no"]
        assert len(caught.value.tail) == 25
        assert "configure's own log" in job.log.read_text()
        assert str(job.log) in str(caught.value)

    def test_what_hangs_is_ended_with_its_children(self, job: Job) -> None:
        with pytest.raises(BuildError, match="not done within 1 s"):
            self._run(dataclasses.replace(job, seconds=1.0), "echo $$; sleep 1000 & wait")
        group = int(job.log.read_text().splitlines()[1])
        alive = subprocess.run(["pgrep", "-r", "R,S,D,T", "-g", str(group)], capture_output=True, check=False)
        assert alive.stdout == b""

    def test_a_full_disk_is_recognised(self, job: Job) -> None:
        with pytest.raises(NoSpaceError, match="no space left"):
            self._run(job, "echo 'cc: write: No space left on device'; exit 1")

    def test_the_users_environment_does_not_get_in(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CFLAGS", "-DSECRET")
        self._run(job, "env")
        assert "SECRET" not in job.log.read_text()
