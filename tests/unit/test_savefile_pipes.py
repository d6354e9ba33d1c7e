"""Savefiles from pipes: what has arrived is delivered, and a wait can be broken off."""

from __future__ import annotations

import io
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import savefiles
from lab.savefiles import Interface, Packet
from pypcapzc.errors import CaptureClosedError, SavefileError
from pypcapzc.sources.framing import Framer

ROOT = Path(__file__).resolve().parent.parent.parent
SOON = 0.2


class Pipe:
    """A pipe and an opened capture of it; the file's header has been written."""

    def __init__(self, pcapng: bool = False) -> None:
        self.pcapng = pcapng
        self.read_end, self.write_end = os.pipe()
        self.sent = 0
        if pcapng:
            self.write(savefiles.section_header() + savefiles.interface_description(Interface()))
        else:
            self.write(savefiles.pcap_header())
        self.capture = pypcapzc.open_offline(self.read_end)

    def write(self, data: bytes) -> None:
        assert os.write(self.write_end, data) == len(data)

    def packets(self, sizes: list[int]) -> list[bytes]:
        """Write packets of these sizes at once; their bytes."""
        made = [Packet((self.sent + n) * 10**9, bytes([n % 256]) * size) for n, size in enumerate(sizes)]
        self.sent += len(made)
        self.write(b"".join(self.packed(packet) for packet in made))
        return [packet.data for packet in made]

    def packed(self, packet: Packet) -> bytes:
        if self.pcapng:
            return savefiles.enhanced_packet(packet, Interface())
        file = io.BytesIO()
        savefiles.write_pcap(file, [packet])
        return file.getvalue()[24:]

    def close(self) -> None:
        self.capture.close()
        for end in (self.read_end, self.write_end):
            if end >= 0:
                os.close(end)


