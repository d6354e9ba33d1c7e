"""What runs in a worker process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from ..block import Block
from ..capture import Capture
from ..draining import remaining
from ..errors import PcapError
from ..fanout import Fanout
from ..live import open_live
from .report import Failure

TAKEN, RECEIVED, DROPPED = range(3)
"""Places in the memory that a worker shares with its parent."""
_EVERY = 0.25
"""Seconds after which the counters are published, so that they are known of a worker that dies."""


@dataclass
class Task:
    """What a worker is told."""

    parent: int
    inherited: list[Any]
    """What a fork has handed down of other workers: descriptors and connections, to be closed."""
    device: str
    options: dict[str, Any]
    fanout: Fanout | None
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    connection: Connection[Any, Any]
    account: Any
    """Three u64, see TAKEN."""


def main(task: Task) -> None:
    """Open the capture, tell the parent, run the function, send what it returns."""
    # Ctrl-C reaches all processes of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for each in task.inherited:
        os.close(each) if isinstance(each, int) else each.close()
    try:
        capture = open_live(task.device, fanout=task.fanout, **task.options)
    except Exception as error:
        _send(task, Failure.of(error))
        return
    with capture:
        worker = _Worker(capture, task)
        _send(task, capture.fanout)
        if capture.fanout is not None:
            reduction.send_handle(task.connection, capture.fileno(), task.parent)
        threading.Thread(target=worker.listen, daemon=True).start()
        outcome: Any
        blocks = worker.blocks()
        try:
            outcome = (task.function(blocks, *task.arguments),)
        except BaseException as error:
            outcome = Failure.of(error)
        finally:
            blocks.close()
        worker.publish()
    _send(task, outcome)


def _send(task: Task, what: Any) -> None:
    try:
        task.connection.send(what)
    except OSError:
        pass  # the parent is gone
    except Exception as error:  # a result that cannot be pickled, in one of many ways
        with contextlib.suppress(OSError):
            task.connection.send(Failure.of(error))


class _Worker:
    def __init__(self, capture: Capture, task: Task) -> None:
        self._capture, self._task = capture, task
        self._stopping = threading.Event()
        self._parent = os.getppid()  # of a fork server it is that one

    def blocks(self) -> Generator[Block, None, None]:
        """Blocks until the parent says stop, and then those that the kernel still has."""
        capture = self._capture
        while not self._stopping.is_set():
            for block in capture.blocks():
                yield from self._counted(block)
                if self._stopping.is_set():
                    break
        if capture.stop():
            taken = self._task.account[TAKEN]
            for block in remaining(capture, taken, self._task.options.get("timeout_ms", 100)):
                yield from self._counted(block)

    def _counted(self, block: Block) -> Iterator[Block]:
        """A block is taken when the function has come back for the next, or has ended."""
        try:
            yield block
        finally:
            self._task.account[TAKEN] += len(block)

    def listen(self) -> None:
        """Publish the counters, until the parent says stop or is gone."""
        connection = self._task.connection
        with contextlib.suppress(EOFError, OSError):
            while not connection.poll(_EVERY) and os.getppid() == self._parent:
                self.publish()
        self._stopping.set()
        self._capture.breakloop()

    def publish(self) -> None:
        """Write the counters where the parent sees them."""
        with contextlib.suppress(PcapError):
            stats = self._capture.stats()
            self._task.account[RECEIVED], self._task.account[DROPPED] = stats.received, stats.dropped
