"""Worker processes that share a device: results, accounts, and every way in which one can end."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc import Fanout, Workers, platforms
from pypcapzc.errors import DeviceNotFoundError
from pypcapzc.workers import Report, WorkerError
from support import cli, simulated

pytestmark = [
    pytest.mark.netns,
    simulated.linux_only,
    # What runs the tests may have threads, which Python 3.12 and later do not like where a process forks.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

METHODS: tuple[Any, ...] = ("fork", "spawn")
COUNT = 6000
LB = Fanout(mode="lb")


def collect(blocks: Iterator[pypcapzc.Block], report: str = "") -> list[int]:
    """The numbers of all frames; each is checked byte for byte."""
    found: list[int] = []
    for block in blocks:
        found += [frames.check(view) for _, view in block]
        if report:
            Path(report, str(os.getpid())).write_text(str(len(found)))
    return found


def first_only(blocks: Iterator[pypcapzc.Block]) -> int:
    return len(next(blocks))


class OddError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("two arguments")


def fail(blocks: Iterator[pypcapzc.Block], how: str) -> Any:
    for _ in blocks:
        if how == "raise":
            raise KeyError("no such thing")
        if how == "odd":
            raise OddError(1, 2)
        if how == "exit":
            os._exit(7)
        if how == "result":
            return lambda: None
        if how == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(600)
    return "never"


def _workers(net: Lab, function: Any, count: int, **options: Any) -> Workers:
    """Started in the lab."""
    options = {"fanout": LB, "timeout_ms": 20, "buffer_size": 16 << 20, **options}
    workers = Workers(net.capture_device, function, count, **options)
    with net.inside():
        workers.start()
    return workers


def _exact(report: Report, sent: int) -> None:
    assert report.received == sent
    assert report.lost is not None
    assert report.packets + report.dropped + report.lost == sent
    for worker in report.workers:
        assert worker.lost is not None
        assert worker.packets + worker.dropped + worker.lost == worker.received


@pytest.mark.parametrize("method", METHODS)
def test_every_packet_is_in_one_result(net: Lab, sender: traffic.Sender, method: Any) -> None:
    workers = _workers(net, collect, 3, start_method=method, filter="udp")
    assert workers.alive == [True] * 3
    assert len(set(workers.pids)) == 3
    assert workers.fanout is not None
    assert workers.fanout.group is not None
    sender.send(COUNT)  # most of them are still in the kernel's rings when they are stopped
    report = workers.stop()
    assert workers.report is report is workers.stop()
    assert sorted(report.merged(operator.add)) == list(range(COUNT))
    _exact(report, COUNT)
    assert (report.packets, report.dropped, report.lost, report.errors) == (COUNT, 0, 0, [])
    assert [worker.packets for worker in report.workers] == [COUNT // 3] * 3
    assert [len(result) for result in report.results()] == [COUNT // 3] * 3
    assert [worker.pid for worker in report.workers] == workers.pids
    assert workers.alive == [False] * 3
    for pid in workers.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_as_a_context_with_a_body_that_fails(net: Lab) -> None:
    workers = Workers(net.capture_device, collect, 2, start_method="fork", timeout_ms=20)
    with pytest.raises(ZeroDivisionError), net.inside(), workers:
        _ = 1 / 0
    assert workers.report.results() == [[], []]
    with pytest.raises(ValueError, match="started once"):
        workers.start()


def test_one_worker_needs_no_group(net: Lab, sender: traffic.Sender) -> None:
    workers = _workers(net, collect, 1, start_method="fork", fanout=None)
    sender.send(100)
    report = workers.stop()
    assert report.results() == [list(range(100))]
    assert (report.received, report.lost, workers.fanout) == (100, 0, None)


def test_functions_that_return_by_themselves(net: Lab, sender: traffic.Sender) -> None:
    workers = _workers(net, first_only, 2, start_method="fork")
    assert not workers.wait(0.05)
    sender.send(COUNT)
    assert workers.wait(30)
    report = workers.stop()
    _exact(report, report.received)
    assert sum(report.results()) == report.packets > 0


# --- workers that end badly ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("raise", KeyError, "no such thing"),
        ("odd", WorkerError, r"worker \d \(process \d+\) failed: OddError: two arguments"),
        ("result", AttributeError, "lambda"),
        ("exit", WorkerError, r"worker \d \(process \d+\) died: exit code 7; the kernel had received "),
    ],
)
def test_a_function_that_fails(
    net: Lab, sender: traffic.Sender, method: Any, how: str, kind: type[Exception], message: str
) -> None:
    if how == "result":
        kind = Exception  # which one it is has changed between versions of Python
    workers = _workers(net, fail, 2, start_method=method, args=(how,))
    sender.send(100)
    assert workers.wait(30)
    report = workers.stop()
    assert len(report.errors) == 2
    with pytest.raises(kind, match=message) as caught:
        report.results()
    if how in ("raise", "odd"):
        assert "in fail" in str(caught.value.__cause__)  # where in the worker
    assert report.received == 100
    assert report.packets + report.dropped + (report.lost or 0) == 100


def test_one_that_is_killed(net: Lab, sender: traffic.Sender, tmp_path: Path) -> None:
    """It is told of, its packets are accounted for, and the others get those that come later."""
    workers = _workers(net, collect, 3, start_method="fork", args=(str(tmp_path),))
    sender.send(300)
    deadline = time.monotonic() + 30
    while sum(int(each.read_text() or 0) for each in tmp_path.iterdir()) < 300:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim = workers.pids[1]
    os.kill(victim, signal.SIGSTOP)
    while _state(victim) != "T":
        time.sleep(0.01)
    sender.send(300)  # a hundred of them for one who does not take them
    os.kill(victim, signal.SIGKILL)
    while workers.alive[1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sender.send(300)
    report = workers.stop()
    _exact(report, 900)
    dead = report.workers[1]
    assert dead.received - dead.dropped == 200
    assert dead.lost is not None
    assert dead.lost >= 100
    assert [worker.received for worker in report.workers] == [350, 200, 350]
    assert str(dead.error) == (
        f"worker 1 (process {victim}) died: killed by SIGKILL; the kernel had received 200 packets for it "
        f"and dropped 0, and it had finished with {dead.packets}; its result is lost"
    )
    with pytest.raises(WorkerError):
        report.merged(operator.add)
    assert [worker.error for worker in report.workers if worker.number != 1] == [None, None]


def test_one_that_hangs(net: Lab, sender: traffic.Sender) -> None:
    workers = _workers(net, fail, 1, start_method="fork", fanout=LB, args=("hang",))
    sender.send(100)
    time.sleep(0.3)
    report = workers.stop(timeout=0.5)
    assert "did not end in time and was killed" in str(report.errors[0])
    _exact(report, 100)


def test_what_cannot_be_opened(net: Lab) -> None:
    for method in METHODS:
        workers = Workers("nowhere0", collect, 2, start_method=method)
        with net.inside(), pytest.raises(DeviceNotFoundError, match="no such device: nowhere0"):
            workers.start()
    with pytest.raises(ValueError, match="count is 0"):
        Workers("lo", collect, 0)


def test_a_function_that_cannot_be_sent(net: Lab) -> None:
    workers = Workers(net.capture_device, lambda blocks: None, 2, start_method="spawn")
    with net.inside(), pytest.raises(TypeError, match="define the function at the top level of a module"):
        workers.start()


class _Elsewhere(platforms.Linux):
    name = "freebsd"


def test_a_system_without_fanout(net: Lab, sender: traffic.Sender) -> None:
    with platforms.use(_Elsewhere()):
        workers = _workers(net, collect, 4, start_method="fork")
        assert workers.reason == "one worker: PACKET_FANOUT is Linux's, and this is freebsd"
        sender.send(100)
        assert workers.stop().results() == [list(range(100))]


# --- signals ---------------------------------------------------------------------------------------------

_PROGRAM = """
import sys, time
from netns.test_workers import collect
from pypcapzc import Fanout, Workers
import operator

