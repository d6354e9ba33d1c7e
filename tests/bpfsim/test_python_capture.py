"""Captures of Python on the simulated /dev/bpf, with zero-copy and without."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames
from pypcapzc import platforms
from pypcapzc.errors import DeviceGoneError
from pypcapzc.platforms.freebsd import BIOCGRSIG
from support import simulated
from support.bpfsim import Simulator
from support.captures import accepted, numbers

pytestmark = pytest.mark.bpfsim

MIB = 1 << 20


@pytest.fixture(scope="module")
def library(patched: Callable[[str], Path]) -> Path:
    """The newest patched one, or that of a run that is on the simulated device as a whole."""
    return Path(os.environ["PYPCAPZC_LIBPCAP"]) if simulated.ACTIVE else patched("plain")


@pytest.fixture(params=[True, False], ids=["zerocopy", "read"])
def sharing(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def sim(library: Path, sharing: bool) -> Iterator[Simulator]:
    with simulated.loaded(library) as simulator:
        simulator.set_sysctl("net.bpf.zerocopy_enable", sharing)
        simulator.add_interface("em0")
        yield simulator


class Sender:
    """Frames that count up, each seen by every descriptor when send() returns."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator, self.sequence = simulator, 0

    def send(self, count: int, size: int = 64) -> None:
        first, self.sequence = self.sequence, self.sequence + count
        self._simulator.send_many("em0", [frames.expected(n, size) for n in range(first, self.sequence)])


@pytest.fixture
def sender(sim: Simulator) -> Sender:
    return Sender(sim)


def opened(**options: Any) -> pypcapzc.Capture:
    return pypcapzc.open_live("em0", **{"timeout_ms": 10, **options})


# --- what is in use --------------------------------------------------------------------------------------


