"""Writing savefiles: what other programs read of them, and what is left when writing fails."""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import savefiles
from lab.savefiles import Packet
from pypcapzc.errors import BlockReleasedError, DumpError

ROOT = Path(__file__).resolve().parent.parent.parent
COUNT = 5000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dumper") / "in.pcap"
    savefiles.generate(made, COUNT, (60, 700))
    return made


@pytest.fixture(scope="module")
def truth() -> list[tuple[int, bytes]]:
    return [(packet.ts_ns, packet.data) for packet in savefiles.numbered(COUNT, (60, 700))]


def _copy(source: Path, target: Any, how: str = "blocks") -> int:
    """Write all packets of a file by way of a dumper; how many it says it wrote."""
    with pypcapzc.open_offline(source) as capture, capture.dump_open(target) as dumper:
        if how == "packets":
            dumper.write_packets(capture)
        else:
            for block in capture.blocks():
                dumper.write(block.copy() if how == "copies" else block)
        return int(dumper.packets)


def _read(path: Path) -> list[tuple[int, bytes]]:
    with pypcapzc.open_offline(path) as capture:
        return list(capture)


@pytest.mark.parametrize("how", ["blocks", "copies", "packets"])
def test_the_same_packets_come_back(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path, how: str
) -> None:
    target = tmp_path / "out.pcap"
    assert _copy(path, target, how) == COUNT
    assert target.read_bytes() == path.read_bytes()
    assert _copy(path, str(target), how) == COUNT  # what was there is replaced
    assert _read(target) == truth


@pytest.mark.parametrize("how", ["blocks", "copies"])
def test_wirelen_datalink_and_snaplen_are_kept(tmp_path: Path, how: str) -> None:
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    packets = [Packet(n * 10**9 + n, bytes(n % 50), 100 + n) for n in range(600)]
    for byteorder in ("little", "big"):
        savefiles.write_pcap(source, packets, byteorder=byteorder, linktype=113, snaplen=4321)
        _copy(source, target, how)
        with pypcapzc.open_offline(target) as capture:
            assert (capture.datalink, capture.snapshot) == (113, 4321)
            block = capture.next_block()
            assert block is not None
            assert [header[3] for header in block.headers][:200] == [p.wirelen for p in packets][:200]
        assert _read(target) == [(p.ts_ns, p.data) for p in packets]


