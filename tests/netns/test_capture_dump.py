"""Capture.dump: straight into a savefile, by the companion library and without it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc import Rotation, companion
from pypcapzc.errors import CaptureClosedError
from support import simulated
from support.captures import later, opened, until_received

pytestmark = [pytest.mark.netns, simulated.linux_only]


@pytest.fixture(params=["companion", "Python"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(companion, "current", lambda: None)
    elif companion.current() is None:
        pytest.skip(f"without the companion library: {companion.reason()}")


def _numbers(path: Path) -> list[int]:
    with pypcapzc.open_offline(path) as capture:
        return [frames.check(data) for _, data in capture]


@pytest.mark.parametrize("mode", ["auto", "buffered"])
@pytest.mark.parametrize("precision", ["nano", "micro"])
def test_all_packets_in_order(net: Lab, tmp_path: Path, mode: str, precision: str) -> None:
    target = tmp_path / "x"
    began = time.time_ns()
    with opened(net, mode=mode, tstamp_precision=precision, buffer_size=32 << 20) as capture:
        with net.inside(), traffic.Sender(net.send_device, (60, 1500)) as sender:
            sender.send(10_000)
        with capture.dump_open(target) as dumper:
            assert capture.dump(dumper, 30, 3000) == 3000
            assert dumper.packets == 3000
            block = capture.next_block(30)  # what dump() left of the kernel's block
            assert block is not None
            dumper.write(block)
            taken = len(block)
            block.release()
            assert capture.dump(dumper, 30, 7000 - taken) == 7000 - taken
            assert dumper.size == target.stat().st_size == 24 + 10_000 * 16 + dumper.nbytes
            assert capture.dump(dumper, 0.1) == 0
    assert _numbers(target) == list(range(10_000))
    with pypcapzc.open_offline(target) as capture:
        times = [ts_ns for ts_ns, _ in capture]
    assert all(began - 10**6 < ts_ns < time.time_ns() + 10**6 for ts_ns in times)
    assert any(ts_ns % 1000 for ts_ns in times) == (precision == "nano")


def test_a_file_of_another_precision(net: Lab, sender: traffic.Sender, tmp_path: Path) -> None:
    with opened(net) as capture, opened(net, tstamp_precision="micro") as other:
        sender.send(100)
        with other.dump_open(tmp_path / "x") as dumper:
            assert capture.dump(dumper, 30, 100) == 100
    assert _numbers(tmp_path / "x") == list(range(100))
    with pypcapzc.open_offline(tmp_path / "x") as capture:
        assert all(ts_ns % 1000 == 0 and abs(ts_ns - time.time_ns()) < 10**11 for ts_ns, _ in capture)


@pytest.mark.parametrize("kind", ["zstd", "rotation"])
def test_other_targets(net: Lab, sender: traffic.Sender, tmp_path: Path, kind: str) -> None:
    with opened(net) as capture:
        sender.send(2000)
        if kind == "zstd":
            with capture.dump_open(tmp_path / "x.zst") as dumper:
                assert capture.dump(dumper, 30, 2000) == 2000
        else:
            with capture.dump_rotating(str(tmp_path / "x"), Rotation(size=100_000)) as files:
                assert capture.dump(files, 30, 2000) == 2000
    names = sorted(tmp_path.iterdir())
    assert [number for name in names for number in _numbers(name)] == list(range(2000))
    assert len(names) == (2 if kind == "rotation" else 1)


def test_the_ends_of_a_wait(net: Lab, tmp_path: Path) -> None:
    with opened(net) as capture, capture.dump_open(tmp_path / "x") as dumper:
        began = time.monotonic()
        assert capture.dump(dumper, 0.2) == 0
        assert time.monotonic() - began >= 0.2
        later(0.1, capture.breakloop)
        assert capture.dump(dumper) == 0
        later(0.1, capture.close)
        assert capture.dump(dumper) == 0
        with pytest.raises(CaptureClosedError):
            capture.dump(dumper)


def test_a_break_while_packets_flow(net: Lab, tmp_path: Path) -> None:
    stop = threading.Event()

    def stream() -> None:
        with net.inside(), traffic.Sender(net.send_device) as sender:
            while not stop.is_set():
                sender.send(100)
                time.sleep(0.002)

    with opened(net, buffer_size=32 << 20) as capture, capture.dump_open(tmp_path / "x") as dumper:
        thread = threading.Thread(target=stream)
        thread.start()
        try:
            until_received(capture, 500)
            later(0.3, capture.breakloop)
            written = capture.dump(dumper)
        finally:
            stop.set()
            thread.join()
        assert dumper.packets == written
    assert _numbers(tmp_path / "x") == list(range(written))
