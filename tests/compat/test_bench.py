"""The benchmark of the drop-in modules counts exactly what was sent, with each call."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import pypcapzc
from benchmarks import compat, endurance
from support import cli

pytestmark = pytest.mark.netns

COUNT = 3000


def _report(peer: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compat", "--quick", "--json", "--only", peer]
    done = subprocess.run(
        [*command, *arguments], cwd=cli.ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("peer", ["pypcap", "pcapy-ng", "python-libpcap"])
def test_every_call_counts_every_packet(peer: str) -> None:
    for scenario in _report(peer)["scenarios"]:
        ways = [call.way for call in compat.CALLS[peer] if scenario["kind"] in call.way.kinds]
        here = [row for row in scenario["rows"] if row["name"] == f"here for {peer}"]
        counts = {row["way"]: row["runs"][0]["packets"] for row in here}
        assert counts == {way.name: COUNT // way.part * min(way.laps, 2) for way in ways}
        assert {row["version"] for row in here} == {f"pypcapzc {pypcapzc.__version__}"}


def test_a_live_capture_tells_what_it_lost() -> None:
    found = _report(
        "pypcap", "--call", "iterator", "--scenario", "live", "--seconds", "1", "--rates", "500,1000"
    )
    (scenario,) = found["scenarios"]
    assert scenario["errors"] == []
    here = [row for row in scenario["rows"] if row["name"] == "here for pypcap"]
    assert [row["asked"] for row in here] == [500, 1000]
    for row in here:
        (run,) = row["runs"]
        assert run["packets"] + run["lost"] == run["sent"] == row["asked"]
    (told,) = scenario["loss_free"]
    assert told["here_rate"] in (0, 500, 1000)


def test_endurance_counts_every_packet_of_every_lap() -> None:
    found = endurance.through("pcapy-ng", 4 * endurance.ROUND, "savefile")
    assert found["packets"] == 4 * endurance.ROUND
    assert found["calls"] == ["loop", "dispatch", "next", "next_batch"]
    assert len(found["memory"]) == 4
    assert found["version"] == f"pypcapzc {pypcapzc.__version__}"


def test_what_is_told_of_figures() -> None:
    """Ratios of the same round, the limit of each call, and the rate below the first loss."""
    rows = [
        _row("pypcap", "iterator", 100, 200),
        _row("here for pypcap", "iterator", 50, 210),
        _row("here for pypcap", "loop", 10, 10),
    ]
    iterator, loop = compat.compared({"rows": rows})
    assert (iterator["ratio"], iterator["limit"], iterator["kept"]) == (0.775, compat.ITERATION, True)
    assert (loop["ratio"], loop["limit"], loop["kept"]) == (None, compat.CALLBACK, None)
    live = [
        _row(name, "iterator", 1, 1) | {"asked": rate, "lost": lost, "rate": min(rate, 150.0)}
        for name, losses in {"pypcap": (0, 0, 0.1, 0), "here for pypcap": (0, 0.5, 0, 0)}.items()
        for rate, lost in zip((100, 200, 300, 400), losses, strict=True)
    ]
    (told,) = compat.loss_free({"rows": live})
    assert (told["peer_rate"], told["here_rate"], told["kept"]) == (150, 100, False)


def _row(name: str, way: str, *figures: int) -> dict[str, Any]:
    runs = [{"round": turn, "cpu": figure, "packets": 1} for turn, figure in enumerate(figures)]
    return {"name": name, "way": way, "cpu_ns": 0.0, "runs": runs}
