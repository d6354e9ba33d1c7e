"""Savefiles that are compressed with zstd: whole up to where they were cut, and read back."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pypcapzc
from lab import savefiles
from pypcapzc import zstd
from pypcapzc.errors import DumpError, PcapError, SavefileError
from support import cli

COUNT = 3000
needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd command")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("zstd") / "in.pcap"
    savefiles.generate(made, COUNT, (60, 700))
    return made


@pytest.fixture(scope="module")
def truth() -> list[tuple[int, bytes]]:
    return [(packet.ts_ns, packet.data) for packet in savefiles.numbered(COUNT, (60, 700))]


def _read(path: Path) -> list[tuple[int, bytes]]:
    with pypcapzc.open_offline(path) as capture:
        return list(capture)


def _unpacked(data: bytes) -> bytes:
    """By another program."""
    return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout


@needs_zstd
@pytest.mark.parametrize("how", ["blocks", "copies", "packets", "pieces"])
@pytest.mark.parametrize("named", [True, False])
def test_the_same_file_compressed(path: Path, tmp_path: Path, how: str, named: bool) -> None:
    target = tmp_path / ("out.pcap.zst" if named else "out.pcap")
    with (
        pypcapzc.open_offline(path) as capture,
        capture.dump_open(target, compress=None if named else "zstd") as dumper,
    ):
        if how == "packets":
            dumper.write_packets(capture)
        elif how == "pieces":
            for block in capture.blocks():
                for start in range(0, len(block), 500):
                    dumper.write(block, start, start + 500)
        else:
            for block in capture.blocks():
                dumper.write(block.copy() if how == "copies" else block)
        assert dumper.packets == COUNT
    data = target.read_bytes()
    assert data.startswith(zstd.MAGIC)
    assert _unpacked(data) == path.read_bytes()
    assert len(data) == dumper.size + len(zstd.END)
    assert len(data) < path.stat().st_size / 2
    assert dumper.nbytes == path.stat().st_size - 24 - 16 * COUNT


def test_it_is_read_back(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    target = tmp_path / "out.zst"
    with pypcapzc.open_offline(path) as capture, capture.dump_open(target) as dumper:
        for block in capture.blocks(count=1000):
            dumper.write(block)
    data = target.read_bytes()
    assert _read(target) == truth[:1000]
    with target.open("rb") as file, pypcapzc.open_offline(file) as capture:
        assert list(capture) == truth[:1000]
        assert capture.zero_copy.lent is False
    with pypcapzc.open_offline(target) as capture:
        capture.set_filter("greater 600")
        assert [data for _, data in capture] == [data for _, data in truth[:1000] if len(data) >= 600]
    # What is not compressed stays what it was, and what is compressed twice is not a savefile.
    twice = tmp_path / "twice.zst"
    twice.write_bytes(zstd.Packer().pack(data) + zstd.END)
    with pytest.raises(SavefileError, match=r"twice\.zst: unknown file format"):
        pypcapzc.open_offline(twice)


def test_all_that_was_written_is_in_a_cut_file(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    """As after kill -9: each write() brings the file to where everything before can be unpacked."""
    target, cut = tmp_path / "out.zst", tmp_path / "cut.zst"
    with pypcapzc.open_offline(path) as capture, capture.dump_open(target) as dumper:
        for block in capture.blocks(count=1200):
            dumper.write(block)
            written = dumper.packets
            for more in (b"", target.read_bytes()[:1]):
                cut.write_bytes(target.read_bytes() + more)
                found: list[tuple[int, bytes]] = []
                with pypcapzc.open_offline(cut) as read, pytest.raises(SavefileError, match="cannot be read"):
                    found.extend(read)
                assert found == truth[:written]


def test_a_damaged_file(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "bad.zst"
    target.write_bytes(zstd.MAGIC + b"\xff" * 50)
    with pytest.raises(SavefileError, match=r"bad\.zst: cannot be read"):
        pypcapzc.open_offline(target)
    assert cli.run("read", target).complaint(1).count("cannot be read") == 1


def test_into_a_pipe(path: Path) -> None:
    read_end, write_end = os.pipe()
    got = bytearray()

    def take() -> None:
        while data := os.read(read_end, 5000):
            got.extend(data)

    thread = threading.Thread(target=take)
    thread.start()
    with (
        pypcapzc.open_offline(path) as capture,
        capture.dump_open(write_end, compress="zstd") as dumper,
    ):
        for block in capture.blocks():
            dumper.write(block)
    os.close(write_end)
    thread.join()
    os.close(read_end)
    assert zstd.reader(io.BytesIO(got)).read() == path.read_bytes()


def test_what_compress_is(path: Path, tmp_path: Path) -> None:
    with pypcapzc.open_offline(path) as capture, pytest.raises(ValueError, match="compress is 'gzip'"):
        capture.dump_open(tmp_path / "x", compress="gzip")  # type: ignore[arg-type]


_LIMITED = """
import resource, signal, sys
import pypcapzc
source, target, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pypcapzc.open_offline(source) as capture:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with capture.dump_open(target) as dumper:
        try:
            for block in capture.blocks():
                kept = block.copy()
                for start in range(0, len(block), 100):
                    dumper.write(block, start, start + 100)
        except pypcapzc.DumpError as error:
            print(error.errno, dumper.packets, sep="|")
            if len(sys.argv) > 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 2, resource.RLIM_INFINITY))
                dumper.write(kept, 0, 50)
