"""Handle: one pcap_t, closed exactly once, and never under a call.

libpcap lets no two threads use a pcap_t at a time, and a call on a closed one crashes.  Every call therefore
borrows the handle; close() from another thread waits for the borrower, or leaves the closing to it.  In a
forked child the handle counts as closed: the capture is the parent's.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import Any

from . import platforms
from .constants import (
    PCAP_ERROR_IFACE_NOT_UP,
    PCAP_ERROR_NO_SUCH_DEVICE,
    PCAP_ERROR_PERM_DENIED,
    PCAP_ERROR_PROMISC_PERM_DENIED,
)
from .errors import (
    CaptureClosedError,
    CapturePermissionError,
    DeviceGoneError,
    DeviceNotFoundError,
    PcapError,
)
from .libpcap import Library

_GONE = ("the interface disappeared", "the interface went down", "device was removed")


class Handle:
    """Owns ``pcap``, a pointer to a pcap_t that ``c`` made; ``name`` is the device or file, for messages."""

    def __init__(self, c: Library, pcap: Any, name: str) -> None:
        self.c = c  # its calls go to the library it came from, whichever is current by then
        self._pcap = pcap
        self.name = name
        self._closing = False
        self._borrowed = 0
        # Re-entrant: a signal handler that closes may run in the very thread that borrows.
        self._lock = threading.RLock()
        # A lock goes to whoever asks first, and a loop that reads has asked again before who waits is awake:
        # a stats() of another thread then waited for seconds.  So who finds it taken queues at the gate.
        self._gate = threading.RLock()
        self._queued = 0
        _open_handles.add(self)

    @property
    def closed(self) -> bool:
        """True once close() was called, or in a forked child."""
        return self._closing

    def borrow(self) -> Handle:
        """``with handle.borrow() as pcap``: the pcap_t, for the calling thread alone.

        Raises CaptureClosedError.  (No generator's context manager, which takes 2 microseconds.)
        """
        return self

    def __enter__(self) -> Any:
        if not self._lock.acquire(blocking=False):
            self._queue()
        elif self._queued and not self._borrowed:  # free, but it is another's turn
            self._lock.release()
            self._queue()
        if self._closing:
            self._lock.release()
            raise CaptureClosedError(f"the capture of {self.name} is closed")
        self._borrowed += 1
        return self._pcap

    def _queue(self) -> None:
        with self._gate:
            self._queued += 1
            try:
                self._lock.acquire()
            finally:
                self._queued -= 1

    def __exit__(self, *exc: object) -> None:
        self._borrowed -= 1
        if self._closing and not self._borrowed:
            self._close()
        with suppress(RuntimeError):  # a child that was forked in here has a lock of its own
            self._lock.release()

    def close(self, wait: float = 1.0) -> None:
        """Close; where another thread is in a call for more than ``wait`` seconds, that one does it."""
        self._closing = True
        if self._lock.acquire(timeout=wait):
            try:
                if not self._borrowed:
                    self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        pcap, self._pcap = self._pcap, None
        if pcap is not None:
            _open_handles.discard(self)
            self.c.pcap_close(pcap)

    def abandon_in_child(self) -> None:
        """After fork: give up the child's copy of the descriptor and touch nothing that is the parent's.

        pcap_close() would undo monitor mode and the like for both.
        """
        self._closing = True
        pcap, self._pcap = self._pcap, None
        self._lock, self._gate = threading.RLock(), threading.RLock()  # another thread may have held them
        if pcap is not None:
            fd = self.c.pcap_fileno(pcap)
            if fd >= 0:
                os.close(fd)


_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


def _after_fork() -> None:
    for handle in list(_open_handles):
        handle.abandon_in_child()
    _open_handles.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def error_text(c: Library, pcap: Any) -> str:
    """libpcap's message for the last error on the handle (pcap_geterr(3PCAP))."""
    text: bytes = c.pcap_geterr(pcap)
    return text.decode(errors="replace")


def failure(c: Library, code: int, text: str, name: str) -> PcapError:
    """The exception for a status code of libpcap and its message."""
    where = text or c.pcap_statustostr(code).decode(errors="replace")
    if code == PCAP_ERROR_NO_SUCH_DEVICE:
        return DeviceNotFoundError(f"no such device: {name} ({where}); `pypcapzc devices` lists them", code)
    if code in (PCAP_ERROR_PERM_DENIED, PCAP_ERROR_PROMISC_PERM_DENIED):
        return CapturePermissionError(
            f"no permission to capture on {name} ({where}); `pypcapzc doctor` says what to do", code
        )
    if code == PCAP_ERROR_IFACE_NOT_UP:
        command = platforms.current().bring_up(name)
        return PcapError(f"{name} is not up ({where}); bring it up first ({command})", code)
    if text.lower().startswith(_GONE):
        return DeviceGoneError(f"{name}: {text}", code)
    return PcapError(f"{name}: {where}", code)
