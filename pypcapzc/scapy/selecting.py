"""Waiting for sockets, ours and scapy's own together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scapy.automaton import ObjectPipe
from scapy.supersocket import SuperSocket

from ..waker import readable
from .running import Run, local

if TYPE_CHECKING:
    from .sockets import BlockSocket

TURN = 0.005
"""Seconds for which sniff() takes packets of one socket before it looks at its clock and the others."""
_STALE = 0.01
"""Seconds after which a descriptor is looked at again that is readable and gives nothing: the interface is
gone and its last packets are not out, or BPF's buffer is not free (Capture waits the same way)."""


class Ready(list[Any]):
    """Sockets that have packets.

    sniff() receives one packet for each socket that it is given, then waits again.  It is given ours as often
    as they have packets, so that it need not wait in between, as long as it wants any.
    """

    def __init__(self, ours: list[BlockSocket], others: list[Any], run: Run) -> None:
        super().__init__([*ours, *others])
        self._ours, self._others, self._run = ours, others, run

    def __iter__(self) -> Iterator[Any]:
        sniffer, now = vars(self._run.sniffer), time.monotonic
        files = [each for each in self._ours if each.nonblocking_socket]
        turn = TURN if len(files) < 2 else 0  # of several files scapy takes the packets in turn
        for each in self._ours:
            end = now() + turn
            yield each
            # The packets of the block that was taken: the kernel's come after the next look around.
            while each.left and sniffer.get("continue_sniff", True) and now() < end:
                yield each
        yield from self._others


class Select:
    """``SuperSocket.select`` of our sockets: knows of packets that were taken from the kernel already.

    sniff() compares those of its sockets and warns where they differ.  This one and scapy's get on, since the
    descriptors of our sockets tell of packets at hand too.
    """

    def __call__(self, sockets: Any, remain: float | None = None) -> list[Any]:
        """Those of ``sockets`` that have something, after ``remain`` seconds at most (None: for ever)."""
        from .sockets import BlockSocket

        everyone, run = list(sockets), local.run
        ours = [each for each in everyone if isinstance(each, BlockSocket)]
        others = {each: _descriptor(each) for each in everyone if not isinstance(each, BlockSocket)}
        deadline = None if remain is None else time.monotonic() + remain
        stale: set[int] = set()
        while True:
            full = [each for each in ours if each.fill()]
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            fds = {each: each.descriptor for each in ours}
            waits = [0.0] if full or -1 in others.values() else [each.patience for each in ours]
            if stale:
                waits.append(_STALE)
            timeout = min((each for each in [left, *waits] if each is not None), default=None)
            watched = [fd for fd in [*others.values(), *fds.values()] if fd >= 0 and fd not in stale]
            found = set(readable(watched, timeout))
            ready = [each for each, fd in others.items() if fd < 0 or fd in found]
            if run is not None:
                _stop(run, everyone, ready)
            if full or ready:
                return Ready(full, ready, run) if run is not None else [*full, *ready]
            if left == 0 or any(each.nonblocking_socket for each in ours):
                return []
            stale = {fd for fd in fds.values() if fd in found}

    def __eq__(self, other: object) -> bool:
        return other is self or other is SuperSocket.select

    __hash__ = object.__hash__


def _descriptor(socket: Any) -> int:
    """-1: it has none, and is always ready, as savefiles are in scapy."""
    try:
        return int(socket.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def _stop(run: Run, everyone: list[Any], ready: list[Any]) -> None:
    """Let sniff() see that it was told to stop by its control socket, the last that it waits for.

    Up to 2.7 it would forget that, were it told before it had begun.
    """
    if isinstance(everyone[-1], ObjectPipe) and everyone[-1] in ready:
        run.sniffer.continue_sniff = False
