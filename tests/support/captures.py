"""What tests of live captures do again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pypcapzc
from lab import frames
from lab.netns import Lab


class Counting(Protocol):
    """A capture, or what captures for scapy."""

    def stats(self) -> pypcapzc.Stats: ...


def opened(net: Lab, **options: Any) -> pypcapzc.Capture:
    """A capture on the lab's device, with a short timeout_ms."""
    options.setdefault("timeout_ms", 10)
    with net.inside():
        return pypcapzc.open_live(net.capture_device, **options)


def numbers(capture: pypcapzc.Capture, quiet: float = 0.3) -> list[int]:
    """The numbers of all frames until none comes for ``quiet`` seconds; every byte is checked."""
    found: list[int] = []
    while (block := capture.next_block(quiet)) is not None:
        found += [frames.check(view) for _, view in block]
    return found


def accepted(capture: pypcapzc.Capture) -> int:
    """Packets that passed the filter, those included that found no room."""
    descriptor = capture.zero_copy.descriptor
    if descriptor is None:
        return capture.stats().received
    assert descriptor.matched is not None, descriptor.how
    return descriptor.matched


def later(seconds: float, action: Callable[[], object]) -> list[float]:
    """Do something in another thread; the list gets the moment at which it began."""
    began: list[float] = []

    def run() -> None:
        time.sleep(seconds)
        began.append(time.monotonic())
        action()

    threading.Thread(target=run, daemon=True).start()
    return began


def until_received(capture: Counting, count: int) -> None:
    """Wait until the kernel has so many packets; a simulated one has those of a device a little later."""
    deadline = time.monotonic() + 10
    while capture.stats().received < count and time.monotonic() < deadline:
        time.sleep(0.005)
