"""The companion library: small C for what runs once a packet, where ctypes and Python would be too slow.

`pypcapzc build` makes it from csrc/ and puts it beside the libpcap that it builds; it serves any libpcap, a
stock one too.  It needs no headers of Python's: the C API's functions that it calls are handed over.  Where
it is missing everything works without it, only slower.  ``PYPCAPZC_COMPANION`` names another, or ``none``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int64,
    c_ssize_t,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from enum import IntEnum
from pathlib import Path
from typing import Any

from .. import paths

ABI = 5
"""What pczc_abi() in csrc/iterate.c gives; both change when a function does."""

FILE = "libpypcapzc.so"
VARIABLE = "PYPCAPZC_COMPANION"


class Api(Structure):
    """struct api of csrc/python.h: the functions of CPython's C API that it calls."""

    NAMES = (
        "PyType_FromSpec",
        "PyType_GenericAlloc",
        "PyObject_Type",
        "PyObject_Hash",
        "PyObject_Free",
        "Py_IncRef",
        "Py_DecRef",
        "PyBytes_FromStringAndSize",
        "PyBytes_AsString",
        "PyLong_FromUnsignedLongLong",
        "PyLong_AsUnsignedLongLong",
        "PyFloat_FromDouble",
        "PySequence_GetSlice",
        "PyTuple_New",
        "PyTuple_SetItem",
    )
    _fields_ = tuple((name, c_void_p) for name in NAMES)


class Stamp(IntEnum):
    """enum stamp of csrc/iterate.c: what an iterator gives before each packet."""

    NONE = 0
    """Nothing: the packets come by themselves, not in pairs."""
    TIME = 1
    """An int of nanoseconds."""
    SECONDS = 2
    """A float of seconds, to the microsecond."""
    FINE_SECONDS = 3
    """The same with all nanoseconds."""
    RECORD = 4
    """Its record (block.RECORD) as an object of a subclass of bytes."""
    LENGTH_SECONDS = 5
    """The length of the packet's bytes, and what SECONDS is; then there are no ``kinds``."""
    LENGTH_WHOLE = 6
    """The same with whole seconds, an int."""


class Arena(Structure):
    """struct arena of csrc/arena.c: packets collected by pcap_dispatch(3PCAP)."""

    _fields_ = (
        ("data", c_void_p),
        ("size", c_uint64),
        ("used", c_uint64),
        ("index", c_void_p),
        ("room", c_uint32),
        ("count", c_uint32),
        ("unit", c_uint32),
        ("lost", c_uint32),
    )


class ZcCalls(Structure):
    """struct zc_calls of csrc/profiles.c: the patched libpcap's functions that it calls."""

    _fields_ = (("next", c_void_p), ("next_viewed", c_void_p), ("release", c_void_p))


class _Buffer(Structure):
    """Py_buffer, the same since Python 2.6."""

    _fields_ = (
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )


_VIEW = POINTER(_Buffer)
_PYTHON = {
    "pczc_start": (py_object, (POINTER(Api), c_uint64, c_int)),
    "pczc_batch": (py_object, (c_void_p, c_uint64, c_void_p, c_uint32)),
    "pczc_each": (
        py_object,
        (
            *(py_object, c_int, c_void_p, c_void_p, c_uint64, c_void_p, c_uint32, c_void_p),
            *(c_void_p, py_object),
        ),
    ),
}
"""Called with the interpreter's lock held."""
_C = {
    "pczc_abi": (c_uint32, ()),
    "pczc_forked": (None, ()),
    "pczc_arena_new": (POINTER(Arena), (c_uint64, c_uint32, c_uint32)),
    "pczc_arena_free": (None, (POINTER(Arena),)),
    "pczc_savefile_size": (c_uint64, (c_void_p, c_uint32, c_uint64)),
    "pczc_savefile_records": (None, (c_void_p, c_uint64, c_void_p, c_uint32, c_uint32, c_void_p)),
    "pczc_profile_new": (c_void_p, (c_void_p, c_char_p, c_uint64)),
    "pczc_profile_free": (None, (c_void_p,)),
    "pczc_sieve": (c_int, (c_void_p, c_void_p, c_uint64, c_void_p, c_uint32)),
    "pczc_sieve_free": (None, (c_void_p,)),
    "pczc_sift": (
        c_int,
        (
            *(c_void_p, POINTER(ZcCalls), c_void_p, c_uint64, c_void_p),
            *(POINTER(c_uint64), POINTER(c_uint32)),
        ),
    ),
    "pczc_decode": (None, (c_void_p, c_uint64, c_void_p, c_uint32, c_uint32, c_void_p)),
    "pczc_choose": (
        c_uint32,
        (c_void_p, c_uint32, c_void_p, c_uint64, c_void_p, c_uint32, c_uint32, c_void_p),
    ),
    "pczc_choose_rows": (c_uint32, (c_void_p, c_uint32, c_void_p, c_uint32, c_void_p)),
    "pczc_enter_four": (None, (c_void_p, c_void_p, c_void_p, c_uint64)),
    "pczc_enter_six": (None, (c_void_p, c_void_p, c_void_p, c_uint64)),
    "pczc_rows": (c_uint64, (c_void_p, c_uint32, c_void_p, c_uint64, c_void_p)),
    "pczc_gather": (
        c_int64,
        (
            *(c_void_p, c_uint64, c_void_p, c_uint32, c_void_p, c_uint64),
            *(c_void_p, c_void_p, c_uint64),
        ),
    ),
}
"""Called without it."""


