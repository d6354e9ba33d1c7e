"""libpcap's C API under its C names: functions, types and constants.

    from pypcapzc import libpcap

    errbuf = libpcap.error_buffer()
    handle = libpcap.pcap_create(b"lo", errbuf)

Importing this, and looking a name up, loads no library: the first call does.  A function that the loaded
library lacks is there all the same, and raises MissingFunctionError when it is called.
"""

from __future__ import annotations

from ..constants import *  # noqa: F403 - the constants are part of the C API
from ..datalinks import *  # noqa: F403
from ..linktypes import *  # noqa: F403
from . import loader
from .loader import Function as Function
from .loader import Library as Library
from .loader import load as load
from .loader import use as use
from .packets import *  # noqa: F403
from .prototypes import PROTOTYPES as PROTOTYPES
from .prototypes import Fails as Fails
from .prototypes import Prototype as Prototype
from .types import *  # noqa: F403


def library() -> Library:
    """The library that this process uses; loads it on first use."""
    return loader.current()


def __getattr__(name: str) -> loader.Function:
    if name in PROTOTYPES:
        # Into the module's own names, so that the next look-up does not come here.
        found = globals()[name] = loader.function(name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, and libpcap has no such function")


def __dir__() -> list[str]:
    return sorted({*globals(), *PROTOTYPES})
