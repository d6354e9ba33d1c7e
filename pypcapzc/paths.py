"""Where pypcapzc keeps what it makes: libraries it has built, downloaded sources, caches.

``PYPCAPZC_HOME`` puts everything under one folder.  Otherwise Linux and the BSDs follow the XDG base
directory specification, macOS uses ``~/Library``, Windows ``%LOCALAPPDATA%``.  Nothing here creates a folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: The file names under which a libpcap may lie in a folder, the most likely first.
if sys.platform == "darwin":
    LIBRARY_NAMES: tuple[str, ...] = ("libpcap.1.dylib", "libpcap.A.dylib", "libpcap.dylib")
elif sys.platform == "win32":
    LIBRARY_NAMES = ("wpcap.dll",)
else:
    LIBRARY_NAMES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so.8", "libpcap.so")


def _base(kind: str, xdg_variable: str, xdg_default: str, mac_folder: str) -> Path:
    if override := os.environ.get("PYPCAPZC_HOME"):
        return Path(override).expanduser().absolute() / kind
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac_folder / "pypcapzc"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "pypcapzc" / kind
    # The specification has relative values ignored.
    xdg = os.environ.get(xdg_variable, "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / xdg_default) / "pypcapzc"


def data_dir() -> Path:
    """What must last: built libraries."""
    return _base("data", "XDG_DATA_HOME", ".local/share", "Application Support")


def cache_dir() -> Path:
    """What can be had again: sources, downloads, measurements."""
    return _base("cache", "XDG_CACHE_HOME", ".cache", "Caches")


def installed_libraries_dir(target: str = "host") -> Path:
    """The folder in which ``pypcapzc build`` puts the libraries of a target."""
    return data_dir() / "lib" / target


def _library_in(folder: Path) -> Path | None:
    for name in LIBRARY_NAMES:
        if (candidate := folder / name).is_file():
            return candidate
    return None


def built_library() -> Path | None:
    """The library that ``pypcapzc build`` made for this host, if there is one."""
    try:
        return _library_in(installed_libraries_dir())
    except (RuntimeError, OSError):  # a user without a home folder, or one that may not be read
        return None


def bundled_library() -> Path | None:
    """The library that came inside this package, if the wheel carries one."""
    return _library_in(Path(__file__).parent / "_bundled")
