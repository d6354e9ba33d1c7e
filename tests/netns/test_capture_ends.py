"""Live captures: devices that are gone or refused, options, what is left behind, and fork."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.errors import (
    BlockReleasedError,
    CaptureClosedError,
    CapturePermissionError,
    DeviceGoneError,
    DeviceNotFoundError,
    PcapError,
    ZeroCopyUnavailableError,
)
from support import simulated
from support.captures import later as _later
from support.captures import numbers as _numbers
from support.captures import opened as _open

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parent.parent.parent


# --- devices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_ms", [10, 500])
def test_a_removed_device_after_all_it_delivered(net: Lab, sender: traffic.Sender, timeout_ms: int) -> None:
    with _open(net, timeout_ms=timeout_ms) as capture:
        sender.send(2500)
        net.remove_devices()
        found: list[int] = []
        began = time.monotonic()
        with pytest.raises(DeviceGoneError, match="disappeared"):  # noqa: PT012
            for block in capture.blocks():
                found += [frames.check(view) for _, view in block]
        assert time.monotonic() - began < timeout_ms / 1000 + 1
        assert found == list(range(2500))
        for _ in range(2):
            with pytest.raises(DeviceGoneError):
                capture.next_block(1)
        with pytest.raises(DeviceGoneError):
            next(iter(capture))


def test_a_device_removed_while_waiting(net: Lab) -> None:
    with _open(net) as capture:
        began = _later(0.1, net.remove_devices)
        used = time.process_time()
        with pytest.raises(DeviceGoneError) as caught:
            for _ in capture:
                pass
        assert time.monotonic() - began[0] < 2
        assert time.process_time() - used < 0.2  # it did not spin
        assert isinstance(caught.value, OSError)


def test_a_link_that_goes_down_and_up(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(3)
        assert _numbers(capture, 0.1) == [0, 1, 2]
        for device in (net.capture_device, net.send_device):
            _later(0.05, lambda device=device: net.ip("link", "set", device, "down"))  # type: ignore[misc]
            began, used = time.monotonic(), time.process_time()
            assert capture.next_block(0.4) is None
            assert time.monotonic() - began >= 0.4
            assert time.process_time() - used < 0.2
            net.ip("link", "set", device, "up")
            first = sender.sequence
            sender.send(3)
            assert _numbers(capture, 0.1) == [first, first + 1, first + 2]


def test_no_such_device(net: Lab) -> None:
    with net.inside():
        for name in ("nosuch0", "", "zc0\0", "x" * 300):
            with pytest.raises((DeviceNotFoundError, PcapError)) as caught:
                pypcapzc.open_live(name)
            if name in ("nosuch0", ""):
                assert isinstance(caught.value, DeviceNotFoundError)
                assert isinstance(caught.value, OSError)
                assert repr(name)[1:-1] in str(caught.value)
                assert "pypcapzc devices" in str(caught.value)


@simulated.linux_only
def test_a_device_that_is_not_up(net: Lab) -> None:
    with net.inside():
        net.ip("link", "set", net.capture_device, "down")
        with pytest.raises(PcapError, match="not up"):
            pypcapzc.open_live(net.capture_device)


_UNPRIVILEGED = """
import os, sys
import pypcapzc
pypcapzc.libpcap.library()
pypcapzc.open_live
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    pypcapzc.open_live(sys.argv[1])
except pypcapzc.CapturePermissionError as error:
    assert isinstance(error, PermissionError)
    print(error)
