"""Savefiles in rotation: each packet in exactly one of them, names and limits as tcpdump has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pypcapzc
from lab import savefiles
from lab.savefiles import Packet
from pypcapzc import Rotation
from pypcapzc.errors import DumpError
from support import cli

COUNT = 5000
_HEADER, _RECORD = 24, 16
_NS = 1_000_000_000

needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rotation") / "in.pcap"
    savefiles.generate(made, COUNT, (60, 700))
    return made


@pytest.fixture(scope="module")
def truth() -> list[tuple[int, bytes]]:
    return [(packet.ts_ns, packet.data) for packet in savefiles.numbered(COUNT, (60, 700))]


def _read(path: Path) -> list[tuple[int, bytes]]:
    with pypcapzc.open_offline(path) as capture:
        return list(capture)


def _rotated(source: Path, target: Path, rotation: Rotation, pieces: int | None = None) -> list[str]:
    """Write a file's packets in rotation, in blocks of ``pieces``; the names after each block, in order."""
    names: list[str] = []
    with (
        pypcapzc.open_offline(source) as capture,
        capture.dump_rotating(str(target), rotation) as files,
    ):
        for block in _pieces(capture, pieces):
            files.write(block)
            if files.name not in names:
                names.append(files.name)
        assert files.packets == COUNT or files.finished or pieces is not None
    return names


def _pieces(capture: pypcapzc.Capture, pieces: int | None) -> Iterator[pypcapzc.Block]:
    more = True
    while more:
        more = False
        for block in capture.blocks(count=pieces):
            more = pieces is not None
            yield block


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "files", "names"),
    [
        ("x.pcap", None, ["x.pcap", "x.pcap1", "x.pcap2"]),
        ("x.pcap", 1, ["x.pcap"]),
        ("x.pcap", 2, ["x.pcap0", "x.pcap1"]),
        ("x.pcap", 10, ["x.pcap0", "x.pcap1", "x.pcap2"]),
        ("x.pcap", 11, ["x.pcap00", "x.pcap01", "x.pcap02"]),
        ("x.pcap", 1001, ["x.pcap0000", "x.pcap0001"]),
        ("x.pcap.zst", None, ["x.pcap.zst", "x.pcap1.zst"]),
        ("x.parquet", 20, ["x00.parquet", "x01.parquet"]),
    ],
)
def test_names_by_size(target: str, files: int | None, names: list[str]) -> None:
    rotation = Rotation(size=1, files=files)
    assert [rotation.name(target, n, 0) for n in range(len(names))] == names


def test_names_by_time() -> None:
    when = 1_700_000_000
    wanted = time.strftime("x-%Y%m%d-%H%M%S.pcap", time.localtime(when))
    target = "x-%Y%m%d-%H%M%S.pcap"
    assert Rotation(seconds=5).name(target, 0, when * _NS + 999_999_999) == wanted
    assert Rotation(seconds=5, size=7).name(target, 3, when * _NS) == wanted + "3"
    assert Rotation(size=7).name(target, 0, when * _NS) == target  # a format with -G only, as in tcpdump


