"""Puts the stand-ins in the place of the modules whose names they go by, and scapy's captures on pypcapzc."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from .settings import MODES, Mode, settings

STAND_INS = ("pcap", "pcapy", "pylibpcap")
"""pypcap's and pcap-ct's, pcapy-ng's, and python-libpcap's module."""

_SCAPY_CAPTURES = "scapy.sendrecv"
"""The module of scapy that brings sniff(), and imports what brings the sockets."""


def install(*, buffer_size: int | None = None, mode: Mode = "auto", summary: bool = False) -> None:
    """From now on ``import pcap``, ``pcapy`` and ``pylibpcap`` give the stand-ins, and scapy captures here.

    buffer_size   bytes of the kernel's buffer of each device that is opened, whatever the program asks for
    mode          as in open_live()
    summary       say at the end, on standard error, what was captured and lost

    What was imported before stays as it is: call this first.  A module of such a name in the program's own
    folder goes before, as it does with installed libraries.  Raises ValueError for what is no mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it is one of {', '.join(MODES)}")
    settings.buffer_size, settings.mode, settings.summary = buffer_size, mode, summary
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Undo it for modules that are not imported yet."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


class _Finder(MetaPathFinder, Loader):
    """Finds the stand-ins, and notices when scapy is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, _ = fullname.partition(".")
        if top in STAND_INS:
            return self._stand_in(fullname, top)
        return _scapy(fullname, path) if fullname == _SCAPY_CAPTURES else None

    def _stand_in(self, fullname: str, top: str) -> ModuleSpec | None:
        if fullname == top:
            if _is_the_programs_own(top):
                return None
        elif getattr(sys.modules.get(top), "__name__", None) != f"{__package__}.{top}":
            return None
        if importlib.util.find_spec(f"{__package__}.{fullname}") is None:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """The stand-in itself takes the place of the module that the import system made."""
        sys.modules[module.__name__] = importlib.import_module(f"{__package__}.{module.__name__}")


_FINDER = _Finder()


def _is_the_programs_own(name: str) -> bool:
    """Python source in the folder that the program itself was started from."""
    found = PathFinder.find_spec(name, sys.path[:1]) if sys.path else None
    return found is not None and isinstance(found.loader, SourceFileLoader)


def _scapy(fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """scapy's own module, with our sockets in place as soon as it is loaded."""
    found = PathFinder.find_spec(fullname, path)
    if found is not None and found.loader is not None:
        found.loader = _EnablingLoader(found.loader)
    return found


class _EnablingLoader(Loader):
    """Loads a module as its own loader does, and then enables the backend for scapy."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The loader's own."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, then enable."""
        self._loader.exec_module(module)
        scapy = importlib.import_module("pypcapzc.scapy")
        wanted = {"buffer_size": settings.buffer_size} if settings.buffer_size is not None else {}
        scapy.enable(mode=settings.mode, **wanted)
        if settings.summary:
            opening = importlib.import_module("pypcapzc.compat.opening")
            options = importlib.import_module("pypcapzc.scapy.options")
            options.Current.watch = options.Watch(opening.open_ones.add, opening.settle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # get_source() and the like
