"""What is measured: a filled ring that is drained, and savefiles that are read.

Every run is a fresh process, in which one library does the whole task in one way; see
benchmarks.consumers.common for the talk with it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.consumers.common import Task
from benchmarks.peers import ROOT, Contestant
from lab import frames, savefiles
from lab.netns import Lab
from lab.traffic import Sender


class RunError(Exception):
    """A run did not do what it had to: a wrong count, an error, or no end."""


@dataclass(frozen=True)
class Settings:
    """The same for every contestant."""

    count: int
    buffer_size: int
    snaplen: int
    timeout_ms: int
    scratch: Path
    """Where savefiles are put."""

    @property
    def deadline(self) -> float:
        """Seconds after which a run is given up."""
        return 30 + self.count / 20_000


@dataclass(frozen=True)
class Scenario:
    """A name, what its frames are like, and whether they come from a ring or from a savefile."""

    name: str
    title: str
    size: frames.Size
    live: bool


SCENARIOS = (
    Scenario("drain", "filled ring, 64-byte frames", 64, live=True),
    Scenario("savefile", "savefile, 64-byte frames", 64, live=False),
    Scenario("savefile-mixed", "savefile, frames of 60 to 1500 bytes", (60, 1500), live=False),
)


class Stage:
    """A scenario made ready for runs: the namespace, or the savefile, is made once for all of them."""

    def __init__(self, scenario: Scenario, settings: Settings, net: Lab | None, path: Path | None) -> None:
        self.scenario = scenario
        self._settings = settings
        self._net = net
        self._path = path
        self._bytes = frames.total_bytes(frames.size_table(scenario.size), settings.count)

    def run(self, contestant: Contestant, way: str, python: str) -> dict[str, Any]:
        """One run; what the consumer printed, with its counts checked."""
        if self._net is not None:
            with self._net.inside():
                result = self._drain(self._net, contestant, way, python)
        else:
            result = self._read(contestant, way, python)
        wanted = self._settings.count, self._bytes
        if (result["packets"], result["bytes"]) != wanted:
            got = result["packets"], result["bytes"]
            raise RunError(f"{contestant.name} {way}: (packets, bytes) {got} instead of {wanted}")
        return result

    def _drain(self, net: Lab, contestant: Contestant, way: str, python: str) -> dict[str, Any]:
        before = net.counters(net.capture_device)
        with (
            Sender(net.send_device, self.scenario.size) as sender,
            _consumer(python, contestant, self._task(way, net.capture_device)) as process,
        ):
            _answer(process, self._settings.deadline)
            sender.send(self._settings.count)
            arrived = net.counters(net.capture_device).rx_packets - before.rx_packets
            if arrived != self._settings.count:
                raise RunError(f"{arrived} packets arrived at the device instead of {self._settings.count}")
            time.sleep(2 * self._settings.timeout_ms / 1000 + 0.1)  # the kernel retires the last block
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
            return _answer(process, self._settings.deadline)

    def _read(self, contestant: Contestant, way: str, python: str) -> dict[str, Any]:
        with _consumer(python, contestant, self._task(way, str(self._path))) as process:
            return _answer(process, self._settings.deadline)

    def _task(self, way: str, source: str) -> Task:
        settings = self._settings
        return Task(
            way=way,
            live=self.scenario.live,
            source=source,
            count=settings.count,
            buffer_size=settings.buffer_size,
            snaplen=settings.snaplen,
            timeout_ms=settings.timeout_ms,
        )


@contextmanager
def staged(scenario: Scenario, settings: Settings) -> Iterator[Stage]:
    """Makes what the scenario needs, and takes it away afterwards."""
    if scenario.live:
        with Lab() as net:
            yield Stage(scenario, settings, net, None)
        return
    path = settings.scratch / f"{scenario.name}.pcap"
    try:
        savefiles.generate(path, settings.count, scenario.size, nano=False)
        path.read_bytes()  # every run finds it in the page cache
        yield Stage(scenario, settings, None, path)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _consumer(python: str, contestant: Contestant, task: Task) -> Iterator[subprocess.Popen[bytes]]:
    command = [python, "-m", contestant.module, json.dumps(asdict(task))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        bufsize=0,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _answer(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    """The next line that a consumer prints."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], deadline)[0]:
        raise RunError(f"no answer from the consumer in {deadline:.0f} s")
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise RunError(f"the consumer failed: {process.stderr.read().decode(errors='replace').strip()}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RunError(str(answer["error"]))
    return answer
