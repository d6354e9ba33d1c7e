"""Waker: gets a thread out of its wait, from another thread or from a signal handler."""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import threading

_SLICE = 1.0
"""Seconds after which a wait is begun anew.  A signal of which Python learns right before the call, or in
another thread, does not end it, and its handler (Ctrl-C's, say) would run only when a packet comes."""


def readable(fds: list[int], timeout: float | None) -> list[int]:
    """Those that are readable (or in error), after ``timeout`` seconds at most; None: for ever."""
    while timeout is None or timeout > _SLICE:
        if found := _readable(fds, _SLICE):
            return found
        if timeout is not None:
            timeout -= _SLICE
    return _readable(fds, timeout)


def _readable(fds: list[int], timeout: float) -> list[int]:
    # Bare calls: a selector costs several times as much, which counts where one looks again and again.
    # poll() has no FD_SETSIZE; macOS's does not take /dev/bpf devices, its select() does.
    if sys.platform == "darwin":
        return select.select(fds, [], [], timeout)[0]
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    # Rounded up, so that a deadline has passed when it returns.
    return [fd for fd, _ in poll.poll(math.ceil(timeout * 1000))]


class Waker:
    """A pipe that is readable while somebody is to be woken.

    Its descriptors are closed when the last waiter has left, so that no number is used after it went to
    somebody else.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._waiters = 0
        self._closing = False
        # Re-entrant: a signal handler may wake the very thread that holds it.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._read

    def wake(self) -> None:
        """Wake, now or at the next wait; from any thread, a signal handler, or after close()."""
        with self._lock:
            if self._write >= 0:
                with contextlib.suppress(BlockingIOError):  # full: it is awake already
                    os.write(self._write, b"!")

    def clear(self) -> None:
        """Wait again."""
        with self._lock:
            if self._read >= 0 and not self._closing:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._read, 4096)

    def wait(self, fd: int, timeout: float | None) -> bool:
        """Until ``fd`` is readable (or in error), somebody wakes, or ``timeout`` seconds are over.

        Returns whether ``fd`` is readable.  ``fd`` -1 waits for the waker alone.  Python's signal handlers
        run at once.
        """
        with self._lock:
            if self._closing:
                return False
            self._waiters += 1
        try:
            return fd in readable([self._read] if fd < 0 else [self._read, fd], timeout)
        finally:
            with self._lock:
                self._waiters -= 1
                self._close_unused()

    def close(self) -> None:
        """Wake everybody for good."""
        with self._lock:
            self._closing = True
            if self._waiters:
                self.wake()
            self._close_unused()

    def _close_unused(self) -> None:
        if self._closing and not self._waiters and self._read >= 0:
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1

    def __del__(self) -> None:
        # Nobody can wait any more.  In a forked child a thread of the parent may seem to: waking it would go
        # through the pipe that parent and child share.
        if hasattr(self, "_lock"):
            self._waiters = 0
            self.close()
