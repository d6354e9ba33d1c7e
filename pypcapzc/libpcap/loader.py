"""The only place that opens a shared library.

``load()`` opens one, ``current()`` is the one that the process uses, opened on first use, ``use()`` puts
another in its place.  Nothing is opened by importing this module.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from .. import paths
from ..errors import LibraryError, MissingFunctionError
from .binaries import why_not_loadable
from .prototypes import PROTOTYPES, Prototype

#: Names the library to load.
ENVIRONMENT_VARIABLE = "PYPCAPZC_LIBPCAP"

# Upstream's own soname, Debian's, FreeBSD's base system; the last ones for systems with a bare .so only.
_SYSTEM_NAMES: dict[str, tuple[str, ...]] = {
    "darwin": ("libpcap.A.dylib", "/usr/lib/libpcap.A.dylib", "/usr/lib/libpcap.dylib", "libpcap.dylib"),
    "win32": ("wpcap.dll",),
}
_SONAMES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so.8", "libpcap.so")


class Library:
    """A loaded libpcap.

    Functions are bound to their prototypes when they are first asked for.  The library stays loaded for
    the life of the process, as handles that it made may.
    """

    def __init__(self, cdll: ctypes.CDLL, name: str, origin: str) -> None:
        self.cdll = cdll
        #: Where the choice came from: ``argument``, ``environment``, ``built``, ``bundled`` or ``system``.
        self.origin = origin
        self._bound: dict[str, Any] = {}
        #: The file that was really loaded, symbolic links followed.
        self.path = _loaded_file(cdll, name)
        #: The library's own words, as ``libpcap version 1.10.3 (with TPACKET_V3)``.
        self.version: str = self.function("pcap_lib_version")().decode("utf-8", "replace")
        #: The numbers in it, as ``(1, 10, 3)``; empty if it has none.
        self.version_tuple = _version_numbers(self.version)

    def __repr__(self) -> str:
        return f"<Library {self.path}: {self.version}>"

    def has(self, name: str) -> bool:
        """Whether the library exports a symbol."""
        return hasattr(self.cdll, name)

    def function(self, name: str) -> Any:
        """The bare ctypes function of a name in the table, with its types.

        Raises MissingFunctionError if this library lacks it, KeyError if libpcap has no such function.
        """
        bound = self._bound.get(name)
        if bound is None:
            bound = self._bound[name] = self._bind(PROTOTYPES[name])
        return bound

    def __getattr__(self, name: str) -> Any:
        """``library.pcap_stats`` is ``library.function("pcap_stats")``."""
        if name not in PROTOTYPES:
            raise AttributeError(f"libpcap has no function {name!r}")
        return self.function(name)

    def _bind(self, prototype: Prototype) -> Any:
        # A type of its own for each signature, as C has it: pcap_dump is then a pcap_handler.  errno is
        # not kept, which would cost on each call: libpcap puts its text into its messages.
        kind = ctypes.CFUNCTYPE(prototype.restype, *prototype.argtypes)
        try:
            return kind((prototype.name, self.cdll))
        except AttributeError:
            raise MissingFunctionError(_missing(prototype, self)) from None


def _version_numbers(text: str) -> tuple[int, ...]:
    # "libpcap version 1.10.3 (...)"; Npcap says "Npcap version 1.60, based on libpcap version 1.10.2-PRE".
    found = re.search(r"libpcap version (\d+(?:\.\d+)*)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def _missing(prototype: Prototype, library: Library) -> str:
    at = f"{library.path} ({library.version})"
    name, since = prototype.name, prototype.since
    if not prototype.on_this_platform():
        return f"{name} is not in {at}: libpcap has it on {prototype.platform} only, since {since}."
    if prototype.until:
        return f"{name} is not in {at}: only libpcap {since} to {prototype.until} have it."
    if library.version_tuple >= _version_numbers(f"libpcap version {since}"):
        how = "only if built with --enable-remote" if prototype.remote else "so this one was built without it"
        return f"{name} is not in {at}: libpcap has it since {since}, {how}."
    remote = ", built with --enable-remote" if prototype.remote else ""
    return (
        f"{name} is not in {at}: it came with libpcap {since}{remote}. "
        f"Name a newer library in {ENVIRONMENT_VARIABLE}, or build one with `pypcapzc build`."
    )


class _DlInfo(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("dli_fname", ctypes.c_char_p),
        ("dli_fbase", ctypes.c_void_p),
        ("dli_sname", ctypes.c_char_p),
        ("dli_saddr", ctypes.c_void_p),
    ]


def _loaded_file(cdll: ctypes.CDLL, name: str) -> Path:
    """The file that a library's pcap_lib_version lies in; the name it was opened by if that fails."""
    if sys.platform != "win32":
        with contextlib.suppress(AttributeError, OSError, ValueError):
            address = ctypes.cast(cdll.pcap_lib_version, ctypes.c_void_p)
            found = _by_dladdr(address) or _by_maps(address.value or 0)
            if found:
                return Path(found).resolve()
    return Path(name)


