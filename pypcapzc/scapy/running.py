"""The sniff() that a thread is in: what its sockets and the waiting for them have to know of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sockets import BlockSocket


@dataclass
class Run:
    """A call of AsyncSniffer._run()."""

    sniffer: Any
    sockets: dict[BlockSocket, None] = field(default_factory=dict)
    """Those of ours that it has waited for or taken packets from, in that order."""


class _Local(threading.local):
    run: Run | None = None


local = _Local()
"""``local.run`` is the innermost sniff() of this thread; prn may call sniff() or sr1() again."""