"""


@needs_zstd
@pytest.mark.parametrize("limit", [5000, 9_999, 20_001])
def test_no_room(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path, limit: int) -> None:
    """The file ends before the write that did not fit, with the end that a frame needs."""
    target = tmp_path / "out.zst"
    command = [sys.executable, "-c", _LIMITED, str(path), str(target), str(limit)]
    done = subprocess.run(command, cwd=cli.ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, packets = done.stdout.strip().split("|")
    assert number == "27"  # EFBIG
    assert int(packets) >= 100
    assert target.stat().st_size <= limit
    assert _read(target) == truth[: int(packets)]
    assert len(_unpacked(target.read_bytes())) > 24


def test_it_goes_on_when_there_is_room_again(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    if os.geteuid():
        pytest.skip("needs root, to raise a limit again")
    target = tmp_path / "out.zst"
    command = [
        sys.executable,
        "-c",
        _LIMITED.replace("(limit, limit)", "(limit, -1)"),
        str(path),
        str(target),
    ]
    done = subprocess.run(
        [*command, "9999", "again"], cwd=cli.ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    packets = int(done.stdout.strip().split("|")[1])
    found = _read(target)
    assert found[:packets] == truth[:packets]
    assert len(found) == packets + 50


def test_no_room_at_all(path: Path) -> None:
    with pypcapzc.open_offline(path) as capture, pytest.raises(DumpError, match="No space left"):
        capture.dump_open("/dev/full", compress="zstd")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, path: Path, tmp_path: Path) -> None:
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    target = tmp_path / "x.zst"
    missing = r"pip install 'pypcapzc\[zstd\]'"
    with pypcapzc.open_offline(path) as capture, pytest.raises(PcapError, match=missing):
        capture.dump_open(target)
    assert not target.exists()
    target.write_bytes(zstd.MAGIC)
    with pytest.raises(PcapError, match=missing):
        pypcapzc.open_offline(target)


@needs_zstd
def test_the_command_line(path: Path, tmp_path: Path) -> None:
    done = cli.run("read", path, "-w", tmp_path / "a.zst", "-C", "200K", "--json")
    assert (done.code, done.err) == (0, "")
    piped = cli.run("read", path, "-w", "-", "--zstd")
    assert _unpacked(piped.out) == path.read_bytes()
    back = cli.run("read", tmp_path / "a.zst", "--json").json
    assert 0 < back["captured"] <= COUNT
    assert done.json["captured"] == COUNT
