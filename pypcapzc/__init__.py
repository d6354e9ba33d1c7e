"""Packet capture that hands the kernel's own capture buffers to Python.

    import pypcapzc

    with pypcapzc.open_live("eth0", filter="tcp port 443") as capture:
        for ts_ns, packet in capture:
            ...

Importing it loads no shared library; ``pypcapzc.libpcap`` is libpcap's C API under its C names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .devices import Address as Address
from .devices import Device as Device
from .devices import devices as devices

if TYPE_CHECKING:
    from . import libpcap as libpcap
    from . import zerocopy as zerocopy
    from .block import Block as Block
    from .block import Header as Header
    from .block import Headers as Headers
    from .capture import Capture as Capture
    from .counters import Stats as Stats
    from .dumper import Dumper as Dumper
    from .errors import BlockInUseError as BlockInUseError
    from .errors import BlockReleasedError as BlockReleasedError
    from .errors import CaptureClosedError as CaptureClosedError
    from .errors import CapturePermissionError as CapturePermissionError
    from .errors import DeviceGoneError as DeviceGoneError
    from .errors import DeviceNotFoundError as DeviceNotFoundError
    from .errors import DumpError as DumpError
    from .errors import FilterError as FilterError
    from .errors import LibraryError as LibraryError
    from .errors import MissingFunctionError as MissingFunctionError
    from .errors import PcapError as PcapError
    from .errors import SavefileError as SavefileError
    from .errors import ZeroCopyUnavailableError as ZeroCopyUnavailableError
    from .fanout import Fanout as Fanout
    from .live import open_live as open_live
    from .rotation import Rotating as Rotating
    from .rotation import Rotation as Rotation
    from .savefile import open_offline as open_offline
    from .workers import Workers as Workers

__version__ = "0.1.0"

_MODULES = ("libpcap", "zerocopy")
_NAMES = {
    "block": ("Block", "Header", "Headers"),
    "capture": ("Capture",),
    "counters": ("Stats",),
    "dumper": ("Dumper",),
    "errors": (
        "BlockInUseError",
        "BlockReleasedError",
        "CaptureClosedError",
        "CapturePermissionError",
        "DeviceGoneError",
        "DeviceNotFoundError",
        "DumpError",
        "FilterError",
        "LibraryError",
        "MissingFunctionError",
        "PcapError",
        "SavefileError",
        "ZeroCopyUnavailableError",
    ),
    "fanout": ("Fanout",),
    "live": ("open_live",),
    "rotation": ("Rotating", "Rotation"),
    "savefile": ("open_offline",),
    "workers": ("Workers",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["Address", "Device", "devices", *_MODULES, *_HOME]  # noqa: PLE0604 - all are str


def __getattr__(name: str) -> object:
    """Import a name's module when the name is first used: most programs need few of them."""
    if name in _HOME:
        module = import_module(f".{_HOME[name]}", __name__)
        value = globals()[name] = getattr(module, name)
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
