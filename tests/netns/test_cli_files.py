"""`pypcapzc capture` into many files: no packet lost or twice, whatever ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from support import cli, simulated

pytestmark = [pytest.mark.netns, simulated.linux_only]


def _start(net: Lab, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """A capture that has begun."""
    with net.inside():
        process = cli.start(
            "capture", "-i", net.capture_device, "--buffer-size", "64M", *arguments, **options
        )
    cli.wait_until_capturing(process)
    return process


class _Stream:
    """Traffic until it is stopped."""

    def __init__(self, net: Lab, rate: int, size: frames.Size = 64) -> None:
        self._net, self._rate, self._size, self._on = net, rate, size, True
        self.sent = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._net.inside(), traffic.Sender(self._net.send_device, self._size) as sender:
            while self._on:
                self.sent += sender.pace(self._rate, 0.02).packets

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._on = False
        self._thread.join()


def _wait(process: subprocess.Popen[bytes], what: Any) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _numbers(paths: list[Path]) -> list[int]:
    """Of all frames in these files, one file after the other; each file ends with a whole one."""
    found: list[int] = []
    for path in paths:
        with pypcapzc.open_offline(path) as capture:
            found += [frames.check(data) for _, data in capture]
    return found


def _in_order(folder: Path) -> list[Path]:
    """x, x1, x2, ... as -C makes them."""
    names = [folder / (f"x{n}" if n else "x") for n in range(len(list(folder.iterdir())))]
    assert all(name.exists() for name in names)
    return names


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512K", "none", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_many_rotations_and_an_interrupt(net: Lab, tmp_path: Path, number: signal.Signals, mode: str) -> None:
    process = _start(net, "-w", tmp_path / "x", "-C", "40K", "--mode", mode, "--json")
    with _Stream(net, 20_000, (60, 700)):
        _wait(process, lambda: len(list(tmp_path.iterdir())) > 30)
        process.send_signal(number)
        done = cli.finish(process, 60)
    assert (done.code, done.err) == (130, "")
    found = done.json
    names = _in_order(tmp_path)
    assert found["files"] == len(names) > 30
    assert found["captured"] + found["dropped"] == found["received"]
    written = _numbers(names)
    assert written == list(range(len(written)))  # in order, none missing, none twice
    assert found["captured"] == len(written)
    assert found["bytes"] == sum(name.stat().st_size - 24 for name in names) - 16 * len(written)
    assert all(40 * 1024 < name.stat().st_size < 42 * 1024 for name in names[:-1])


def test_a_ring_of_files(net: Lab, tmp_path: Path) -> None:
    process = _start(net, "-w", tmp_path / "x", "-C", "40K", "-W", "4", "--json")
    with _Stream(net, 20_000):
        _wait(process, (tmp_path / "x3").exists)
        before = (tmp_path / "x0").stat().st_mtime_ns
        _wait(process, lambda: (tmp_path / "x0").stat().st_mtime_ns != before)
        process.send_signal(signal.SIGINT)
        done = cli.finish(process, 60)
    assert sorted(name.name for name in tmp_path.iterdir()) == ["x0", "x1", "x2", "x3"]
    kept = sorted(_numbers(list(tmp_path.iterdir())))
    assert kept == list(range(kept[0], done.json["captured"]))
    assert done.json["files"] > 4
    assert kept[0] > 0


def test_by_time_until_there_are_enough(net: Lab, tmp_path: Path) -> None:
    process = _start(net, "-w", tmp_path / "%s.pcap", "-G", "1", "-W", "2", "--json")
    with _Stream(net, 5000):
        done = cli.finish(process, 60)
    assert (done.code, done.err) == (0, "")
    names = sorted(tmp_path.iterdir())
    assert len(names) == done.json["files"] == 2
    written = _numbers(names)
    assert written == list(range(len(written)))
    assert done.json["captured"] == len(written)
    with pypcapzc.open_offline(names[1]) as capture:
        seconds = {ts_ns // 10**9 for ts_ns, _ in capture}
    assert seconds == {int(names[1].stem)}


def test_compressed(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "x.zst"
    process = _start(net, "-w", target, "--json")
    with _Stream(net, 20_000):
        _wait(process, lambda: target.stat().st_size > 50_000)
        process.send_signal(signal.SIGINT)
        done = cli.finish(process, 60)
    assert done.code == 130
    written = _numbers([target])
    assert written == list(range(done.json["captured"]))
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", "-t", target], check=True)


def test_killed_while_it_compresses(net: Lab, tmp_path: Path) -> None:
    """What was written can be unpacked, as far as it goes."""
    target = tmp_path / "x.zst"
    process = _start(net, "-w", target)
    with _Stream(net, 20_000):
        _wait(process, lambda: target.stat().st_size > 50_000)
        process.kill()
        cli.finish(process, 60)
    done = cli.run("read", target, "--json")
    assert done.code == 1
    assert "cannot be read" in done.err
    assert done.json["captured"] > 1000


@pytest.mark.parametrize("option", [[], ["-C", "100K"], ["--zstd"]])
def test_a_full_disk(net: Lab, disk: Path, option: list[str]) -> None:
    process = _start(net, "-w", disk / "x", *option, "--json")
    with _Stream(net, 20_000, (1000, 1500)):
        done = cli.finish(process, 60)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "No space left on device" in done.err
    written = _numbers(_in_order(disk))
    assert written == list(range(len(written)))
    assert done.json["captured"] == len(written) > 100
    assert done.json["dropped"] == 0


def test_a_full_disk_of_parquet(net: Lab, disk: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    subprocess.run(["mount", "-o", "remount,size=2M", disk], check=True)
    process = _start(net, "--to", f"parquet:{disk}/x.parquet", "-C", "200K", "--json")
    with _Stream(net, 20_000, (1000, 1500)):
        done = cli.finish(process, 60)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "No space left on device" in done.err
    count = len(list(disk.iterdir()))
    names = [disk / (f"x{n}.parquet" if n else "x.parquet") for n in range(count)]
    found = [frames.check(data) for name in names for data in pq.read_table(name).column("data").to_pylist()]
    assert found == list(range(done.json["captured"]))
    assert len(found) > 100


def test_parquet_and_an_interrupt(net: Lab, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    process = _start(net, "--to", f"parquet:{tmp_path}/x.parquet", "-C", "100K", "--decode", "--json")
    with _Stream(net, 20_000):
        _wait(process, (tmp_path / "x2.parquet").exists)
        process.send_signal(signal.SIGINT)
        done = cli.finish(process, 60)
    assert (done.code, done.err) == (130, "")
    names = [tmp_path / (f"x{n}.parquet" if n else "x.parquet") for n in range(done.json["files"])]
    tables = [pq.read_table(name) for name in names]
    found = [frames.check(data) for table in tables for data in table.column("data").to_pylist()]
    assert found == list(range(done.json["captured"]))
    assert {port for table in tables for port in table.column("dst_port").to_pylist()} == {40002}
    assert sorted(tmp_path.iterdir()) == sorted(names)


def test_a_folder_into_which_nothing_can_be_written(net: Lab, tmp_path: Path) -> None:
    """It disappears while packets come: what was written stays, and is what the total says."""
    folder = tmp_path / "there"
    folder.mkdir()
    process = _start(net, "-w", folder / "x", "-C", "40K", "--json")
    with _Stream(net, 20_000):
        _wait(process, (folder / "x3").exists)
        os.rename(folder, tmp_path / "gone")
        done = cli.finish(process, 60)
    assert done.code == 1
    assert "No such file or directory" in done.err
    written = _numbers(_in_order(tmp_path / "gone"))
    assert written == list(range(len(written)))
    assert f"{len(written)} whole packets were written before" in done.err
    assert done.json["captured"] == len(written)
    with net.inside():
        complaint = cli.run("capture", "-i", net.capture_device, "-w", folder / "x", "-C", "1").complaint(4)
    assert "there/x: No such file or directory" in complaint
