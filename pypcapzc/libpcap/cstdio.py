"""C stdio streams for libpcap to write to and read from.

libpcap's savefile functions take a ``FILE *``.  A MemoryStream is one that ends in memory, so that
pcap_dump() itself can be the callback of pcap_dispatch() and nothing runs per packet in Python; a
ReaderStream is one whose bytes come from a Python object, one call for each buffer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, byref, c_char, c_int, c_size_t, c_ssize_t, c_void_p
from functools import cache
from typing import Any

from ..errors import PcapError
from .loader import libc

_SEEK_SET = 0
_IOFBF = 0

_CookieRead = CFUNCTYPE(c_ssize_t, c_void_p, POINTER(c_char), c_size_t)  # fopencookie(3), glibc and musl
_FunRead = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_int)  # funopen(3), BSD and macOS


class _CookieFunctions(ctypes.Structure):
    """cookie_io_functions_t of fopencookie(3)."""

    _fields_ = [("read", _CookieRead), ("write", c_void_p), ("seek", c_void_p), ("close", c_void_p)]


@cache
def _function(name: str, restype: Any, *argtypes: Any) -> Any:
    try:
        function = getattr(libc(), name)
    except AttributeError:
        raise PcapError(f"this system's C library has no {name}(), which reading packets needs") from None
    function.restype, function.argtypes = restype, argtypes
    return function


class MemoryStream:
    """An open_memstream(3) that is written over and over from its beginning.

    Not for use by two threads at a time.  Its memory stays where it is between flush() and the next write.
    """

    def __init__(self) -> None:
        self._address, self._size = c_void_p(), c_size_t()
        self.file: int = _function("open_memstream", c_void_p, c_void_p, c_void_p)(
            byref(self._address), byref(self._size)
        )
        if not self.file:
            raise MemoryError("open_memstream failed")
        self._seek = _function("fseeko", c_int, c_void_p, ctypes.c_longlong, c_int)
        self._flush = _function("fflush", c_int, c_void_p)
        self._failed = _function("ferror", c_int, c_void_p)
        # Kept here because __del__ may run when this module is already gone.
        self._fclose, self._free = _function("fclose", c_int, c_void_p), _function("free", None, c_void_p)

    @property
    def address(self) -> int:
        """Where the bytes are; valid after flush()."""
        return self._address.value or 0

    def rewind(self) -> None:
        """Write from the beginning again."""
        self._seek(self.file, 0, _SEEK_SET)

    def flush(self) -> int:
        """Bring memory up to date and say how many bytes were written since rewind().

        Raises MemoryError where a write found no memory (pcap_dump() does not say so itself).
        """
        if self._flush(self.file) or self._failed(self.file):
            _function("clearerr", None, c_void_p)(self.file)
            raise MemoryError("no memory for a batch of packets; the batch was cut short")
        return self._size.value

    def extend(self, size: int) -> None:
        """Add zeros, so that the memory is at least ``size`` bytes long; call it after flush().

        Written and not sought: glibc's streams stay six times slower after a seek beyond their end.
        """
        missing = size - self._size.value
        if missing > 0:
            _function("fwrite", c_size_t, ctypes.c_char_p, c_size_t, c_size_t, c_void_p)(
                bytes(missing), missing, 1, self.file
            )
            self.flush()

    def close(self) -> None:
        """Close the stream and free its memory."""
        if self.file:
            file, self.file = self.file, 0
            self._fclose(file)
            self._free(self._address)

    def __del__(self) -> None:
        if hasattr(self, "_free"):
            self.close()


class ReaderStream:
    """A C stream that reads what ``read(size)`` returns.

    ``read`` returns b"" at the end.  An exception in it, KeyboardInterrupt included, ends the stream and is
    kept in ``error`` for the caller of libpcap to raise.  ``file`` is libpcap's to close; this object has
    to live until then.
    """

    def __init__(self, read: Callable[[int], bytes], buffer_size: int) -> None:
        self._read = read
        self.error: BaseException | None = None
        self._buffer = ctypes.create_string_buffer(buffer_size)
        if hasattr(libc(), "fopencookie"):
            self._callback: Any = _CookieRead(self._fill)
            opened = _function("fopencookie", c_void_p, c_void_p, ctypes.c_char_p, _CookieFunctions)
            self.file: int = opened(None, b"r", _CookieFunctions(read=self._callback))
        else:
            self._callback = _FunRead(self._fill)
            opened = _function("funopen", c_void_p, c_void_p, _FunRead, c_void_p, c_void_p, c_void_p)
            self.file = opened(None, self._callback, None, None, None)
        if not self.file:
            raise MemoryError("cannot make a stream")
        _function("setvbuf", c_int, c_void_p, c_void_p, c_int, c_size_t)(
            self.file, self._buffer, _IOFBF, buffer_size
        )

    def _fill(self, _cookie: Any, target: Any, size: int) -> int:
        try:
            data = self._read(size)
            ctypes.memmove(target, data, len(data))
        except BaseException as error:
            self.error = error
            return -1
        return len(data)

    def close(self) -> None:
        """Close the stream, where libpcap did not take it over."""
        if self.file:
            file, self.file = self.file, 0
            _function("fclose", c_int, c_void_p)(file)


def open_descriptor(fd: int) -> int:
    """A ``FILE *`` that reads the descriptor, which it then owns (fdopen(3))."""
    file: int | None = _function("fdopen", c_void_p, c_int, ctypes.c_char_p)(fd, b"rb")
    if not file:
        raise OSError(ctypes.get_errno(), "fdopen failed")
    return file


def close_stream(file: int) -> None:
    """fclose(3)."""
    _function("fclose", c_int, c_void_p)(file)
