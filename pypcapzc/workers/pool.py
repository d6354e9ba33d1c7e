"""Starting, watching and ending worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, reduction
from typing import Any, Literal

from .. import platforms
from ..errors import PcapError
from ..fanout import Fanout, why_not
from ..platforms.linux import SOL_PACKET
from .child import DROPPED, RECEIVED, TAKEN, Task, main
from .report import Failure, Report, WorkerError, WorkerReport

StartMethod = Literal["fork", "spawn", "forkserver"]

_PACKET_STATISTICS = 6  # linux/if_packet.h
_GRACE = 5.0
"""Seconds that a process gets to end after it was told to terminate."""


@dataclass
class _Member:
    """A worker as its parent sees it."""

    number: int
    process: Any
    connection: connection.Connection[Any, Any]
    account: Any
    socket: int = -1
    """A duplicate of its packet socket: what the kernel counted for it outlives it."""
    outcome: Any = None
    hung: bool = False
    ended: bool = False
    left: tuple[int, int] = field(default=(0, 0))
    """Packets and drops that it did not live to read from the kernel."""


class Workers:
    """``count`` processes that share the packets of a device, with a function of yours in each.

    ``function(blocks, *args)`` gets an iterator of Blocks, as ``capture.blocks()``, which ends when the
    workers are to stop.  What it returns is sent back.

    device       see open_live(), whose other options can be given by keyword
    count        processes; None: as many as there are CPUs
    fanout       how they share: see Fanout; where a system has no such thing, there is one worker, and
                 ``reason`` says why
    start_method "fork", "spawn" or "forkserver" (see multiprocessing); None: Python's default

    Use it in a ``with``, or start() and stop() it.  Counts are exact from the moment at which it has started.
    Ctrl-C is the parent's alone: workers end when it stops them, and when it is gone.  A worker that dies
    leaves the group at once, so that the others get its packets; its report says what was lost.
    """

    def __init__(
        self,
        device: str,
        function: Callable[..., Any],
        count: int | None = None,
        *,
        args: tuple[Any, ...] = (),
        fanout: Fanout | None = None,
        start_method: StartMethod | None = None,
        **options: Any,
    ) -> None:
        count = (os.cpu_count() or 1) if count is None else count
        if count < 1:
            raise ValueError(f"count is {count}; at least one worker is needed")
        self.reason: str | None = None
        """Why there are fewer workers than asked for, or None."""
        if count > 1 and (reason := why_not()) is not None:
            self.reason, count, fanout = f"one worker: {reason}", 1, None
        elif count > 1 and fanout is None:
            fanout = Fanout()
        self._device, self._function, self._count, self._args = device, function, count, args
        self._fanout, self._options = fanout, options
        self._context: Any = multiprocessing.get_context(start_method)
        self._members: list[_Member] = []
        self._watcher: threading.Thread | None = None
        self._changed = threading.Condition()
        self._report: Report | None = None

    # --- the beginning ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start all workers; returns when all capture.  Raises what open_live() in one of them raised."""
        if self._members or self._report is not None:
            raise ValueError("workers are started once")
        try:
            fanout = self._fanout
            if self._count > 1:  # the first may choose the group's number
                fanout = self._ready(self._launch(fanout))
                if self._fanout is not None and fanout is not None and self._fanout.group is None:
                    self._fanout = fanout
            others = [self._launch(fanout) for _ in range(self._count - len(self._members))]
            for member in others:
                self._ready(member)
        except BaseException:
            self._kill()
            raise
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _launch(self, fanout: Fanout | None) -> _Member:
        ours, theirs = self._context.Pipe()
        inherited: list[Any] = []
        if self._context.get_start_method() == "fork":
            sockets = [member.socket for member in self._members if member.socket >= 0]
            inherited = [*sockets, *(member.connection for member in self._members), ours]
        account = self._context.RawArray("Q", 3)
        task = Task(
            os.getpid(),
            inherited,
            self._device,
            self._options,
            fanout,
            self._function,
            self._args,
            theirs,
            account,
        )
        number = len(self._members)
        process = self._context.Process(target=main, args=(task,), name=f"pypcapzc-{number}", daemon=True)
        with _sigint_blocked():
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                method = self._context.get_start_method()
                raise TypeError(
                    f"{self._function!r} or its arguments cannot be sent to a process ({method}): {error}; "
                    "define the function at the top level of a module"
                ) from None
            finally:
                theirs.close()
        member = _Member(number, process, ours, account)
        self._members.append(member)
        return member

    def _ready(self, member: _Member) -> Fanout | None:
        """Wait until it captures."""
        try:
            answer = member.connection.recv()
            if isinstance(answer, Failure):
                raise answer.error(_name(member))
            if answer is not None:
                member.socket = reduction.recv_handle(member.connection)
        except (EOFError, OSError) as error:
            if isinstance(error, PcapError):
                raise
            member.process.join(_GRACE)
            raise WorkerError(f"{_name(member)} died before it captured: {_exit(member)}") from None
        found: Fanout | None = answer
        return found

    # --- the end ---------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Until all functions have returned by themselves, or ``timeout`` seconds; whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: all(m.ended for m in self._members), timeout)

    def stop(self, timeout: float = 30.0) -> Report:
        """Let the kernel take no more, and the functions finish what it has; gives the report.

        A worker that has not ended after ``timeout`` seconds is killed, and reported so.
        """
        if self._report is not None:
            return self._report
        if self._watcher is None:
            raise ValueError("the workers were not started")
        try:
            for member in self._members:
                with contextlib.suppress(OSError, ValueError):
                    member.connection.send("stop")
            self.wait(timeout)
        finally:  # also where a second Ctrl-C ends the waiting
            for member in self._members:
                member.hung = not member.ended
            self._kill()
            self._watcher.join()
            counts = not platforms.current().counts_before_filter
            self._report = Report(tuple(_report(member, counts) for member in self._members))
        return self._report

    @property
    def report(self) -> Report:
        """The report after stop().  Raises ValueError before."""
        if self._report is None:
            raise ValueError("there is no report before stop()")
        return self._report

    @property
    def fanout(self) -> Fanout | None:
        """The group that the workers share, with its number."""
        return self._fanout

    @property
    def pids(self) -> list[int]:
        """The processes, by number of the worker."""
        return [member.process.pid for member in self._members]

    @property
    def alive(self) -> list[bool]:
        """Which of them have not ended."""
        return [not member.ended for member in self._members]

    def _kill(self) -> None:
        """End whoever has not ended: kindly, then by force."""
        for end in ("terminate", "kill"):
            deadline = time.monotonic() + _GRACE
            for member in self._members:
                if member.process.is_alive():
                    getattr(member.process, end)()
            for member in self._members:
                member.process.join(max(0.0, deadline - time.monotonic()))
        if self._watcher is None:  # start() failed, and nobody else will
            for member in self._members:
                self._bury(member)

    def _watch(self) -> None:
        """Take what workers send, and notice who dies, until all have ended."""
        living = list(self._members)
        while living:
            handles = {member.process.sentinel: member for member in living}
            ends = {member.connection: member for member in living if member.outcome is None}
            for ready in connection.wait([*handles, *ends]):
                member = ends[ready] if ready in ends else handles[ready]
                self._take_outcome(member)
                if ready in handles and not member.ended:
                    member.process.join()
                    self._bury(member)
                    living.remove(member)

    def _take_outcome(self, member: _Member) -> None:
        if member.outcome is None and not member.ended:
            try:
                if member.connection.poll():
                    member.outcome = member.connection.recv()
            except Exception as error:  # it died in the middle of it, or it cannot be unpickled here
                lost = isinstance(error, EOFError | OSError)
                member.outcome = () if lost else Failure.of(error)

    def _bury(self, member: _Member) -> None:
        """Read what the kernel counted for it, and let its socket go, which leaves the group so."""
        fd, member.socket = member.socket, -1
        if fd >= 0:
            with socket.socket(fileno=fd) as left, contextlib.suppress(OSError):
                # And at once: what arrives between these two is counted nowhere.
                raw = left.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 12)
                packets, drops = struct.unpack_from("=II", raw)
                member.left = packets, drops
        member.connection.close()
        with self._changed:
            member.ended = True
            self._changed.notify_all()

    def __enter__(self) -> Workers:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _report(member: _Member, counts: bool) -> WorkerReport:
    taken = member.account[TAKEN]
    received = member.account[RECEIVED] + member.left[0]
    dropped = member.account[DROPPED] + member.left[1]
    lost = max(0, received - dropped - taken) if counts else None
    result, error = None, None
    if isinstance(member.outcome, Failure):
        error = member.outcome.error(_name(member))
    elif member.outcome:
        (result,) = member.outcome
    else:
        how = "did not end in time and was killed" if member.hung else f"died: {_exit(member)}"
        error = WorkerError(
            f"{_name(member)} {how}; the kernel had received {received:,} packets for it and dropped "
            f"{dropped:,}, and it had finished with {taken:,}; its result is lost"
        )
    return WorkerReport(member.number, member.process.pid, taken, received, dropped, lost, result, error)


def _name(member: _Member) -> str:
    return f"worker {member.number} (process {member.process.pid})"


def _exit(member: _Member) -> str:
    code = member.process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """A process that is started in here does not see Ctrl-C before it has said what to do with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
