"""A platform that the loaded libpcap brings along: FreeBSD's BPF without FreeBSD."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from ..errors import LibraryError, PcapError
from ..libpcap.loader import Library, current
from .base import Kernel, Permission
from .freebsd import FreeBSD, Sysctlbyname, prototype_of_sysctlbyname

_IOCTL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, use_errno=True)
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, use_errno=True)
_CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True)


class Supplied(FreeBSD):
    """The system calls are those that the library exports as ``<name>_ioctl`` and the like."""

    def __init__(self, name: str, library: Library | None) -> None:
        super().__init__(name)
        self._library = library

    @classmethod
    def by_name(cls, name: str) -> Supplied:
        """The platform of that name.  PcapError where the loaded library does not have it.

        Where no library can be loaded at all, the platform offers nothing; who needs the library says why.
        """
        try:
            library: Library | None = current()
        except LibraryError:
            library = None
        if library is not None and not library.has(f"{name}_sysctlbyname"):
            raise PcapError(
                f"PYPCAPZC_PLATFORM={name}: no such platform; known are linux and freebsd, "
                f"and {library.path} brings none of that name along"
            )
        return cls(name, library)

    def _function(self, prototype: Any, name: str) -> Any:
        if self._library is None:
            raise OSError(errno.ENXIO, f"no library that has {self.name}_{name} is loaded")
        return prototype((f"{self.name}_{name}", self._library.cdll))

    @property
    def sysctlbyname(self) -> Sysctlbyname:
        found: Sysctlbyname = self._function(prototype_of_sysctlbyname, "sysctlbyname")
        return found

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        memory = (ctypes.c_ubyte * len(argument)).from_buffer(argument)
        self._check(self._function(_IOCTL, "ioctl")(fd, request, ctypes.addressof(memory)))

    def open(self, path: str, flags: int) -> int:
        fd: int = self._function(_OPEN, "open")(path.encode(), flags)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        return fd

    def close(self, fd: int) -> None:
        self._function(_CLOSE, "close")(fd)

    def kernel(self) -> Kernel:
        if self._library is None:
            return Kernel("none", False, (self._missing,))
        return super().kernel()

    def permission(self) -> Permission:
        if self._library is None:
            return Permission(False, self._missing)
        return super().permission()

    def limits(self) -> dict[str, int]:
        return super().limits() if self._library is not None else {}

    def tuning(self) -> tuple[str, ...]:
        return super().tuning() if self._library is not None else ()

    @property
    def _missing(self) -> str:
        return f"the {self.name} platform comes with a library, which is missing"