def main():
    device, method = sys.argv[1:]
    workers = Workers(device, collect, 2, fanout=Fanout(mode="lb"), start_method=method, timeout_ms=20)
    try:
        with workers:
            print("started", *workers.pids, flush=True)
            while True:
                time.sleep(0.1)  # a signal that comes right before a sleep does not end it
    except KeyboardInterrupt:
        report = workers.report
        print(len(report.merged(operator.add)), report.received, report.lost, flush=True)

if __name__ == "__main__":
    main()
"""


def _program(net: Lab, tmp_path: Path, method: str) -> tuple[subprocess.Popen[str], list[int]]:
    script = tmp_path / "program.py"
    script.write_text(_PROGRAM)
    environment = cli.environment(PYTHONPATH=f"{cli.ROOT}{os.pathsep}{cli.ROOT / 'tests'}")
    with net.inside():
        process = subprocess.Popen(
            [sys.executable, script, net.capture_device, method],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["started"], process.communicate()
    return process, [int(word) for word in words[1:]]


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_loses_nothing(net: Lab, sender: traffic.Sender, tmp_path: Path, method: str) -> None:
    process, _ = _program(net, tmp_path, method)
    sender.send(1000)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers
    out, err = process.communicate(timeout=60)
    assert (out.strip(), err, process.returncode) == ("1000 1000 0", "", 0)


@pytest.mark.parametrize("method", METHODS)
def test_workers_do_not_outlive_their_parent(net: Lab, tmp_path: Path, method: str) -> None:
    process, pids = _program(net, tmp_path, method)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(_state(pid) not in ("", "Z") for pid in pids):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.05)


def _state(pid: int) -> str:
    """As proc(5) has it: T for stopped, Z for one that nobody waits for; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