def test_targets(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    target = tmp_path / "out.pcap"
    with target.open("wb") as file:
        file.write(b"#" * 10)  # still in its buffer: flushed first
        assert _copy(path, file) == COUNT
        file.seek(0, os.SEEK_END)
        file.write(b"#")  # it stays the caller's
    assert target.read_bytes() == b"#" * 10 + path.read_bytes() + b"#"
    fd = os.open(target, os.O_WRONLY | os.O_TRUNC)
    assert _copy(path, fd) == COUNT
    os.write(fd, b"!")
    os.close(fd)
    assert target.read_bytes() == path.read_bytes() + b"!"
    with pytest.raises(FileNotFoundError):
        _copy(path, tmp_path / "nowhere" / "out.pcap")
    with pytest.raises(IsADirectoryError):
        _copy(path, tmp_path)
    with pytest.raises(io.UnsupportedOperation):
        _copy(path, io.BytesIO())


def test_standard_output(path: Path) -> None:
    script = """
import sys, pypcapzc
print("first")
with pypcapzc.open_offline(sys.argv[1]) as capture, capture.dump_open("-") as dumper:
    for block in capture.blocks(): dumper.write(block)
print("last", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"first\n" + path.read_bytes() + b"last\n", b"")


def test_what_was_counted_is_in_the_file(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    """At once, whatever happens then."""
    target = tmp_path / "out.pcap"
    with pypcapzc.open_offline(path) as capture, capture.dump_open(target) as dumper:
        for block in capture.blocks():
            dumper.write(block)
            assert _read(target) == truth[: dumper.packets]


def test_a_closed_dumper_writes_nothing(path: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "out.pcap", tmp_path / "other"
    with pypcapzc.open_offline(path) as capture:
        dumper = capture.dump_open(target)
        dumper.close()
        dumper.close()
        block = capture.next_block()
        assert block is not None
        with other.open("wb"), pytest.raises(DumpError):  # which may have got the descriptor's number
            dumper.write(block)
        block.retire()
        with capture.dump_open(target) as dumper, pytest.raises(BlockReleasedError):
            dumper.write(block)
    assert other.read_bytes() == b""
    assert target.stat().st_size == 24


def test_tcpdump_reads_it(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("needs tcpdump (Debian: apt-get install tcpdump)")
    target = tmp_path / "out.pcap"
    _copy(path, target)
    command = [tcpdump, "-tt", "--nano", "-xx", "-n", "-r", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[tuple[str, bytes]] = []
    for line in done.stdout.splitlines():
        if line.startswith("\t0x"):
            found[-1] = (found[-1][0], found[-1][1] + bytes.fromhex(line.partition(":")[2]))
        else:
            found.append((line.split()[0], b""))
    assert found == [(f"{ts_ns // 10**9}.{ts_ns % 10**9:09}", data) for ts_ns, data in truth]


@pytest.mark.parametrize("nano", [True, False])
def test_dpkt_reads_it(tmp_path: Path, nano: bool) -> None:
    dpkt = pytest.importorskip("dpkt")
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    savefiles.generate(source, 300, (60, 700), nano=nano)
    _copy(source, target)
    with target.open("rb") as file:
        found = [(round(float(ts), 6), data) for ts, data in dpkt.pcap.Reader(file)]
    wanted = list(savefiles.numbered(300, (60, 700)))
    assert [data for _, data in found] == [packet.data for packet in wanted]
    for (ts, _), packet in zip(found, wanted, strict=True):
        assert abs(ts - packet.ts_ns / 1e9) < 2e-6


# --- failures --------------------------------------------------------------------------------------------

_LIMITED = """
import resource, signal, sys
import pypcapzc
source, target, limit, how = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pypcapzc.open_offline(source) as capture:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        dumper = capture.dump_open(target)
        try:
            if how == "packets":
                dumper.write_packets(capture)
            else:
                for block in capture.blocks():
                    dumper.write(block.copy() if how == "copies" else block)
        except pypcapzc.DumpError as error:
            print(error.errno, dumper.packets, error, sep="|")
            dumper.close()
    except pypcapzc.DumpError as error:
        print(error.errno, "none", error, sep="|")
"""


@pytest.mark.parametrize("how", ["blocks", "copies", "packets"])
@pytest.mark.parametrize("limit", [24, 25, 39, 40, 100, 9_999, 300_001, 1_000_000])
def test_no_room(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path, limit: int, how: str) -> None:
    """The file ends with the last whole packet, and ``packets`` says how many there are."""
    target = tmp_path / "out.pcap"
    command = [sys.executable, "-c", _LIMITED, str(path), str(target), str(limit), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, packets, message = done.stdout.strip().split("|")
    assert int(number) == 27  # EFBIG
    fitting, end = 0, 24
    for _, data in truth:
        end += 16 + len(data)
        if end > limit:
            break
        fitting += 1
    assert int(packets) == fitting
    assert f"{fitting} whole packets were written before" in message
    assert str(target) in message
    assert _read(target) == truth[:fitting]


def test_no_room_for_the_header(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(path), str(tmp_path / "out.pcap"), "7", "blocks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("27|none|")
    assert resource.RLIMIT_FSIZE is not None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk(path: Path) -> None:
    with pytest.raises(DumpError, match="No space left") as caught:
        _copy(path, "/dev/full")
    assert caught.value.errno == 28
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("how", ["blocks", "copies", "packets"])
def test_a_reader_that_goes_away(path: Path, truth: list[tuple[int, bytes]], how: str) -> None:
    """What ``packets`` counts had gone into the pipe whole."""
    read_end, write_end = os.pipe()
    got = bytearray()

    def take() -> None:
        while len(got) < 300_000:
            got.extend(os.read(read_end, 10_000))
        os.close(read_end)

    thread = threading.Thread(target=take)
    thread.start()
    before = signal.getsignal(signal.SIGPIPE)
    assert before == signal.SIG_IGN  # as Python has it
    with pypcapzc.open_offline(path) as capture, capture.dump_open(write_end) as dumper:
        with pytest.raises(DumpError, match="closed by its reader"):  # noqa: PT012
            if how == "packets":
                dumper.write_packets(capture)
            else:
                for block in capture.blocks():
                    dumper.write(block.copy() if how == "copies" else block)
        written = dumper.packets
    thread.join()
    os.close(write_end)
    whole, end = 0, 24
    for _, data in truth:
        end += 16 + len(data)
        if end > len(got):
            break
        whole += 1
    assert whole <= written < COUNT
    assert bytes(got) == path.read_bytes()[: len(got)]


def test_a_pipe_that_does_not_block(path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    got = bytearray()

    def take() -> None:
        while data := os.read(read_end, 5000):
            got.extend(data)

    for how in ("blocks", "copies"):
        thread = threading.Thread(target=take)
        thread.start()
        assert _copy(path, write_end, how) == COUNT
        os.close(write_end)
        thread.join()
        os.close(read_end)
        assert bytes(got) == path.read_bytes()
        got.clear()
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
    os.close(read_end)
    os.close(write_end)
