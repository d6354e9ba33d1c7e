"""Putting our sockets in the place of scapy's, and taking them away again."""

from __future__ import annotations

import threading
from typing import Any

from scapy.config import conf
from scapy.sendrecv import AsyncSniffer

from .options import Current, Options
from .sniffing import around
from .sockets import ZeroCopyListenSocket, ZeroCopySocket

_lock = threading.RLock()
_replaced: list[tuple[Any, str, Any, Any]] = []
"""Owner, attribute, what was there and what is there now."""


class Enabled:
    """What enable() gives: leaving its ``with`` restores what was before, as the options of an outer one."""

    def __init__(self, before: Options | None) -> None:
        self._before = before

    def __enter__(self) -> Enabled:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is None:
            disable()
        else:
            enable(self._before)


def enable(options: Options) -> Enabled:
    """Replace what captures; a second time only the options."""
    with _lock:
        enabled = Enabled(Current.options if _replaced else None)
        Current.options = options
        if not _replaced:
            # The interface providers of the system and of libpcap ask conf for the sockets of their
            # interfaces; those of other things, as Bluetooth, have their own.
            _replace(conf, "L2listen", ZeroCopyListenSocket)
            _replace(conf, "L2socket", ZeroCopySocket)
            _replace(AsyncSniffer, "_run", around(AsyncSniffer._run))
        return enabled


def disable() -> None:
    """Restore what enable() replaced, but for what somebody else has replaced since."""
    with _lock:
        while _replaced:
            owner, name, before, ours = _replaced.pop()
            if getattr(owner, name) is ours:
                setattr(owner, name, before)
        Current.options = Options()


def _replace(owner: Any, name: str, ours: Any) -> None:
    _replaced.append((owner, name, getattr(owner, name), ours))
    setattr(owner, name, ours)