@pytest.fixture(params=["pcap", "pcapng"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    made = Pipe(request.param == "pcapng")
    yield made
    made.close()


class Reader:
    """Takes packets in a thread of its own, as they come."""

    def __init__(self, capture: pypcapzc.Capture, by: str) -> None:
        self.found: list[bytes] = []
        self.failure: BaseException | None = None
        self._capture, self._by = capture, by
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            if self._by == "blocks":
                for block in self._capture.blocks():
                    self.found += [bytes(view) for _, view in block]
            else:
                for _, data in self._capture:
                    self.found.append(data)
        except BaseException as error:
            self.failure = error

    def wait_for(self, count: int, seconds: float = 5.0) -> list[bytes]:
        """The packets, as soon as there are ``count``; what there is when the time is up."""
        deadline = time.monotonic() + seconds
        while len(self.found) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.found

    def ended(self) -> bool:
        self.thread.join(5)
        return not self.thread.is_alive()


@pytest.mark.parametrize("by", ["blocks", "iteration"])
@pytest.mark.parametrize(
    "bursts",
    [
        [[60]] * 10,
        [[60] * 500, [60], [60]],
        [[60] * 3, [1400] * 30, [60], [1400]],
        [[1400] * 40, [60] * 500, [60]],
        [[60] * 20, list(range(0, 1400, 20)), [2], [15000], [60, 15000, 60, 60]],
    ],
    ids=["single", "burst", "growing", "shrinking", "mixed"],
)
def test_each_packet_is_delivered_when_it_arrives(pipe: Pipe, bursts: list[list[int]], by: str) -> None:
    reader = Reader(pipe.capture, by)
    sent: list[bytes] = []
    for sizes in bursts:
        sent += pipe.packets(sizes)
        assert reader.wait_for(len(sent), 1) == sent
    os.close(pipe.write_end)
    pipe.write_end = -1
    assert reader.ended()
    assert reader.failure is None
    assert reader.found == sent


@pytest.mark.parametrize("seed", range(4))
def test_bursts_of_any_sizes(pipe: Pipe, seed: int) -> None:
    chance = random.Random(seed)
    reader = Reader(pipe.capture, "blocks")
    sent: list[bytes] = []
    for _ in range(40):
        sent += pipe.packets([chance.choice((0, 60, 300, 1500)) for _ in range(chance.randrange(1, 30))])
        assert reader.wait_for(len(sent), 1) == sent


def test_a_packet_in_pieces(pipe: Pipe) -> None:
    """What is whole is delivered although the next one has begun."""
    reader = Reader(pipe.capture, "blocks")
    whole, begun = (pipe.packed(Packet(n, bytes([n]) * 100)) for n in (1, 2))
    pipe.write(whole + begun[:50])
    assert reader.wait_for(1, 1) == [b"\1" * 100]
    pipe.write(begun[50:])
    assert reader.wait_for(2, 1) == [b"\1" * 100, b"\2" * 100]


@pytest.mark.parametrize("by", ["blocks", "iteration"])
def test_close_from_another_thread_while_waiting(pipe: Pipe, by: str) -> None:
    reader = Reader(pipe.capture, by)
    sent = pipe.packets([60] * 3)
    assert reader.wait_for(3) == sent
    time.sleep(0.05)
    began = time.monotonic()
    pipe.capture.close()
    assert reader.ended()
    assert time.monotonic() - began < SOON
    assert reader.failure is None
    with pytest.raises(CaptureClosedError):
        pipe.capture.next_block()


def test_close_in_the_middle_of_a_packet(pipe: Pipe) -> None:
    reader = Reader(pipe.capture, "blocks")
    pipe.write(pipe.packed(Packet(1, bytes(100)))[:70])
    time.sleep(0.1)
    pipe.capture.close()
    assert reader.ended()
    assert (reader.failure, reader.found) == (None, [])


def test_close_again_and_again() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for turn in range(100):
        pipe = Pipe()
        reader = Reader(pipe.capture, ("blocks", "iteration")[turn % 2])
        pipe.packets([60] * (turn % 5))
        if turn % 3 == 0:
            time.sleep(0.001 * (turn % 7))
        pipe.capture.close()
        assert reader.ended()
        assert reader.failure is None or isinstance(reader.failure, CaptureClosedError)
        pipe.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_breakloop_while_waiting(pipe: Pipe) -> None:
    reader = Reader(pipe.capture, "blocks")
    sent = pipe.packets([60])
    assert reader.wait_for(1) == sent
    time.sleep(0.05)
    pipe.capture.breakloop()
    assert reader.ended()
    assert reader.failure is None
    assert not pipe.capture.closed


def test_a_truncated_stream(pipe: Pipe) -> None:
    reader = Reader(pipe.capture, "blocks")
    sent = pipe.packets([100] * 7)
    pipe.write(pipe.packed(Packet(1, bytes(100)))[:70])
    os.close(pipe.write_end)
    pipe.write_end = -1
    assert reader.ended()
    assert reader.found == sent
    assert isinstance(reader.failure, SavefileError)


def test_a_header_that_comes_slowly() -> None:
    read_end, write_end = os.pipe()

    def write() -> None:
        for byte in savefiles.pcap_header():
            os.write(write_end, bytes([byte]))
            time.sleep(0.002)
        os.close(write_end)

    thread = threading.Thread(target=write)
    thread.start()
    with pypcapzc.open_offline(read_end) as capture:
        assert list(capture) == []
    thread.join()
    os.close(read_end)


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3", b"no savefile" * 10])
def test_a_pipe_that_gives_no_savefile(content: bytes) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, content)
    os.close(write_end)
    with pytest.raises(SavefileError, match="descriptor"):
        pypcapzc.open_offline(read_end)
    os.close(read_end)


def test_much_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    savefiles.generate(path, 50_000, (60, 1500))
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        with pypcapzc.open_offline(cat.stdout) as capture:
            for found, wanted in itertools.zip_longest(capture, savefiles.numbered(50_000, (60, 1500))):
                assert found == (wanted.ts_ns, wanted.data)


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    packets = list(savefiles.numbered(100))

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            savefiles.write_pcap(file, packets)

    thread = threading.Thread(target=write)
    thread.start()
    with pypcapzc.open_offline(path) as capture:
        assert list(capture) == [(packet.ts_ns, packet.data) for packet in packets]
    thread.join()


def test_a_socket() -> None:
    ours, theirs = socket.socketpair()
    packets = list(savefiles.numbered(100))
    with ours, theirs, theirs.makefile("wb") as file:
        savefiles.write_pcap(file, packets)
        file.flush()
        theirs.shutdown(socket.SHUT_WR)
        with pypcapzc.open_offline(ours.fileno()) as capture:
            assert list(capture) == [(packet.ts_ns, packet.data) for packet in packets]


_WAIT = """
import signal, sys, time
import pypcapzc
signal.signal(signal.SIGINT, signal.default_int_handler)
capture = pypcapzc.open_offline("-")
print("ready", flush=True)
try:
    for packet in capture:
        print(len(packet[1]), flush=True)
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    capture.close()
    raise
"""


def test_control_c_while_waiting_for_standard_input() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WAIT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        file = io.BytesIO()
        savefiles.write_pcap(file, [Packet(1, b"x" * 77)])
        process.stdin.write(file.getvalue())
        lines: list[bytes] = [process.stdout.readline() for _ in range(2)]
        assert lines == [b"ready\n", b"77\n"]
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        seen = float(process.stdout.readline())
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()
        process.wait(10)
    assert seen - began < SOON
    assert process.returncode == -signal.SIGINT


def test_a_signal_handler_that_breaks_off() -> None:
    pipe = Pipe()
    before = signal.signal(signal.SIGALRM, lambda *_: pipe.capture.breakloop())
    try:
        sent = pipe.packets([60] * 2)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        began = time.monotonic()
        waits: Callable[[], Any] = lambda: [data for _, data in pipe.capture]  # noqa: E731
        assert waits() == sent
        assert time.monotonic() - began < 0.1 + SOON
    finally:
        signal.signal(signal.SIGALRM, before)
        pipe.close()


def test_with_a_filter_what_passes_is_delivered_when_it_arrives(pipe: Pipe) -> None:
    pipe.capture.set_filter("greater 100")
    reader = Reader(pipe.capture, "blocks")
    sent: list[bytes] = []
    for sizes in ([60] * 50 + [200] * 3 + [60] * 50, [300], [200] * 30, [60, 300, 60]):
        sent += [data for data in pipe.packets(sizes) if len(data) > 100]
        assert reader.wait_for(len(sent), 1) == sent


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("piece", [1, 7, 16, 1000, 1 << 20])
@pytest.mark.parametrize("pcapng", [False, True])
def test_the_framer_counts_whole_packets(byteorder: Any, piece: int, pcapng: bool) -> None:
    packets = [Packet(n, bytes(n * 7 % 90)) for n in range(50)]
    content = savefiles.section_header(byteorder) + savefiles.interface_description(Interface(), byteorder)
    ends: list[int] = []
    if not pcapng:
        content = savefiles.pcap_header(byteorder=byteorder)
    for packet in packets:
        file = io.BytesIO()
        savefiles.write_pcap(file, [packet], byteorder=byteorder)
        content += (
            savefiles.block(5, b"statistics", byteorder)
            + savefiles.enhanced_packet(packet, Interface(), byteorder)
            if pcapng
            else file.getvalue()[24:]
        )
        ends.append(len(content))
    framer = Framer()
    for start in range(0, len(content), piece):
        framer.feed(content[start : start + piece])
        assert framer.packets == sum(end <= start + piece for end in ends)
    lost = Framer()
    lost.feed(b"something else " * 10)
    assert lost.packets == 0
