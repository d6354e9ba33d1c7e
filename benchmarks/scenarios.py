"""What is measured: a filled ring that is drained, a device while packets arrive, savefiles that are read.

Every run is a fresh process, in which one library does the whole task in one way; see
benchmarks.consumers.common for the talk with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.consumers.common import MARKER, Task
from benchmarks.peers import ROOT, Contestant, Way, variables
from lab import frames, savefiles
from lab.netns import Lab
from lab.traffic import Sender, Sent


class RunError(Exception):
    """A run did not do what it had to: a wrong count, an error, or no end."""


@dataclass(frozen=True)
class Settings:
    """The same for every contestant."""

    count: int
    """Packets of a drained ring or a savefile."""
    buffer_size: int
    live_buffer_size: int
    snaplen: int
    timeout_ms: int
    seconds: float
    """How long packets are sent to a live capture."""
    scratch: Path
    """Where savefiles are put."""

    @property
    def deadline(self) -> float:
        """Seconds after which a run is given up."""
        return 60 + self.count / 10_000 + 3 * self.seconds


@dataclass(frozen=True)
class Scenario:
    """A name, where the packets come from, and what they are like."""

    name: str
    title: str
    kind: str
    """``drain``, ``live`` or ``savefile``."""
    size: frames.Size = 64
    part: int = 1
    """One packet in so many of Settings.count: large ones fill a ring sooner."""
    form: str = "pcap"


SCENARIOS = (
    Scenario("drain", "filled ring, 64-byte frames", "drain"),
    Scenario("drain-mixed", "filled ring, frames of 60 to 1500 bytes", "drain", (60, 1500), part=4),
    Scenario("live", "live, 64-byte frames", "live"),
    Scenario("savefile", "pcap file, 64-byte frames", "savefile"),
    Scenario("savefile-mixed", "pcap file, frames of 60 to 1500 bytes", "savefile", (60, 1500)),
    Scenario("savefile-pcapng", "pcapng file, 64-byte frames", "savefile", form="pcapng"),
)


@dataclass(frozen=True)
class Run:
    """Who does it how, with which Python, and at how many packets a second if live."""

    contestant: Contestant
    way: Way
    python: str
    rate: int | None = None


class Stage:
    """A scenario made ready for runs: the namespace and the savefiles are made once for all of them."""

    def __init__(self, scenario: Scenario, settings: Settings) -> None:
        self.scenario = scenario
        self._settings = settings

    def _count(self, run: Run) -> int:
        return max(1, self._settings.count // (self.scenario.part * run.way.part))

    def _task(self, run: Run, source: str) -> Task:
        settings, live = self._settings, self.scenario.kind == "live"
        return Task(
            way=run.way.name,
            kind=self.scenario.kind,
            source=source,
            count=self._count(run),
            buffer_size=settings.live_buffer_size if live else settings.buffer_size,
            snaplen=settings.snaplen,
            timeout_ms=settings.timeout_ms,
            laps=1 if live else run.way.laps,
        )

    def run(self, run: Run) -> dict[str, Any]:
        """One run; what the consumer printed, with its counts checked."""
        raise NotImplementedError


class SavefileStage(Stage):
    """Savefiles in the page cache, as long as the ways need them."""

    def __init__(self, scenario: Scenario, settings: Settings, folder: Path) -> None:
        super().__init__(scenario, settings)
        self._folder = folder

    def _file(self, count: int) -> Path:
        scenario = self.scenario
        path = self._folder / f"{count}.{scenario.form}"
        if not path.exists():
            if scenario.form == "pcap":
                savefiles.generate(path, count, scenario.size, nano=False)
            else:
                savefiles.write_pcapng(path, savefiles.numbered(count, scenario.size))
        with open(path, "rb", buffering=0) as file:  # every run finds it in the page cache
            while file.read(1 << 20):
                pass
        return path

    def run(self, run: Run) -> dict[str, Any]:
        count = self._count(run)
        task = self._task(run, str(self._file(count)))
        with _consumer(run, task) as process:
            result = _answer(process, self._settings.deadline * task.laps)
        size = frames.total_bytes(frames.size_table(self.scenario.size), count)
        _check(result, count * task.laps, size * task.laps)
        return result


class DeviceStage(Stage):
    """A private network, and senders of the frames and of the marker that ends a capture."""

    def __init__(self, scenario: Scenario, settings: Settings, net: Lab, sender: Sender, end: Sender) -> None:
        super().__init__(scenario, settings)
        self._net, self._sender, self._end = net, sender, end

    def run(self, run: Run) -> dict[str, Any]:
        task = self._task(run, self._net.capture_device)
        with self._net.inside(), _consumer(run, task) as process:
            if run.rate is not None:
                return self._live(run, process, run.rate)
            return self._drain(run, process, task.laps)

    def _drain(self, run: Run, process: subprocess.Popen[bytes], laps: int) -> dict[str, Any]:
        packets = size = 0
        for _ in range(laps):
            _answer(process, self._settings.deadline)
            sent = self._fill(run)
            packets, size = packets + sent.packets, size + sent.bytes
            _tell(process)
        result = _answer(process, self._settings.deadline)
        _check(result, packets, size)
        return result

    def _fill(self, run: Run) -> Sent:
        """Packets, and the marker, into the ring."""
        before = self._net.counters(self._net.capture_device).rx_packets
        sent = self._sender.send(self._count(run))
        self._end.send(1)
        arrived = self._net.counters(self._net.capture_device).rx_packets - before - 1
        if arrived != sent.packets:
            raise RunError(f"{arrived} packets arrived at the device instead of {sent.packets}")
        retire_ms = run.contestant.retire_ms or self._settings.timeout_ms
        time.sleep(2 * retire_ms / 1000 + 0.1)  # the kernel retires the last block
        return sent

    def _live(self, run: Run, process: subprocess.Popen[bytes], rate: int) -> dict[str, Any]:
        _answer(process, self._settings.deadline)
        _tell(process)
        sent = self._sender.pace(rate, self._settings.seconds)
        _wait_until_idle(process.pid, self._settings.deadline)
        _tell(process)
        markers = 0
        give_up = time.monotonic() + self._settings.deadline
        while run.contestant.marked and not _has_answer(process, 0.05) and time.monotonic() < give_up:
            self._end.send(1)
            markers += 1
        result = _answer(process, self._settings.deadline)
        _check_live(result, sent, markers)
        return result | {
            "sent": sent.packets,
            "sending": sent.seconds,
            "lost": sent.packets - result["packets"],
        }


def _check(result: dict[str, Any], packets: int, total: int) -> None:
    got = result["packets"], result["bytes"]
    if got[0] != packets or got[1] not in (total, None):
        raise RunError(f"(packets, bytes) {got} instead of {(packets, total)}")


def _check_live(result: dict[str, Any], sent: Sent, markers: int) -> None:
    """What was captured and what the kernel dropped are what was sent."""
    dropped = result["counters"][1]
    total = result["packets"] + dropped
    if not sent.packets <= total <= sent.packets + markers:
        raise RunError(f"captured {result['packets']}, dropped {dropped}, but sent {sent.packets}")
    if not dropped:
        _check(result, sent.packets, sent.bytes)


@contextmanager
def staged(scenario: Scenario, settings: Settings) -> Iterator[Stage]:
    """Makes what the scenario needs, and takes it away afterwards."""
    if scenario.kind == "savefile":
        folder = settings.scratch / scenario.name
        folder.mkdir()
        try:
            yield SavefileStage(scenario, settings, folder)
        finally:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return
    with ExitStack() as stack:
        net = stack.enter_context(Lab())
        with net.inside():
            sender = stack.enter_context(Sender(net.send_device, scenario.size))
            end = stack.enter_context(Sender(net.send_device, MARKER))
        yield DeviceStage(scenario, settings, net, sender, end)


def fastest(count: int) -> float:
    """Packets of 64 bytes a second that the generator sends where nobody captures them."""
    with Lab() as net, net.inside(), Sender(net.send_device) as sender:
        sent = sender.send(count)
    return sent.packets / sent.seconds


@contextmanager
def _consumer(run: Run, task: Task) -> Iterator[subprocess.Popen[bytes]]:
    command = [run.python, *run.contestant.runner, "-m", run.contestant.module, json.dumps(asdict(task))]
    with subprocess.Popen(
        command,
        bufsize=0,
        cwd=ROOT,
        env={**os.environ, **variables(run.contestant)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too


def _tell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # why it has gone is in its answer
        process.stdin.write(b"go on\n")


def _has_answer(process: subprocess.Popen[bytes], seconds: float) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], seconds)[0])


def _answer(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    """The next line that a consumer prints."""
    assert process.stdout is not None
    if not _has_answer(process, deadline):
        raise RunError(f"no answer from the consumer in {deadline:.0f} s")
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        why = process.stderr.read().decode(errors="replace").strip()
        raise RunError(f"the consumer failed with {process.wait(deadline)}: {why}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RunError(str(answer["error"]))
    return answer


def _wait_until_idle(pid: int, deadline: float) -> None:
    """Until a consumer has worked off what waited for it: it runs for less than a tenth of some time."""
    pause, give_up = 0.3, time.monotonic() + deadline
    before = -1.0
    while (now := _processor_time(pid)) - before > pause / 10 and time.monotonic() < give_up:
        before = now
        time.sleep(pause)


def _processor_time(pid: int) -> float:
    """Seconds that a process has run (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