def _by_dladdr(address: ctypes.c_void_p) -> str | None:
    dladdr = libc().dladdr
    dladdr.argtypes = (ctypes.c_void_p, ctypes.POINTER(_DlInfo))
    info = _DlInfo()
    if not dladdr(address, ctypes.byref(info)) or not info.dli_fname:
        return None
    found = os.fsdecode(info.dli_fname)
    # macOS keeps its system libraries in one shared cache: the path is right though no file lies there.
    return found if os.path.isabs(found) else None


def _by_maps(address: int) -> str | None:
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in fields[0].split(b"-"))
            if start <= address < end:
                return os.fsdecode(fields[5].rstrip()) if len(fields) == 6 else None
    return None


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library that this process, and so libpcap, uses: the symbols that are global here."""
    return ctypes.CDLL("ucrtbase") if sys.platform == "win32" else ctypes.CDLL(None)


# --- finding and opening -------------------------------------------------------------------------------


def load(path: str | os.PathLike[str] | None = None) -> Library:
    """Open a libpcap: the one named, else the one that this system is to use.

    Without ``path`` that is the one that PYPCAPZC_LIBPCAP names, else one built by ``pypcapzc build`` for
    this host, else one bundled with this package, else the system's.  The first that there is counts: if
    it cannot be used, that is a LibraryError, and no reason to take the next.
    """
    if path is not None:
        return _open(os.fspath(path), "argument")
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _open(named, "environment")
    if built := paths.built_library():
        return _open(str(built), "built")
    if bundled := paths.bundled_library():
        return _open(str(bundled), "bundled")
    return _open_system()


_NAMED_BY = {
    "argument": "{}",
    "environment": ENVIRONMENT_VARIABLE + " names {}, which",
    "built": "The library that `pypcapzc build` installed, {},",
    "bundled": "The library in this package, {},",
    "system": "The system's library, {},",
}
_REMEDIES = {
    "argument": "Name the file of a libpcap for this system.",
    "environment": f"Set {ENVIRONMENT_VARIABLE} to the file of a libpcap for this system, or unset it.",
    "built": "Build it again, or delete it.",
    "bundled": f"Install the package again, or name another library in {ENVIRONMENT_VARIABLE}.",
    "system": f"Install libpcap again, or name another library in {ENVIRONMENT_VARIABLE}.",
}


def _failure(name: str, origin: str, what: str) -> LibraryError:
    return LibraryError(f"{_NAMED_BY[origin].format(name)} {what}. {_REMEDIES[origin]}")


def _open(name: str, origin: str) -> Library:
    """Open one library by file name, or by a name without a folder, which the dynamic linker looks up."""
    name = os.path.expanduser(name)
    if os.path.dirname(name) or os.path.exists(name):
        name = os.path.abspath(name)  # else dlopen would look it up, or mean another folder
        if not os.path.lexists(name) and origin != "system":
            raise _failure(name, origin, "does not exist")
        if os.path.lexists(name) and (why_not := why_not_loadable(name)):
            raise _failure(name, origin, why_not)
    try:
        cdll = ctypes.CDLL(name, mode=_mode())
    except OSError as error:
        raise _failure(name, origin, f"cannot be loaded ({error})") from error
    if not (hasattr(cdll, "pcap_lib_version") and hasattr(cdll, "pcap_create")):
        raise _failure(
            name, origin, "is not a libpcap of 1.0 or later (no pcap_lib_version or no pcap_create)"
        )
    return Library(cdll, name, origin)


def _mode() -> int:
    """How to open: with symbols local, so that another libpcap in this process neither sees nor is seen.

    Local is not enough when a libpcap is among the global symbols (preloaded, or linked into the program):
    the calls inside our library would then go to that one.  RTLD_DEEPBIND puts its own symbols first.  It
    is kept to that case as it also hides replaced allocators and sanitizers from the library.
    """
    mode = ctypes.RTLD_LOCAL
    if sys.platform != "win32" and hasattr(libc(), "pcap_create"):
        mode |= getattr(os, "RTLD_DEEPBIND", 0)
    return mode


def _system_candidates() -> Iterator[str]:
    """Names to try, without repeats."""
    seen: set[str | None] = {None}
    names = _SYSTEM_NAMES.get(sys.platform, _SONAMES)
    if sys.platform == "win32":
        # Npcap puts its libraries into a folder of their own, where ctypes does not look.
        npcap = os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "Npcap", "wpcap.dll")
        names = (npcap, *names)
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name
    # Last, as it may run ldconfig, a compiler or a linker, none of which need be installed.
    from ctypes import util  # here, as it brings in half of the standard library

    with contextlib.suppress(OSError):
        found = util.find_library("pcap")
        if found and found not in seen:
            yield found


_INSTALL = {
    "linux": "Install it (Debian, Ubuntu: apt-get install libpcap0.8; Fedora: dnf install libpcap; "
    "Alpine: apk add libpcap)",
    "freebsd": "It belongs to FreeBSD's base system (/lib/libpcap.so.8); or pkg install libpcap",
    "darwin": "It belongs to macOS (/usr/lib/libpcap.A.dylib); or brew install libpcap",
    "win32": "Install Npcap (npcap.com)",
}


def _absent(name: str, error: LibraryError) -> bool:
    """Whether the dynamic linker says that there is no such library, and not that it cannot be used.

    Read from its words, in the forms of glibc and musl, FreeBSD, macOS and Python on Windows; they must
    follow the library's own name, as a library that one of its own needs may be what is missing.
    """
    missing = re.escape(name) + r"\W+(cannot open|not found|no such file)|could not find module"
    return re.search(missing, str(error.__cause__), re.IGNORECASE) is not None


def _open_system() -> Library:
    damaged: LibraryError | None = None
    for name in _system_candidates():
        try:
            return _open(name, "system")
        except LibraryError as error:
            if damaged is None and not _absent(name, error):
                damaged = error
    if damaged is not None:
        raise damaged
    system = next((key for key in _INSTALL if sys.platform.startswith(key)), None)
    install = _INSTALL[system] if system else "Install libpcap"
    raise LibraryError(
        f"No libpcap was found on this system. {install}, "
        f"or set {ENVIRONMENT_VARIABLE} to the file of one, or build one with `pypcapzc build`."
    )


# --- the process's library -----------------------------------------------------------------------------

_lock = threading.RLock()
_current: Library | None = None
_functions: dict[str, Function] = {}


def current() -> Library:
    """The library that this process uses; loads it on first use."""
    global _current
    library = _current
    if library is None:
        with _lock:
            library = _current
            if library is None:
                library = _current = load()
    return library


def use(library: Library | None) -> Library | None:
    """Make ``library`` the process's own from now on, and return the one before.

    None forgets it: the next use loads it again.  Handles stay with the library that made them, so change
    it while none is open, or call each through its own ``Library.function``.
    """
    global _current
    with _lock:
        before, _current = _current, library
        for function in _functions.values():
            function.reset()
    return before


class Function:
    """A C function of the process's library, under its C name: call it as in C.

    The library is loaded by the first call.  Where the library lacks the function, calling raises
    MissingFunctionError.  Goes as an argument where C takes the function itself: ``pcap_dump`` as the
    callback of ``pcap_dispatch``.
    """

    def __init__(self, prototype: Prototype) -> None:
        self.prototype = prototype
        self.__name__ = prototype.name
        self.__doc__ = (
            f"{prototype.name}(): since libpcap {prototype.since}; fails with: {prototype.fails.value}."
        )
        self._call: Any = self._resolve_and_call

    def __call__(self, *arguments: Any) -> Any:
        """Call the C function."""
        return self._call(*arguments)

    def __repr__(self) -> str:
        return f"<libpcap function {self.__name__}>"

    @property
    def pointer(self) -> Any:
        """The bare ctypes function of the process's library, for loops in which each call counts."""
        with _lock:
            self._call = bound = current().function(self.__name__)
        return bound

    @property
    def _as_parameter_(self) -> Any:
        return self.pointer

    def available(self) -> bool:
        """Whether the process's library has it."""
        return current().has(self.__name__)

    def reset(self) -> None:
        """Forget the library; the next call looks it up again."""
        self._call = self._resolve_and_call

    def _resolve_and_call(self, *arguments: Any) -> Any:
        return self.pointer(*arguments)


def function(name: str) -> Function:
    """The function of a name in the table, always the same object; KeyError for any other name."""
    found = _functions.get(name)
    if found is None:
        with _lock:
            found = _functions.setdefault(name, Function(PROTOTYPES[name]))
    return found
