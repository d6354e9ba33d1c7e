"""A descriptor for programs that wait with select(), of packets that were taken from the kernel already."""

from __future__ import annotations

import os
import select
import sys
from typing import Any


class Readiness:
    """A descriptor that is readable when another one is, or as long as it was told so."""

    def __init__(self, fd: int) -> None:
        self._pipe = os.pipe()
        self._set = False
        if sys.platform.startswith("linux"):
            self._poller: Any = select.epoll()
            for each in (fd, self._pipe[0]):
                self._poller.register(each, select.EPOLLIN)
        else:
            self._poller = select.kqueue()
            self._poller.control([select.kevent(each) for each in (fd, self._pipe[0])], 0)
        self.fd: int = self._poller.fileno()

    def set(self, ready: bool) -> None:
        """Readable until it is told otherwise, or only with the other descriptor."""
        if ready != self._set:
            self._set = ready
            if ready:
                os.write(self._pipe[1], b"x")
            else:
                os.read(self._pipe[0], 1)

    def close(self) -> None:
        """Close what is not the other descriptor."""
        self._poller.close()
        for each in self._pipe:
            os.close(each)
