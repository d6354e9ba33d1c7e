"""Every wait of a live capture ends: by deadline, break, signal or close; and waiting with others."""

from __future__ import annotations

import asyncio
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.errors import (
    CaptureClosedError,
)
from support import simulated
from support.captures import later as _later
from support.captures import numbers as _numbers
from support.captures import opened as _open

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parent.parent.parent
SOON = 0.1
"""The 100 ms within which a wait has to end."""


@pytest.fixture
def flood(net: Lab) -> Iterator[None]:
    """Packets without an end, as fast as they go."""
    with net.inside():
        process = traffic.start("--device", net.send_device, "--count", "1000000000")
    while not net.counters(net.send_device).tx_packets:
        assert process.poll() is None
        time.sleep(0.01)
    yield
    process.kill()
    process.communicate()


# --- deadlines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_ms", [0, 10, 1000])
def test_a_deadline_holds_with_no_traffic(net: Lab, timeout_ms: int) -> None:
    with _open(net, timeout_ms=timeout_ms) as capture:
        for timeout, tolerance in ((0, 0.05), (0.2, 0.1), (0.0001, 0.05)):
            began = time.monotonic()
            assert capture.next_block(timeout) is None
            assert timeout <= time.monotonic() - began < timeout + tolerance
        began = time.monotonic()
        assert list(capture.blocks(0.2)) == []
        assert 0.2 <= time.monotonic() - began < 0.3
        for wrong in (-1, -0.001, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                capture.next_block(wrong)


def test_waiting_costs_no_processor_time(net: Lab) -> None:
    with _open(net) as capture:
        began = time.process_time()
        assert capture.next_block(0.5) is None
        assert time.process_time() - began < 0.1


@pytest.mark.usefixtures("flood")
def test_blocks_ends_under_continuous_traffic(net: Lab) -> None:
    with _open(net) as capture:
        began = time.monotonic()
        packets = 0
        for block in capture.blocks(0.3):
            packets += len(block)
            time.sleep(0.02)  # slower than what comes: there is always a next block
            assert time.monotonic() - began < 5
        assert 0.3 <= time.monotonic() - began < 0.6
        assert packets > 1000


def test_packets_are_delivered_when_the_kernel_hands_them_over(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        for _ in range(5):
            _later(0.05, lambda: sender.send(1))
            began = time.monotonic()
            assert capture.next_block(5) is not None
            assert time.monotonic() - began < 0.05 + SOON


# --- breaking off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["iterate", "blocks", "next_block"])
def test_breakloop_from_another_thread_on_an_idle_link(net: Lab, sender: traffic.Sender, wait: str) -> None:
    with _open(net) as capture:
        for turn in range(3):
            began = _later(0.1, capture.breakloop)
            waits: dict[str, Callable[[], object]] = {
                "iterate": lambda: list(capture),
                "blocks": lambda: list(capture.blocks()),
                "next_block": capture.next_block,
            }
            assert not waits[wait]()
            assert time.monotonic() - began[0] < SOON
            sender.send(1)  # and it can go on
            assert _numbers(capture, 0.1) == [turn]
        capture.breakloop()  # before the wait: the next one ends
        assert capture.next_block() is None


def test_breakloop_from_a_signal_handler(net: Lab) -> None:
    with _open(net) as capture:
        before = signal.signal(signal.SIGALRM, lambda *_: capture.breakloop())
        try:
            for wait in (lambda: list(capture), lambda: list(capture.blocks()), capture.next_block):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                began = time.monotonic()
                assert not wait()
                assert 0.1 <= time.monotonic() - began < 0.1 + SOON
        finally:
            signal.signal(signal.SIGALRM, before)


def test_close_in_a_signal_handler(net: Lab, sender: traffic.Sender) -> None:
    for traffic_there in (False, True):
        with _open(net) as capture:
            before = signal.signal(signal.SIGALRM, lambda *_, capture=capture: capture.close())
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                if traffic_there:
                    for _ in capture.blocks():
                        sender.send(100)
                        if capture.closed:
                            break
                    else:
                        assert capture.closed
                        continue
                    sender.send(1)
                else:
                    assert list(capture) == []
                assert capture.closed
            finally:
                signal.signal(signal.SIGALRM, before)
        if not traffic_there:
            sender.send(1)


_ITERATE = """
import signal, sys, time
import pypcapzc
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell has it ignored
capture = pypcapzc.open_live(sys.argv[1], timeout_ms=int(sys.argv[3]))
print("ready", flush=True)
try:
    if sys.argv[2] == "iterate":
        for packet in capture: pass
    elif sys.argv[2] == "blocks":
        for block in capture.blocks(): pass
    else:
        capture.next_block(60)
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    capture.close()
    raise
"""


@pytest.mark.parametrize("timeout_ms", [0, 1000])
@pytest.mark.parametrize("wait", ["iterate", "blocks", "next_block"])
def test_control_c_on_an_idle_link(net: Lab, wait: str, timeout_ms: int) -> None:
    command = [sys.executable, "-c", _ITERATE, net.capture_device, wait, str(timeout_ms)]
    with net.inside():
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.15)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        seen = float(process.stdout.readline())
        _, errors = process.communicate(timeout=10)
    assert seen - began < SOON
    assert "KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("wait", ["iterate", "blocks", "next_block"])
def test_control_c_that_no_system_call_notices(net: Lab, wait: str) -> None:
    """As when it comes right before the call; here it is another thread's call that it interrupts."""
    with _open(net) as capture:
        waits: dict[str, Callable[[], object]] = {
            "iterate": lambda: list(capture),
            "blocks": lambda: list(capture.blocks(20)),
            "next_block": lambda: capture.next_block(20),
        }

        def interrupt() -> None:
            time.sleep(0.1)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        other = threading.Thread(target=interrupt)
        other.start()
        try:
            began = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                waits[wait]()
            assert time.monotonic() - began < 10
        finally:
            signal.signal(signal.SIGINT, before)
            other.join()


@pytest.mark.filterwarnings("ignore:.*all blocks of the buffer are held:RuntimeWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_close_from_another_thread_while_reading(
    net: Lab, busy: bool, request: pytest.FixtureRequest
) -> None:
    if busy:
        request.getfixturevalue("flood")
    for turn in range(60):
        capture = _open(net, buffer_size=1 << 20)
        kept: list[memoryview] = []

        def read(turn: int = turn, capture: pypcapzc.Capture = capture, out: Any = kept) -> None:
            if turn % 2:
                for number, _ in enumerate(capture):
                    if number % 5000 == 0:
                        time.sleep(0)
            else:
                for block in capture.blocks():
                    out.append(block[0])

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.002 * (turn % 10))
        began = time.monotonic()
        capture.close()
        reader.join(5)
        assert not reader.is_alive()
        assert time.monotonic() - began < 5
        for view in kept:
            frames.check(view)
        with pytest.raises(CaptureClosedError, match=net.capture_device):
            capture.next_block(0)


