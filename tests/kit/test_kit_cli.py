"""``pypcapzc build``: exit codes, one clear line for each failure, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pypcapzc.cli.outcome import Exit
from pypcapzc.kit import artefacts, targets
from support import kit


def _run(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYPCAPZC_")}
    return subprocess.run(
        [sys.executable, "-m", "pypcapzc", "build", *arguments],
        env={**known, "PYPCAPZC_HOME": str(home), **more},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failure."""
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pypcapzc: ")]
    return line


def test_an_unknown_target_is_wrong_usage_with_the_list(tmp_path: Path) -> None:
    done = _run(tmp_path, "--target", "linux-amd64", "--target", "vax")
    assert done.returncode == Exit.USAGE
    line = _said(done)
    assert "unknown target 'vax'" in line
    for name in targets.NAMES:
        assert name in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_engine_is_wrong_usage(tmp_path: Path) -> None:
    done = _run(tmp_path, "--engine", "vax")
    assert done.returncode == Exit.USAGE
    assert "'auto', 'container', 'local'" in _said(done)


def test_the_help_names_every_target() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "build", "--help"], capture_output=True, text=True, check=True
    )
    text = "".join(done.stdout.split())  # as click breaks lines at hyphens
    for name in targets.NAMES:
        assert name in text


@pytest.mark.kit
class TestWithTools:
    """These get past the look for tools, and no farther."""

    @pytest.fixture(autouse=True)
    def pinned(self) -> None:
        from pypcapzc.kit import data

        if not (data.patches_dir() / "sources.toml").is_file():
            kit.absent("there are no pins")

    def test_a_source_that_is_not_there(self, tmp_path: Path) -> None:
        done = _run(tmp_path, "--stock", "--source", str(tmp_path / "nowhere.tar.xz"))
        assert done.returncode == Exit.NOT_FOUND
        assert "nowhere.tar.xz: there is no such file" in _said(done)

    def test_a_source_that_is_another(self, tmp_path: Path) -> None:
        other = kit.tarball(tmp_path / "other.tar.xz", "1.9.9")
        done = _run(tmp_path / "home", "--stock", "--source", str(other))
        assert done.returncode == Exit.NO
        assert "is libpcap 1.9.9, not 1.10.5" in _said(done)

    def test_a_version_that_nobody_pinned(self, tmp_path: Path) -> None:
        done = _run(tmp_path, "--libpcap", "0.1")
        assert done.returncode == Exit.USAGE
        assert "no pin for libpcap 0.1" in _said(done)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = _run(tmp_path / "file")
        assert done.returncode == Exit.NO
        assert "file" in _said(done)


def test_json_is_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pypcapzc.cli import app
    from pypcapzc.kit import driver

    result = driver.Result(
        "host", "1.10.5", False, tmp_path / "libpcap.so.1", "00", 3, "local", "zig", 1.0, True, [], {}
    )
    monkeypatch.setattr(driver, "build", lambda request, report: result)
    app.app.main(["build", "--json"], standalone_mode=False)
    (row,) = json.loads(capsys.readouterr().out)["results"]
    wanted = {
        "target",
        "libpcap",
        "stock",
        "path",
        "sha256",
        "size",
        "engine",
        "sysroot",
        "seconds",
        "cached",
    }
    assert wanted | {"checks"} <= set(row)


def test_a_failed_build_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pypcapzc.cli import app
    from pypcapzc.kit import driver
    from pypcapzc.kit.failures import BuildError

    def fail(request: driver.Request, report: object) -> driver.Result:
        raise BuildError("make failed; the whole log is there", tmp_path / "log", ["one", "two\x1b[2J"])

    monkeypatch.setattr(driver, "build", fail)
    with pytest.raises(BuildError, match="make failed"):
        app.app.main(["build"], standalone_mode=False)
    assert capsys.readouterr().err == "  | one\n  | two\\x1b[2J\n"


def test_the_pins_are_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "kit", "pins", "show"], capture_output=True, text=True, check=True
    )
    assert f"sha256:{artefacts.wheels('amd64')[0].sha256}" in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "kit", "nonsense"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "pypcapzc kit: error" in wrong.stderr
    assert "Traceback" not in wrong.stderr