def test_what_the_kernel_says_of_the_descriptor(sim: Simulator, sender: Sender, sharing: bool) -> None:
    with opened(filter="udp", buffer_size=MIB // 2) as capture:
        sender.send(20)
        sim.send_many("em0", [bytes(12) + b"\x88\xb5" + bytes(46)] * 5)
        assert numbers(capture, 0.05) == list(range(20))
        used = capture.zero_copy
        told = used.descriptor
        assert told is not None
        assert told.buffer_mode == ("zbuf" if sharing else "buffer")
        assert told.buffer_size == MIB // 2 - (32 if sharing else 0)
        assert (told.received, told.matched, told.dropped) == (25, 20, 0)
        assert told.zero_copy == (40 if sharing else 0)  # header and data of each packet
        assert "net.bpf.stats" in told.how
        assert (used.mechanism, used.lent, used.shared) == (
            ("bpf_zbuf", True, True) if sharing else ("none", False, False)
        )
        assert (used.asked_bytes, used.granted_bytes, used.clipped) == (MIB // 2, MIB // 2, None)
        assert used.limits == {"net.bpf.maxbufsize": 524288, "net.bpf.bufsize": 4096, "BIOCGETZMAX": 2 * MIB}
        assert used.ring_bytes == (MIB if sharing else None)
        if sharing:
            assert used.fixes == ()
        else:
            assert "zero-copy BPF is turned off" in used.reason
            assert "sysctl net.bpf.zerocopy_enable=1" in used.reason
            assert used.fixes[0] == "sysctl net.bpf.zerocopy_enable=1"
            assert any("/etc/sysctl.conf" in fix for fix in used.fixes)
        block_is_lent = None
        sender.send(1)
        for block in capture.blocks(1, count=1):
            block_is_lent = block.lent
        assert block_is_lent is sharing


def test_descriptors_of_one_process_on_one_interface_are_told_apart(sim: Simulator, sender: Sender) -> None:
    captures = [opened(filter=f"udp[14:2] >= {n * 10}") for n in range(4)]
    try:
        before = [_signal(capture) for capture in captures]
        sender.send(40)
        matched = [accepted(capture) for capture in captures]
        assert matched == [40, 30, 20, 10]
        descriptors = [capture.zero_copy.descriptor for capture in reversed(captures)]
        assert [told.matched for told in descriptors if told] == [10, 20, 30, 40]
        assert all(told and "known by a mark" in told.how for told in descriptors)
        assert [_signal(capture) for capture in captures] == before
        found: list[list[int | None]] = [[] for _ in captures]

        def ask(n: int) -> None:
            for _ in range(20):
                found[n].append(accepted(captures[n]))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[count] * 20 for count in (40, 30, 20, 10)]
        assert [numbers(capture, 0.05)[0] for capture in captures] == [0, 10, 20, 30]
    finally:
        for capture in captures:
            capture.close()


def _signal(capture: pypcapzc.Capture) -> int | None:
    platform = platforms.current()
    assert isinstance(platform, platforms.FreeBSD)
    return platform._get(capture.fileno(), BIOCGRSIG)


@pytest.mark.usefixtures("sim")
def test_without_the_right_to_ask_for_all_descriptors(monkeypatch: pytest.MonkeyPatch, sharing: bool) -> None:
    def refuse(_platform: object) -> object:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(platforms.FreeBSD, "descriptors", refuse)
    with opened() as capture:
        told = capture.zero_copy.descriptor
    assert told is not None
    assert told.buffer_mode == ("zbuf" if sharing else "buffer")
    assert (told.received, told.dropped, told.matched, told.zero_copy) == (0, 0, None, None)
    assert "Operation not permitted" in told.how


def test_clipped_buffers(sim: Simulator, sharing: bool) -> None:
    with opened(buffer_size=8 * MIB) as capture:
        used = capture.zero_copy
    assert used.asked_bytes == 8 * MIB
    assert used.clipped is not None
    if sharing:
        assert used.granted_bytes == 2 * MIB
        assert "512 pages" in used.clipped
        assert used.fixes == ()
        return
    assert used.granted_bytes == MIB // 2
    assert "net.bpf.maxbufsize, which is 524288" in used.clipped
    assert f"sysctl net.bpf.maxbufsize={8 * MIB}" in used.fixes
    sim.set_sysctl("net.bpf.maxbufsize", 8 * MIB)  # as that command does
    with opened(buffer_size=8 * MIB) as capture:
        assert (capture.zero_copy.granted_bytes, capture.zero_copy.clipped) == (8 * MIB, None)
    sim.set_sysctl("net.bpf.maxbufsize", MIB // 2)


# --- accounts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", [None, "len > 100"])
def test_stopping_the_inflow_makes_an_exact_account(sim: Simulator, expression: str | None) -> None:
    with opened(buffer_size=64 << 10, filter=expression, timeout_ms=50) as capture:
        sim.flood("em0", 200_000, 60, 200, 3)
        captured = sum(len(block) for block in capture.blocks(0.1))
        assert capture.stop() is True
        captured += sum(len(block) for block in capture.blocks(0.2))
        sim.stop_flood()
        sim.drain()
        assert captured > 0
        stats = capture.stats()
        assert captured + stats.dropped == accepted(capture)
        assert accepted(capture) < stats.received or expression is None
        assert capture.next_block(0.05) is None


def test_a_filter_with_blocks_out_loses_nothing(sim: Simulator, sender: Sender) -> None:
    with opened(buffer_size=64 << 10, timeout_ms=20) as capture:
        sender.send(50)
        first = capture.next_block(1)
        sender.send(50)
        second = capture.next_block(1)
        assert first is not None
        assert second is not None
        sender.send(50)  # waits in the kernel, and passed no filter
        capture.set_filter("udp[14:2] >= 140")
        sender.send(50)
        assert numbers(capture, 0.2) == list(range(140, 200))
        assert [frames.check(view) for _, view in first] == list(range(50))
        assert [frames.check(view) for _, view in second] == list(range(50, 100))
        stats = capture.stats()
        assert (stats.received, stats.dropped) == (200, 0)
        assert "before" not in stats.meanings.dropped
        assert "whether they passed the filter or not" in stats.meanings.received


def test_drops_are_counted_and_nothing_else_is_lost(sim: Simulator, sender: Sender) -> None:
    with opened(buffer_size=32 << 10) as capture:
        sender.send(3000)
        found = numbers(capture, 0.1)
        assert found == list(range(len(found)))
        stats = capture.stats()
        assert len(found) + stats.dropped == stats.received == 3000
        assert stats.dropped > 0


# --- waiting ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize("options", [{}, {"timeout_ms": 1}, {"timeout_ms": 0}, {"immediate": True}], ids=str)
def test_an_idle_capture_costs_nothing(options: dict[str, Any]) -> None:
    with opened(**options) as capture:
        assert _looks(capture) < 100


@pytest.mark.parametrize("options", [{}, {"timeout_ms": 1}, {"immediate": True}], ids=str)
def test_neither_does_one_after_a_burst_while_a_block_was_out(
    sim: Simulator, sender: Sender, options: dict[str, Any]
) -> None:
    """The state in which the kernel keeps a given-back buffer until the next packet."""
    with opened(**options) as capture:
        sender.send(5)
        block = capture.next_block(1)
        sender.send(5)
        late = numbers(capture, 0.1)
        assert block is not None
        assert [frames.check(view) for _, view in block] + late == list(range(10))
        assert _looks(capture) < 100  # held: it has to look every 15 ms
        block.release()
        assert _looks(capture) < 200  # with a timeout of 1 ms a thousand looks a second, or nearly
        sender.send(3)
        assert numbers(capture, 0.1) == [10, 11, 12]


def _looks(capture: pypcapzc.Capture) -> float:
    """How often a second this thread wakes up when nothing comes."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    assert capture.next_block(1.5) is None
    return (resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before) / 1.5


@pytest.mark.parametrize("timeout_ms", [10, 100])
@pytest.mark.parametrize("disturbed", [False, True])
def test_every_packet_comes_within_the_timeout(
    sim: Simulator, sender: Sender, timeout_ms: int, disturbed: bool
) -> None:
    """Also where another thread's ioctls start the kernel's timeout anew all the time, and in any state."""
    late: list[float] = []
    done = threading.Event()
    with opened(timeout_ms=timeout_ms) as capture:

        def disturb() -> None:
            while not done.wait(0.005):
                capture.stats()

        thread = threading.Thread(target=disturb)
        if disturbed:
            thread.start()
        try:
            for turn in range(8):
                time.sleep(0.003 * turn)
                sender.send(1)
                began = time.monotonic()
                block = capture.next_block(2)
                late.append(time.monotonic() - began)
                assert block is not None
                assert [frames.check(view) for _, view in block] == [turn]
        finally:
            done.set()
            if disturbed:
                thread.join()
    assert sorted(late)[len(late) // 2] < timeout_ms / 1000 + 0.02, late
    assert max(late) < timeout_ms / 1000 + 0.2, late  # this machine may be busy


def test_blocks_are_as_large_as_the_timeout_allows(sim: Simulator) -> None:
    """A reader that keeps up is not given every packet by itself."""
    with opened(timeout_ms=50) as capture:
        sim.flood("em0", 4000, 60, 60, 0, 100)
        sizes = [len(block) for block in capture.blocks(1.2)]
        assert sum(sizes) == 4000
        assert len(sizes) < 60, sizes


# --- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_departure_after_what_was_captured(sim: Simulator, sender: Sender, held: bool) -> None:
    with opened(timeout_ms=200) as capture:
        sender.send(30)
        kept = capture.next_block(1) if held else None
        sender.send(30)
        sim.remove_interface("em0")
        found = [frames.check(view) for _, view in kept] if kept is not None else []
        began, spent = time.monotonic(), time.thread_time()
        with pytest.raises(DeviceGoneError, match="disappeared"):  # noqa: PT012
            for block in capture.blocks():
                found += [frames.check(view) for _, view in block]
        assert time.monotonic() - began < 1
        assert time.thread_time() - spent < 0.2
        assert found == list(range(60))
        told = capture.zero_copy.descriptor
        assert told is not None
        assert "its interface is gone" in told.how
        assert told.received == 60


def test_views_outlive_the_capture(sim: Simulator, sender: Sender, sharing: bool) -> None:
    capture = opened(promisc=True)
    sender.send(10)
    block = capture.next_block(1)
    assert block is not None
    assert block.lent is sharing
    views = block[:]
    assert sim.promiscuous("em0") == 1
    capture.close()
    assert (sim.promiscuous("em0"), sim.open_descriptors()) == (0, 0)
    sender.send(5000)
    assert [frames.check(view) for view in views] == list(range(10))


def test_a_forked_child_harms_nobody(sim: Simulator, sender: Sender) -> None:
    with opened(buffer_size=32 << 10) as capture:
        sender.send(10)
        block = capture.next_block(1)
        assert block is not None
        ready, wake = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                closed = capture.closed
                del block
                os.read(ready, 1)
                code = 0 if closed else 2
            finally:
                os._exit(code)
        assert [frames.check(view) for _, view in block] == list(range(10))
        block.release()
        for turn in range(1, 30):  # round and round the buffers while the child lives
            sender.send(100)
            assert numbers(capture, 0.05) == list(range(turn * 100 - 90, turn * 100 + 10))
        os.write(wake, b"!")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(ready)
        os.close(wake)
        assert capture.stats().dropped == 0
