"""What the benchmarks make of their runs: ratios, limits, tables, pictures; `pypcapzc bench` without root."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits, peers, report, run, scenarios
from lab import netns
from lab.traffic import Sent
from pypcapzc.cli import bench
from support import cli


def _run(number: int, nanoseconds: float, **more: Any) -> dict[str, Any]:
    made = {"packets": 1000, "seconds": 3e-6 * nanoseconds, "cpu": 1e-6 * nanoseconds, "round": number}
    return made | {"version": "1.0", "libpcap": "libpcap version 1.10.3 (with TPACKET_V3)"} | more


def _row(name: str, way: str, work: str, *nanoseconds: float, **more: Any) -> dict[str, Any]:
    runs = [_run(number, each, **more) for number, each in enumerate(nanoseconds)]
    return report.summary(name, way, work, 1, runs)


def _drain() -> dict[str, Any]:
    rows = [
        _row("pypcapzc", "blocks", peers.COLUMN, 10, 20, 30),
        _row("pypcapzc", "iterator", peers.BYTES, 70, 50, 60),
        _row("pypcap", "iterator", peers.BYTES, 100, 100, 100),
        _row("pcapy-ng", "dispatch", peers.BYTES, 80, 85, 90),
        _row("tcpdump", "reference", peers.IN_C, 5, 5, 5),
    ]
    return {"name": "drain", "title": "a ring", "kind": "drain", "rows": rows, "errors": []}


def _live(lost: int, reached: int = 0) -> dict[str, Any]:
    rows = []
    for rate in (500_000, 600_000):
        sent = {"sent": 1000, "sending": 1000 / (reached or rate)}
        rows += [
            _row("pypcapzc", "blocks", peers.COLUMN, 20_000, 20_000, lost=lost, **sent) | {"asked": rate},
            _row("pypcap", "iterator", peers.BYTES, 100_000, 100_000, lost=500, **sent) | {"asked": rate},
        ]
    return {"name": "live", "title": "live", "kind": "live", "rows": rows, "errors": []}


def _result(lost: int = 0) -> dict[str, Any]:
    found = [_drain(), _live(lost)]
    for scenario in found:
        report.add_ratios(scenario["rows"])
    names = "count", "rounds", "buffer_size", "live_buffer_size", "snaplen", "timeout_ms"
    return {
        "environment": report.environment(),
        "settings": dict.fromkeys(names, 1 << 20),
        "generator": 5000.0,
        "scenarios": found,
        "limits": report.promises(found),
        "left_out": ["a peer: not installed"],
    }


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    one, other = _row("a", "b", "", 10, 20, 60), _row("c", "d", "", 20, 10, 30)
    assert report.ratio(one, other) == pytest.approx(2)
    one["runs"].pop()  # a round that failed has no partner
    assert report.ratio(one, other) == pytest.approx(1.25)
    assert report.ratio(_row("a", "b", ""), other) is None if one["runs"] == [] else True


def test_limits_compare_with_pypcap_or_with_the_fastest_peer() -> None:
    promised = {row["what"]: row for row in report.promises([_drain()])}
    blocks = promised["pypcapzc blocks : pypcap iterator"]
    assert (blocks["found"], blocks["limit"], blocks["kept"]) == (pytest.approx(0.2), 1 / 6, False)
    iterator = promised["pypcapzc iterator : pcapy-ng dispatch"]
    assert iterator["found"] == pytest.approx(60 / 90)
    assert not iterator["kept"]
    assert len(promised) == 2  # nothing is said of what was not measured


@pytest.mark.parametrize("lost", [0, 1])
def test_a_live_limit_is_that_of_the_highest_rate_and_allows_no_loss(lost: int) -> None:
    (row,) = report.promises([_live(lost)])
    assert row["what"].endswith(", 600,000 packets/s")
    assert (row["found"], row["lost"], row["kept"]) == (pytest.approx(0.2), lost, not lost)


def test_a_rate_that_was_not_reached_proves_nothing() -> None:
    assert report.promises([_live(0, reached=300_000)]) == []
    assert "(at 300,000/s)" in report.markdown(_result() | {"scenarios": [_live(0, reached=300_000)]})


def test_every_limit_names_what_is_measured() -> None:
    ways = {(each.name, way.name) for each in peers.CONTESTANTS for way in each.ways}
    names = {scenario.name for scenario in scenarios.SCENARIOS}
    for limit in limits.LIMITS:
        assert (limit.name, limit.way) in ways
        assert limit.scenario in names


def test_the_table_tells_figures_limits_and_who_was_left_out() -> None:
    text = report.markdown(_result(lost=1))
    assert (
        "| tcpdump 1.0 | reference | counted or written out, in C | 5 (5 to 5) | 15 | 0.05 | 1 | 1.10.3 |"
        in text
    )
    assert "| pypcap | iterator | 50 % / 50.00 | 50 % / 60.00 |" in text
    assert "NO (1 lost)" in text
    assert "Not measured: a peer: not installed." in text


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks import plots

    made = plots.draw(_result(), tmp_path)
    assert {path.name for path in made} == {"drain.png", "drain.svg", "live.png", "live.svg"}
    for path in made:
        begin = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("packets", "total", "dropped", "right"),
    [
        (100, 6400, 0, True),
        (90, 5760, 10, True),
        (90, 5760, 9, False),
        (99, 6336, 0, False),
        (100, 1, 0, False),
    ],
)
def test_a_live_run_has_to_account_for_what_was_sent(
    packets: int, total: int, dropped: int, right: bool
) -> None:
    result = {"packets": packets, "bytes": total, "counters": [100, dropped]}
    sent = Sent(packets=100, bytes=6400, first=0, seconds=1.0, retries=0)
    if right:
        scenarios._check_live(result, sent, markers=0)
    else:
        with pytest.raises(scenarios.RunError):
            scenarios._check_live(result, sent, markers=0)


def test_without_root_savefiles_are_read_and_the_rest_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(netns, "why_not", lambda: "needs root for network namespaces")
    options = [
        "--quick",
        "--no-install",
        "--json",
        "--only=pypcapzc",
        "--way=iterator",
        f"--scratch={tmp_path}",
    ]
    assert run.main([*options, "--count=100"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in result["scenarios"]] == ["savefile", "savefile-mixed", "savefile-pcapng"]
    assert "live captures: needs root for network namespaces" in result["left_out"]
    for scenario in result["scenarios"]:
        assert [row["runs"][0]["packets"] for row in scenario["rows"]] == [100]
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_is_not_there_is_left_out_with_the_reason(tmp_path: Path) -> None:
    missing = peers.Contestant("nobody", "none", (), "nobody-has-this==1", "nobody_has_this")
    with pytest.raises(peers.PeerError, match="nobody: not installed"):
        peers.interpreter(missing, tmp_path, install=False)


def test_the_command_reads_savefiles_and_writes_where_it_is_told(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    options = (
        "--quick",
        "--kind",
        "savefile",
        "--count",
        "200",
        "--only",
        "pypcapzc",
        "--out",
        str(tmp_path),
    )
    done = cli.run("bench", *options, timeout=110)
    assert done.code == 0, done.err
    assert "| pypcapzc" in done.text
    result = json.loads((tmp_path / "results.json").read_text())
    assert [s["kind"] for s in result["scenarios"]] == ["savefile"] * 3
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "savefile.svg").exists()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [(("--rates", "many"), "it is numbers"), (("--only", "nobody"), "it is one of pypcapzc,")],
)
def test_the_command_says_what_is_wrong_with_its_options(wrong: tuple[str, str], why: str) -> None:
    done = cli.run("bench", "--quick", "--kind", "live", *wrong)
    assert why in done.complaint(2)


def test_an_installed_package_has_the_harness_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (bench._harness() / "benchmarks" / "run.py").is_file()
    inside = tmp_path / "_data" / "bench"
    inside.mkdir(parents=True)
    monkeypatch.setattr(bench, "_PACKAGE", tmp_path)
    assert bench._harness() == inside
    shutil.rmtree(inside)
    assert bench._harness() == tmp_path.parent