def test_a_closed_capture(net: Lab, sender: traffic.Sender) -> None:
    capture = _open(net)
    sender.send(10)
    assert _numbers(capture) == list(range(10))
    stats = capture.stats()
    assert (stats.received, stats.dropped, stats.dropped_by_interface) == (10, 0, 0)
    sender.send(5)
    if simulated.ACTIVE:
        time.sleep(0.1)  # packets of a Linux device reach the simulated kernel a bit later
    capture.close()
    capture.close()
    capture.breakloop()  # harmless
    assert capture.stats().received == 15
    uses: list[Callable[[], object]] = [
        lambda: next(iter(capture)),
        lambda: next(capture.blocks()),
        lambda: capture.next_block(0),
        lambda: capture.set_filter("udp"),
        lambda: capture.inject(bytes(60)),
        capture.datalinks,
        lambda: capture.datalink,
        capture.fileno,
        capture.stop,
        lambda: capture.zero_copy,
        lambda: capture.set_direction("in"),
    ]
    for use in uses:
        with pytest.raises(CaptureClosedError):
            use()
    assert "closed" in repr(capture)


# --- waiting with others ---------------------------------------------------------------------------------


def test_select(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        assert select.select([capture], [], [], 0.05)[0] == []
        sender.send(3)
        found: list[int] = []
        while len(found) < 3:  # BPF may hand over the first by itself
            assert select.select([capture], [], [], 2)[0] == [capture]
            found += _numbers(capture, 0)
        assert found == [0, 1, 2]
        if not simulated.ACTIVE:  # BPF's may be readable once in a timeout until the next packet
            assert select.select([capture], [], [], 0.05)[0] == []


def test_asyncio(net: Lab, sender: traffic.Sender) -> None:
    found: list[int] = []

    async def collect(capture: pypcapzc.Capture) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def readable() -> None:
            while (block := capture.next_block(0)) is not None:
                found.extend(frames.check(view) for _, view in block)
            if len(found) >= 30:
                done.set()

        loop.add_reader(capture.fileno(), readable)
        try:
            for _ in range(3):
                sender.send(10)
                await asyncio.sleep(0.05)
            await asyncio.wait_for(done.wait(), 5)
        finally:
            loop.remove_reader(capture.fileno())

    with _open(net) as capture:
        asyncio.run(collect(capture))
    assert found == list(range(30))


@pytest.mark.parametrize("how", ["blocks", "iterate"])
def test_two_threads_share_the_packets(net: Lab, how: str) -> None:
    """Each packet goes to exactly one of them, and each gets its own in order."""
    shares: list[list[int]] = [[], []]
    errors: list[BaseException] = []
    with _open(net, buffer_size=64 << 20) as capture:
        finished = threading.Event()

        def read(share: list[int]) -> None:
            try:
                while not finished.is_set():
                    if how == "blocks":
                        for block in capture.blocks():
                            share += [frames.check(view) for _, view in block]
                    else:
                        for _, data in capture:
                            share.append(frames.check(data))
            except CaptureClosedError:
                pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=read, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        with net.inside():
            sent = traffic.finish(
                traffic.start("--device", net.send_device, "--rate", "40000", "--duration", "1")
            )
        deadline = time.monotonic() + 10
        while sum(map(len, shares)) + capture.stats().dropped < sent.packets:
            assert time.monotonic() < deadline
            assert not errors
            time.sleep(0.02)
        finished.set()
        capture.close()
        for thread in threads:
            thread.join(5)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
    together = [number for share in shares for number in share]
    assert len(set(together)) == len(together)
    assert len(together) + capture.stats().dropped == sent.packets == 40_000
    for share in shares:
        assert share == sorted(share)
        assert share
