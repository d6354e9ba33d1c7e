"""``build --all``: every target in a process of its own, a table at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pypcapzc.cli import everything
from pypcapzc.cli.everything import Outcome
from pypcapzc.cli.outcome import Exit
from pypcapzc.kit import targets

pytestmark = pytest.mark.kit

# In place of pypcapzc.cli.main: what it is given decides what it does.
FAKE = """
import json, pathlib, sys, time
target = sys.argv[sys.argv.index("--target") + 1]
print(f"{target}: configure", file=sys.stderr, flush=True)
if "--sleep" in sys.argv:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("pypcapzc: interrupted", file=sys.stderr)
        sys.exit(130)
if target == "bad":
    print("pypcapzc: it does not work", file=sys.stderr)
    sys.exit(1)
if "--meet" in sys.argv:
    place = pathlib.Path(sys.argv[-1])
    (place / target).touch()
    while len(list(place.iterdir())) < 2:
        time.sleep(0.05)
checks = [{"name": "a", "passed": True}, {"name": "b", "passed": None}]
row = {"target": target, "engine": "local", "sysroot": "zig", "size": 5, "sha256": "0" * 64, "checks": checks}
print(json.dumps({"results": [{**row, "seconds": 0.5, "cached": False}]}))
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "_CHILD", FAKE)


def test_a_table_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = everything.build_all(["one", "bad", "two"], [])
    assert [outcome.result is not None for outcome in outcomes] == [True, False, True]
    assert outcomes[1].as_dict()["error"] == "it does not work"
    everything.show(outcomes)
    said = capsys.readouterr().err
    heading = next(line for line in said.splitlines() if line.startswith("target"))
    assert heading.split() == ["target", "engine", "sysroot", "size", "sha256", "checks", "seconds"]
    assert "1 ok, 1 not tried" in said
    assert "bad: it does not work" in said


@pytest.mark.parametrize(("memory", "most"), [(64 << 30, 2), (3 << 30, 1), (1 << 20, 1)])
def test_side_by_side_where_memory_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: int, most: int
) -> None:
    monkeypatch.setattr(everything, "available", lambda: memory)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert everything.at_once() == most
    started: list[subprocess.Popen[str]] = []
    start = everything._started

    def one_after_the_other(outcome: Outcome, arguments: Sequence[str]) -> Any:
        assert all(process.poll() is not None for process in started)
        process, thread = start(outcome, arguments)
        started.append(process)
        return process, thread

    if most == 1:
        monkeypatch.setattr(everything, "_started", one_after_the_other)
    # Two that wait for each other come to an end only if they run at the same time.
    outcomes = everything.build_all(["one", "two"], ["--meet", str(tmp_path)] if most == 2 else [])
    assert all(outcome.result is not None for outcome in outcomes)


def test_an_interruption_stops_all(tmp_path: Path) -> None:
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pypcapzc.cli import everything
everything._CHILD = {FAKE!r}
try:
    everything.build_all(["one", "two", "three"], ["--sleep"])
except KeyboardInterrupt:
    sys.exit(130)
"""
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    running.stderr.readline()
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == Exit.INTERRUPTED
    assert "three" not in rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--all", "--target", "host"), "leave --target out"),
        (("--in-place",), "--in-place goes with --package"),
        (("--sign", "x"), "--sign goes with --package"),
        (("--package", "--stock"), "is not packed"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "build", *arguments],
        env={**os.environ, "PYPCAPZC_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (Exit.USAGE, True)
    assert list(tmp_path.iterdir()) == []


def test_all_are_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pypcapzc.cli import app

    asked: list[list[str]] = []

    def build_all(names: list[str], arguments: list[str]) -> list[Outcome]:
        asked.extend((names, arguments))
        return []

    monkeypatch.setattr(everything, "build_all", build_all)
    app.app.main(["build", "--all", "--engine", "local", "--force", "--json"], standalone_mode=False)
    assert asked == [[name for name in targets.NAMES if name != "host"], ["--engine", "local", "--force"]]
    assert json.loads(capsys.readouterr().out) == {"results": []}
