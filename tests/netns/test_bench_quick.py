"""The benchmark harness with few packets: every run counts what was sent, or says that it did not."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")
pytestmark = pytest.mark.netns

_ROOT = Path(__file__).resolve().parent.parent.parent
COUNT = 5000
OWN = {("pypcapzc", "iterator"), ("pypcapzc", "blocks"), ("pypcapzc", "views")}


def _run(*arguments: str, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--json", *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == status, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    for scenario in result["scenarios"]:
        assert status or scenario["errors"] == []
    return result


def _rows(scenario: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["way"]): row for row in scenario["rows"]}


@pytest.mark.parametrize("name", ["drain", "drain-mixed", "savefile", "savefile-mixed", "savefile-pcapng"])
def test_a_ring_and_savefiles_are_counted_exactly(name: str, tmp_path: Path) -> None:
    result = _run("--scenario", name, "--only", "pypcapzc", "--out", str(tmp_path))
    (scenario,) = result["scenarios"]
    rows = _rows(scenario)
    assert rows.keys() == OWN
    count = COUNT // 4 if name == "drain-mixed" else COUNT
    assert [run["packets"] for row in rows.values() for run in row["runs"]] == [count] * 3
    assert json.loads((tmp_path / "results.json").read_text()) == result
    assert "| pypcapzc" in (tmp_path / "results.md").read_text()


def test_copies_and_library_are_those_of_each_way(patched: bool) -> None:
    result = _run("--scenario=drain", "--only", "pypcapzc", "--only", "pypcapzc-stock")
    rows = _rows(result["scenarios"][0])
    assert (("pypcapzc-stock", "iterator") in rows) is patched
    for (name, way), row in rows.items():
        lent = patched and name == "pypcapzc"
        assert row["copies"] == (0 if lent else 1) + (way == "iterator")
        assert row["libpcap"].endswith(", patched") is lent


def test_live_captures_account_for_every_packet(tmp_path: Path) -> None:
    result = _run("--scenario=live", "--only", "pypcapzc", "--rates", "2000,4000", "--out", str(tmp_path))
    (scenario,) = result["scenarios"]
    assert {(row["name"], row["way"]) for row in scenario["rows"]} == OWN
    for row in scenario["rows"]:
        (run,) = row["runs"]
        assert run["sent"] == row["asked"] // 2  # in half a second
        assert run["packets"] + run["lost"] == run["sent"]
        assert row["lost"] == row["lost_max"] == run["lost"] / run["sent"]
    assert result["generator"] > 0
    assert "| pypcapzc" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(("peer", "ways"), [("scapy", {"raw", "sniff"}), ("tcpdump", {"reference"})])
def test_peers_of_this_environment_take_part(peer: str, ways: set[str], tmp_path: Path) -> None:
    chosen = ("--scenario=drain", "--scenario=savefile", "--only", peer, "--venvs", str(tmp_path))
    result = _run("--count", "1000", *chosen, status=0 if _is_here(peer) else 1)
    if not _is_here(peer):
        assert any(peer in reason for reason in result["left_out"])
        return
    for scenario in result["scenarios"]:
        assert {way for _, way in _rows(scenario)} == ways
        for row in scenario["rows"]:
            assert row["runs"][0]["packets"] == {"raw": 100, "sniff": 10, "reference": 1000}[row["way"]]


def _is_here(peer: str) -> bool:
    return shutil.which(peer) is not None if peer == "tcpdump" else importlib.util.find_spec(peer) is not None


def test_a_ring_that_is_too_small_is_an_error_not_a_figure(tmp_path: Path) -> None:
    small = ("--buffer-size", str(1 << 20), "--count", "50000", "--scenario", "drain")
    result = _run(*small, "--only", "pypcapzc", "--venvs", str(tmp_path), status=1)
    (scenario,) = result["scenarios"]
    assert scenario["rows"] == []
    assert all("the ring did not take all 50000 packets" in error for error in scenario["errors"])
    assert len(scenario["errors"]) == 3
