"""Taking packets from a kernel that has little room for them, while the program is busy with others."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from typing import NamedTuple

from ..block import Block
from ..capture import Capture

_MOST_BATCHES = 4096
"""At a time, each with a byte in the pipe: less than any pipe has room for."""
_OVERHEAD = 96
"""Bytes that a packet takes beside its own: objects for it and its time, and places in three lists."""


class Batch(NamedTuple):
    """The packets of a block, copied."""

    packets: list[bytes]
    times: list[int]
    """Nanoseconds since the epoch."""
    wirelens: list[int]


def batch_of(block: Block) -> Batch:
    """A block's packets; the block goes back."""
    found = Batch(block.packets(), block.times(), block.index.cast("I")[4::6].tolist())
    block.release()
    return found


class Ahead:
    """A thread that takes blocks from a capture as they come, and keeps copies of up to ``limit`` bytes.

    Beyond that it takes nothing, and the kernel counts what it drops.  Close it before the capture.
    """

    def __init__(self, capture: Capture, limit: int) -> None:
        self._capture, self._limit = capture, limit
        self._found: deque[Batch | Exception] = deque()
        self._taken = self._given = 0  # bytes; one thread writes to each
        self._room = threading.Event()
        self._stopped = self._orphaned = False
        self._pid = os.getpid()
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"pypcapzc reads {capture.name}", daemon=True)
        _running.add(self)
        self._thread.start()

    def fileno(self) -> int:
        """Readable while there is something for next()."""
        return self._read

    def next(self) -> Batch | None:
        """The oldest that was not given yet.  Raises what ended the reading, after the last packet."""
        if self._capture.closed:  # in a forked child, too, whose parent reads the same pipe
            self._capture.next_block(0)  # raises CaptureClosedError
        try:
            found = self._found.popleft()
        except IndexError:
            return None
        os.read(self._read, 1)
        if isinstance(found, Exception):
            raise found
        self._given += _bytes(found)
        self._room.set()
        return found

    @property
    def left(self) -> int:
        """Packets that next() would give."""
        return sum(len(each.packets) for each in tuple(self._found) if isinstance(each, Batch))

    def stop(self) -> None:
        """Take no more."""
        _running.discard(self)
        if os.getpid() != self._pid:  # a forked child has no such thread, and its locks may be taken
            return
        self._stopped = True
        self._room.set()
        self._capture.breakloop()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def close(self) -> None:
        """Stop, and close the descriptor."""
        self.stop()
        if self._thread is threading.current_thread():  # which collects garbage, and the socket is in it
            self._orphaned = True
        else:
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def _run(self) -> None:
        self._take()
        if self._orphaned:
            self._close_descriptors()

    def _take(self) -> None:
        try:
            while not self._stopped:
                if self._taken - self._given >= self._limit or len(self._found) >= _MOST_BATCHES:
                    self._room.wait()
                    self._room.clear()
                elif (block := self._capture.next_block()) is not None:
                    batch = batch_of(block)
                    self._taken += _bytes(batch)
                    self._put(batch)
        except Exception as error:  # the interface is gone, or the capture was closed
            self._put(error)

    def _put(self, found: Batch | Exception) -> None:
        self._found.append(found)
        os.write(self._write, b"x")


def _bytes(batch: Batch) -> int:
    return sum(map(len, batch.packets)) + _OVERHEAD * len(batch.packets)


_running: weakref.WeakSet[Ahead] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Before Python ends, since it then holds threads for good wherever they are."""
    for each in list(_running):
        each.stop()
