"""The benchmark harness with few packets: every run counts what was sent, or says that it did not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")
pytestmark = pytest.mark.netns

_ROOT = Path(__file__).resolve().parent.parent.parent
COUNT = 5000


def _run(*arguments: str, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--json", *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == status, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_scenario_counts_exactly(tmp_path: Path) -> None:
    result = _run("--out", str(tmp_path))
    assert [scenario["name"] for scenario in result["scenarios"]] == ["drain", "savefile", "savefile-mixed"]
    for scenario in result["scenarios"]:
        assert scenario["errors"] == []
        measured = {(row["name"], row["way"]) for row in scenario["rows"]}
        assert measured >= {("pypcapzc", "iterator"), ("pypcapzc", "blocks")}
        for row in scenario["rows"]:
            assert [run["packets"] for run in row["runs"]] == [COUNT]
    assert json.loads((tmp_path / "results.json").read_text()) == result
    assert "| pypcapzc" in (tmp_path / "results.md").read_text()


def test_a_ring_that_is_too_small_is_an_error_not_a_figure(tmp_path: Path) -> None:
    small = ("--buffer-size", str(1 << 20), "--count", "50000", "--scenario", "drain")
    result = _run(*small, "--only", "pypcapzc", "--venvs", str(tmp_path), status=1)
    (scenario,) = result["scenarios"]
    assert scenario["rows"] == []
    assert all("the ring did not take all 50000 packets" in error for error in scenario["errors"])
    assert len(scenario["errors"]) == 2