print(pypcapzc.zerocopy.status().permissions.allowed)
"""


@simulated.linux_only
def test_no_permission(net: Lab) -> None:
    with net.inside():
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _UNPRIVILEGED, net.capture_device],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    message, allowed = done.stdout.splitlines()
    assert "no permission" in message
    assert net.capture_device in message
    assert "pypcapzc doctor" in message
    assert allowed == "False"
    assert issubclass(CapturePermissionError, PermissionError)


@pytest.mark.parametrize(
    "options",
    [
        {"snaplen": 0},
        {"snaplen": -1},
        {"snaplen": 262145},
        {"snaplen": 2**32 + 64},
        {"buffer_size": 0},
        {"buffer_size": -1},
        {"buffer_size": 2**31},
        {"timeout_ms": -1},
        {"timeout_ms": 2**31},
        {"mode": "fast"},
        {"tstamp_precision": "pico"},
        {"tstamp_type": "sundial"},
    ],
)
def test_options_out_of_range(net: Lab, options: dict[str, Any]) -> None:
    (name, value) = next(iter(options.items()))
    with pytest.raises(ValueError, match=name) as caught:
        _open(net, **{"timeout_ms": 10, **options})
    assert str(value) in str(caught.value)


def test_options_at_their_limits(net: Lab) -> None:
    for options in ({"snaplen": 1}, {"snaplen": 262144}, {"timeout_ms": 0}, {"tstamp_type": "host"}):
        with _open(net, **options) as capture:
            assert capture.next_block(0) is None


def test_zero_copy_on_a_stock_library(net: Lab, patched: bool) -> None:
    if patched and simulated.SHARING:
        with _open(net, mode="zerocopy") as capture:
            assert capture.zero_copy.lent
        return
    with pytest.raises(ZeroCopyUnavailableError) as caught:
        _open(net, mode="zerocopy")
    if patched:
        assert "sysctl net.bpf.zerocopy_enable=1" in str(caught.value)
        return
    assert "is not patched" in str(caught.value)
    assert "pypcapzc build" in str(caught.value)
    assert net.capture_device in str(caught.value)


# --- nothing is left behind ------------------------------------------------------------------------------


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_opening_and_closing_a_thousand_captures(net: Lab) -> None:
    """By a few threads at a time: the kernel takes 10 ms to close one."""

    def some(begin: int, count: int) -> None:
        with net.inside():
            for n in range(begin, begin + count):
                with pypcapzc.open_live(
                    net.capture_device, timeout_ms=1, buffer_size=1 << 18, filter="udp" if n % 2 else None
                ) as capture:
                    if n % 7 == 0:
                        capture.set_datalink(1)
                    elif n % 20 == 0:
                        capture.inject(bytes(60))
                        # What the other threads inject may turn up here.
                        capture.next_block(0)
                        for _ in capture.blocks(0.001):
                            pass

    with ThreadPoolExecutor(8) as pool:

        def work(count: int) -> None:
            for job in [pool.submit(some, begin, count) for begin in range(8)]:
                job.result()
            gc.collect()

        work(25)
        descriptors, threads = _descriptors(), len(os.listdir("/proc/self/task"))
        growth = []
        for _ in range(3):  # a leak grows in every round, the heaps of eight threads only in some
            memory = _resident()
            work(50)
            growth.append(_resident() - memory)
        assert _descriptors() == descriptors
        assert len(os.listdir("/proc/self/task")) == threads
        assert min(growth) < 1 << 20, growth


def test_failing_to_open_leaves_nothing(net: Lab, patched: bool) -> None:
    failing: list[dict[str, Any]] = [{"filter": "nonsense here"}, {"device": "nosuch0"}]
    if not patched:
        failing.append({"mode": "zerocopy"})
    gc.collect()
    descriptors = _descriptors()
    with net.inside():
        for _ in range(10):
            for options in failing:
                with pytest.raises(PcapError):
                    pypcapzc.open_live(**{"device": net.capture_device, **options})
        assert _descriptors() <= descriptors + 1  # inside() holds one


def test_an_abandoned_capture_warns_and_leaks_nothing(net: Lab, sender: traffic.Sender) -> None:
    def abandon(how: int) -> None:
        capture = _open(net)
        if how == 1:
            sender.send(3)
            assert next(iter(capture))[1]
        elif how == 2:
            sender.send(3)
            assert next(capture.blocks())

    gc.collect()
    descriptors = _descriptors()
    for how in range(3):
        with pytest.warns(ResourceWarning, match=f"unclosed .*{net.capture_device}"):  # noqa: PT031
            abandon(how)
            gc.collect()
        assert _descriptors() == descriptors
    script = f"""
import gc, os, warnings
import pypcapzc
pypcapzc.open_live({net.capture_device!r}).close()
n = len(os.listdir("/proc/self/fd"))
warnings.simplefilter("error")
pypcapzc.open_live({net.capture_device!r})
gc.collect()
assert len(os.listdir("/proc/self/fd")) == n
"""
    with net.inside():
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning: unclosed" in done.stderr


def test_an_unclosed_capture_at_exit(net: Lab) -> None:
    script = f"""
import sys
import pypcapzc
capture = pypcapzc.open_live({net.capture_device!r})
packets, stepping = iter(capture), capture.blocks()
sys.modules["keep"] = capture
"""
    with net.inside():
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


# --- fork ------------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit code: 0, or 1 where an exception came out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork() beside threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_has_no_capture_and_the_parent_loses_nothing(net: Lab, sender: traffic.Sender) -> None:
    with _open(net, buffer_size=8 << 20) as capture:
        sender.send(1000)
        block = capture.next_block(2)
        assert block is not None
        held, first = block[0], frames.check(block[-1]) + 1
        sender.send(500)

        def child() -> None:
            assert capture.closed
            for use in (lambda: capture.next_block(0), lambda: next(iter(capture)), capture.fileno):
                with pytest.raises(CaptureClosedError):
                    use()
            assert frames.check(held) == 0
            assert block.released
            with pytest.raises(BlockReleasedError):
                block[0]
            capture.breakloop()
            capture.close()
            block.retire()
            assert frames.check(held) == 0

        assert _in_child(child) == 0
        sender.send(500)
        assert _numbers(capture) == list(range(first, 2000))
        assert capture.stats().received == 2000
        assert frames.check(held) == 0


def test_a_child_that_drops_everything_does_not_wake_the_parent(net: Lab) -> None:
    """Its copy of the capture dies while, in the memory that it got, a thread of the parent waits."""
    capture = _open(net)
    holder = [capture]
    reader = threading.Thread(target=lambda: list(holder[0].blocks()))
    reader.start()
    time.sleep(0.1)
    used = time.process_time()

    def child() -> None:
        waker = capture._waiting._waker
        os.set_blocking(waker.fileno(), False)
        waker.__del__()

    try:
        assert _in_child(child) == 0
        time.sleep(0.3)
        assert reader.is_alive()
        assert time.process_time() - used < 0.15  # a reader that was woken for ever would spin
    finally:
        capture.close()
    reader.join(5)
    assert not reader.is_alive()


def test_a_child_that_exits_in_the_ordinary_way(net: Lab) -> None:
    script = f"""
import os, sys, time
import pypcapzc
from lab import frames, traffic
capture = pypcapzc.open_live({net.capture_device!r}, timeout_ms=10)
with traffic.Sender({net.send_device!r}) as sender:
    sender.send(100)
    block = capture.next_block(2)
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    sender.send(100)
    count = len(block)
    while (more := capture.next_block(0.3)) is not None:
        count += len(more)
    assert count == 200, count
    assert capture.stats().received == 200
capture.close()
"""
    with net.inside():
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "")