class Companion:
    """A loaded companion library.  Addresses are ints; who passes one keeps the memory alive."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where it cannot be loaded, AttributeError where it lacks a function."""
        self.path = path
        with_lock, without = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        for library, table in ((with_lock, _PYTHON), (without, _C)):
            for name, (result, arguments) in table.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name.removeprefix("pczc_"), function)
        self.collect: int = ctypes.cast(without.pczc_collect, c_void_p).value or 0
        """The address of a pcap_handler whose first argument is an Arena."""
        self.savefile_collect: int = ctypes.cast(without.pczc_savefile_collect, c_void_p).value or 0
        """The same, for savefile records and no index."""
        self.sieve_packet: int = ctypes.cast(without.pczc_sieve_packet, c_void_p).value or 0
        """The address of a pcap_handler whose first argument is a struct sieve."""
        pointers = (ctypes.cast(getattr(ctypes.pythonapi, name), c_void_p) for name in Api.NAMES)
        unlocked = not getattr(sys, "_is_gil_enabled", lambda: True)()
        self._type = self.start(Api(*pointers), object.__basicsize__, unlocked)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forked)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.path} has no pczc_{name}")

    def iterate(
        self,
        stamp: Stamp,
        memory: tuple[int, int, int],
        count: int,
        keeper: Any,
        *,
        whole: memoryview | None = None,
        record: type[bytes] | None = None,
        kinds: int | None = None,
    ) -> Iterator[Any]:
        """``count`` packets of a block: bytes, or views where ``whole``, a memoryview of it, is given.

        ``memory`` is where it begins, its length, and where the records of the packets begin.  Each object is
        made when its turn comes; ``keeper``, which keeps block and records where they are, is let go of at
        the end, and a child that is forked meanwhile finds the end.  ``record`` is what Stamp.RECORD makes: a
        class with ``__slots__ = ()`` and a __hash__ of its own, whose __new__ is not called.  ``kinds`` is
        where a byte for each packet is, which stands in the tuple behind it.
        """
        kind, view = (id(extra) if extra is not None else None for extra in (record, whole))
        made: Iterator[Any] = self.each(self._type, stamp, kind, *memory, count, kinds, view, keeper)
        return made


def address(view: Any) -> int:
    """Where the memory of a contiguous view or array begins; it stays there as long as that lives."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(py_object(view), ctypes.byref(buffer), 0)
    try:
        return buffer.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))


_lock = threading.Lock()
_looked = False
_current: Companion | None = None
_reason = ""


def current() -> Companion | None:
    """The companion library of this process; looked for once."""
    global _looked, _current, _reason
    if not _looked:
        with _lock:
            if not _looked:
                _current, _reason = _load()
                _looked = True
    return _current


def reason() -> str:
    """Where it was found, or why there is none, and what changes that."""
    current()
    return _reason


def forget() -> None:
    """Look for it again when it is needed next."""
    global _looked
    with _lock:
        _looked = False


def _load() -> tuple[Companion | None, str]:
    if sys.implementation.name != "cpython":
        return None, f"it is for CPython, and this is {sys.implementation.name}"
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "none":
        return None, f"{VARIABLE} is none"
    candidates = [Path(wanted)] if wanted else _candidates()
    path = next((each for each in candidates if each.is_file()), None)
    if path is None:
        where = f"{VARIABLE} names {wanted}, which is no file" if wanted else "it has not been built"
        return None, f"{where}; `pypcapzc build` makes one"
    try:
        found = Companion(path)
        if found.abi() != ABI:
            raise AttributeError(f"it has ABI {found.abi()}, this version needs {ABI}")
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be used: {error}; `pypcapzc build` makes a new one"
    return found, str(path)


def _candidates() -> list[Path]:
    found = [Path(__file__).parent.parent / "_bundled" / FILE]
    try:
        return [paths.installed_libraries_dir() / FILE, *found]
    except (RuntimeError, OSError):  # a user without a home folder
        return found
