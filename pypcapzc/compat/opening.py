"""How the stand-ins open devices: as `pypcapzc run` or install() said, and what came of it in the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from dataclasses import dataclass, fields
from typing import Any, Protocol

from .. import live
from ..capture import Capture
from ..errors import PcapError
from .settings import settings

_DEVICES_KEPT = 1000
"""Accounts are kept by the device's name: of so many, in case a program opens a new one each time."""


def open_live(device: str, **options: Any) -> Capture:
    """open_live() with the settings."""
    if settings.buffer_size is not None:
        options["buffer_size"] = settings.buffer_size
    return live.open_live(device, mode=settings.mode, **options)


@dataclass
class Account:
    """What became of the packets of one device; sums of all captures on it."""

    captured: int = 0
    """Packets that the program was given."""
    unread: int = 0
    """Packets that were taken from the kernel, and the program did not ask for any more."""
    received: int = 0
    dropped: int = 0
    dropped_by_interface: int = 0

    def add(self, other: Account) -> None:
        """Add another capture's."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class Closable(Protocol):
    """What reads a capture, and settles its account when it is closed."""

    def close(self) -> None: ...


open_ones: weakref.WeakSet[Closable] = weakref.WeakSet()


def closed_by(owner: Closable, inner: Closable) -> None:
    """At the end of the program it is the owner that is closed: it knows of packets that nobody took."""
    open_ones.discard(inner)
    open_ones.add(owner)


_closed: dict[str, Account] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_closed.clear)  # they are the parent's


def settle(capture: Capture, captured: int, unread: int) -> None:
    """Enter a capture of a device that was closed."""
    if not settings.summary or not capture.live:
        return
    account = Account(captured, unread)
    try:
        stats = capture.stats()
    except PcapError:
        pass
    else:
        account.received, account.dropped = stats.received, stats.dropped
        account.dropped_by_interface = stats.dropped_by_interface
    with _lock:
        if capture.name in _closed or len(_closed) < _DEVICES_KEPT:
            _closed.setdefault(capture.name, Account()).add(account)


def summary() -> list[str]:
    """A line for each device."""
    with _lock:
        return [
            f"pypcapzc: {name}: {each.captured} packets captured, {each.received} received, "
            f"{each.dropped} dropped by the kernel, {each.dropped_by_interface} by the interface"
            + (f", {each.unread} not read by the program" if each.unread else "")
            for name, each in _closed.items()
        ]


@atexit.register
def _say() -> None:
    if not settings.summary:
        return
    for each in list(open_ones):
        each.close()
    lines = summary()
    if lines and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # closed
            print(*lines, sep="\n", file=sys.stderr, flush=True)