def test_what_is_no_rotation() -> None:
    with pytest.raises(ValueError, match="by size, by seconds, or by both"):
        Rotation(files=3)
    for name in ("size", "seconds", "files"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            Rotation(**{"size": 1, name: 0})


# --- the same as tcpdump ---------------------------------------------------------------------------------


@needs_tcpdump
@pytest.mark.parametrize("pieces", [None, 700])
@pytest.mark.parametrize(
    "options", [["-C", "1"], ["-C", "1", "-W", "12"], ["-C", "1", "-W", "1"], ["-C", "1", "-W", "2"]]
)
def test_the_files_that_tcpdump_makes(
    path: Path, tmp_path: Path, options: list[str], pieces: int | None
) -> None:
    """Names and every byte."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(mode=0o777)
    ours.mkdir()
    command: list[str | Path] = ["tcpdump", "-r", path, "-w", theirs / "x.pcap", "--nano", *options]
    if subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.strip() == b"0":
        command += ["-Z", "root"]  # else Debian's tcpdump becomes a user who may not write here
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    files = int(options[3]) if len(options) > 2 else None
    _rotated(path, ours / "x.pcap", Rotation(size=1_000_000, files=files), pieces)
    made = {each.name: each.read_bytes() for each in ours.iterdir()}
    assert made == {each.name: each.read_bytes() for each in theirs.iterdir()}
    assert len(made) == min(files or 2, 2)


# --- no packet lost, none twice --------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 4000),
    pieces=st.integers(1, 90),
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=120),
    copied=st.booleans(),
)
def test_every_packet_is_in_one_file_and_no_file_is_too_large(
    tmp_path: Path, limit: int, pieces: int, lengths: list[int], copied: bool
) -> None:
    folder = tmp_path / "by-size"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    packets = [Packet(n, bytes([n % 256]) * length, length + 7) for n, length in enumerate(lengths)]
    savefiles.write_pcap(folder / "in.pcap", packets)
    found: list[tuple[int, bytes]] = []
    with pypcapzc.open_offline(folder / "in.pcap") as capture:
        files = capture.dump_rotating(str(folder / "out"), Rotation(size=limit))
        with files:
            for block in _pieces(capture, pieces):
                files.write(block.copy() if copied else block)
            assert (files.packets, files.nbytes) == (len(packets), sum(lengths))
        for n in range(files.opened):
            made = folder / (f"out{n}" if n else "out")
            inside = _read(made)
            size = made.stat().st_size
            # Full, and not by more than the packet that made it so.
            last = _RECORD + len(inside[-1][1])
            assert size - last <= max(limit, _HEADER)
            assert size > limit or n == files.opened - 1
            found += inside
        assert files.size == sum(made.stat().st_size for made in folder.glob("out*"))
    assert found == [(packet.ts_ns, packet.data) for packet in packets]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.integers(1, 5),
    gaps=st.lists(st.integers(0, 3 * _NS), min_size=1, max_size=80),
    pieces=st.integers(1, 90),
    first=st.integers(0, 3 * _NS),
)
def test_every_packet_is_in_the_file_of_its_time(
    tmp_path: Path, seconds: int, gaps: list[int], pieces: int, first: int
) -> None:
    folder = tmp_path / "by-time"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    times = [1_700_000_000 * _NS + first]
    for gap in gaps:
        times.append(times[-1] + gap)
    savefiles.write_pcap(folder / "in.pcap", [Packet(ts, b"0123", 4) for ts in times])
    with (
        pypcapzc.open_offline(folder / "in.pcap") as capture,
        capture.dump_rotating(str(folder / "%s.out"), Rotation(seconds=seconds)) as files,
    ):
        for block in _pieces(capture, pieces):
            files.write(block)
    begins: list[int] = []  # whole seconds, as tcpdump's time(2)
    for ts in times:
        if not begins or ts // _NS - begins[-1] >= seconds:
            begins.append(ts // _NS)
    assert sorted(each.name for each in folder.glob("*.out")) == [f"{begin}.out" for begin in begins]
    for begin, end in zip(begins, [*begins[1:], 1 << 62], strict=True):
        inside = [ts for ts, _ in _read(folder / f"{begin}.out")]
        assert inside == [ts for ts in times if begin <= ts // _NS < end]


def test_a_ring_of_files_has_the_last_packets(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    names = _rotated(path, tmp_path / "x", Rotation(size=100_000, files=3), 200)
    assert sorted(set(names)) == [str(tmp_path / f"x{n}") for n in range(3)]
    kept = sorted(packet for n in range(3) for packet in _read(tmp_path / f"x{n}"))
    assert kept == truth[-len(kept) :]
    assert len(kept) > 400


def test_so_many_files_by_time_and_no_more(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    names = _rotated(path, tmp_path / "x%s", Rotation(seconds=1, files=2), 20)
    assert len(names) == 2
    found = _read(Path(names[0])) + _read(Path(names[1]))
    begin = truth[0][0] // _NS
    assert found == [packet for packet in truth if packet[0] // _NS < begin + 2]
    assert len(found) < COUNT


def test_by_time_and_size_the_count_begins_anew(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    names = _rotated(path, tmp_path / "x%s_", Rotation(size=100_000, seconds=2), 20)
    second = truth[0][0] // _NS
    assert [Path(name).name for name in names[:2]] == [f"x{second}_", f"x{second}_1"]
    assert str(tmp_path / f"x{second + 2}_") in names
    assert [packet for name in names for packet in _read(Path(name))] == truth


def test_a_name_that_stays_is_told_of(path: Path, tmp_path: Path) -> None:
    with (
        pypcapzc.open_offline(path) as capture,
        pytest.warns(RuntimeWarning, match="each file will replace the one before"),
    ):
        capture.dump_rotating(str(tmp_path / "x"), Rotation(seconds=1)).close()


def test_no_packets_no_file_of_a_savefile(tmp_path: Path) -> None:
    savefiles.write_pcap(tmp_path / "in.pcap", [])
    with (
        pypcapzc.open_offline(tmp_path / "in.pcap") as capture,
        capture.dump_rotating(str(tmp_path / "x"), Rotation(size=1)) as files,
    ):
        assert (files.packets, files.size, files.opened) == (0, 0, 0)


# --- what goes wrong -------------------------------------------------------------------------------------


def test_a_folder_that_goes_away(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    with pypcapzc.open_offline(path) as capture:
        files = capture.dump_rotating(str(folder / "x"), Rotation(size=200_000))
        with pytest.raises(DumpError, match=r"No such file or directory; \d+ whole packets") as caught:  # noqa: PT012
            for block in _pieces(capture, 100):
                files.write(block)
                if files.opened == 3 and folder.exists():
                    folder.rename(tmp_path / "gone")
        assert caught.value.errno == 2
        assert f"{files.packets} whole packets" in str(caught.value)
        with pypcapzc.open_offline(path) as other, pytest.raises(DumpError, match="closed"):
            files.write(next(other.blocks()))
        files.close()
    found = [packet for name in ("x", "x1", "x2") for packet in _read(tmp_path / "gone" / name)]
    assert found == truth[: files.packets]


_LIMITED = """
import resource, signal, sys
import pypcapzc
source, target, limit, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pypcapzc.open_offline(source) as capture:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    files = capture.dump_rotating(target, pypcapzc.Rotation(size=size))
    try:
        for block in capture.blocks():
            files.write(block)
    except pypcapzc.DumpError as error:
        print(error.errno, files.packets, files.opened, sep="|")
    files.close()
"""


def test_no_room_in_the_middle_of_a_rotation(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    """The limit of a file's size comes before the rotation's: after some packets of the first."""
    command = [sys.executable, "-c", _LIMITED, str(path), str(tmp_path / "x"), "150000", "200000"]
    done = subprocess.run(command, cwd=cli.ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, packets, opened = done.stdout.strip().split("|")
    assert (number, opened) == ("27", "1")  # EFBIG
    assert _read(tmp_path / "x") == truth[: int(packets)]
    assert int(packets) > 100


# --- the command line ------------------------------------------------------------------------------------


def test_read_in_rotation(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    done = cli.run("read", path, "-w", tmp_path / "x", "-C", "500K", "--json")
    assert (done.code, done.err) == (0, "")
    files = done.json["files"]
    assert files == len(list(tmp_path.iterdir())) > 2
    found = [packet for n in range(files) for packet in _read(tmp_path / (f"x{n}" if n else "x"))]
    assert found == truth
    text = cli.run("read", path, "-w", tmp_path / "y%s", "-G", "2", "-W", "2").text
    assert "written to 2 files, the last " in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-W", "3", "-w", "x"], "-W limits the files of -C or -G"),
        (["-C", "3"], "-C and -G are for files"),
        (["-G", "3", "-w", "-"], "-C and -G are for files"),
        (["-C", "0", "-w", "x"], "'0' is not a size"),
        (["-C", "3x", "-w", "x"], "'3x' is not a size"),
        (["-G", "0", "-w", "x"], "-G"),
        (["--zstd"], "--zstd is for -w"),
        (["--decode", "-w", "x"], "--decode is for --to"),
        (["--to", "x.parquet"], "--to takes parquet:FILE"),
        (["--to", "arrow:x"], "--to takes parquet:FILE"),
        (["--to", "parquet:-"], "standard output"),
        (["--to", "parquet:x", "-w", "x"], "choose one"),
    ],
)
def test_options_that_do_not_go_together(
    path: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    assert complaint in cli.run("read", path, *arguments, cwd=tmp_path).complaint(2)
    assert list(tmp_path.iterdir()) == []
