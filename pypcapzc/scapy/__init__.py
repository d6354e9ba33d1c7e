"""scapy's captures on pypcapzc: ``enable()`` before ``sniff()``, and nothing else changes.

    import pypcapzc.scapy

    pypcapzc.scapy.enable()

scapy itself is imported when it is needed.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from .options import Mode, Options

if TYPE_CHECKING:
    from .enabling import Enabled as Enabled
    from .sockets import ZeroCopyListenSocket as ZeroCopyListenSocket
    from .sockets import ZeroCopySocket as ZeroCopySocket

_SOCKETS = ("ZeroCopyListenSocket", "ZeroCopySocket")


def enable(
    *,
    buffer_size: int | None = None,
    snaplen: int = 262144,
    timeout_ms: int = 50,
    mode: Mode = "auto",
    lazy: bool = True,
    immediate: bool | None = None,
) -> Enabled:
    """Let scapy capture with pypcapzc: ``sniff()``, AsyncSniffer and everything that sends at layer 2.

    buffer_size   bytes of the kernel's buffer of each device; None: 60 MiB where scapy listens, 16 MiB where
                  it sends and listens
    snaplen       bytes kept of each packet
    timeout_ms    how long the kernel may hold a partly filled block: how late packets of an idle link come
    mode          as in open_live()
    lazy          packets are dissected when they are first looked into
    immediate     True: packets come at once (lent blocks: within 1 ms), at a price under load; None: within
                  4 ms on sockets that send, since somebody waits for the answer; False: after timeout_ms

    Sockets that are open stay as they are.  A second call changes the options.  What comes back can be used
    in a ``with`` statement, which restores what was before.  Raises ImportError without scapy, ValueError for
    an option out of range.
    """
    options = Options(buffer_size, snaplen, timeout_ms, mode, lazy, immediate)
    _require_scapy()
    from . import enabling

    return enabling.enable(options)


def disable() -> None:
    """Give scapy back what enable() replaced, whatever it was; sockets that are open stay as they are."""
    from importlib import import_module
    from sys import modules

    if f"{__name__}.enabling" in modules:
        import_module(f"{__name__}.enabling").disable()


def _require_scapy() -> None:
    try:
        found = importlib.util.find_spec("scapy.sendrecv")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ImportError("pypcapzc.scapy needs scapy: pip install 'pypcapzc[scapy]'")


def __getattr__(name: str) -> Any:
    if name in _SOCKETS:
        _require_scapy()
        from . import sockets

        return getattr(sockets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
