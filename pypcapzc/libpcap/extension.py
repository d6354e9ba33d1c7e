"""The symbols that the zero-copy patch adds to libpcap (pcap/zc.h), all named ``pcap_zc_*``.

The presence of ``pcap_zc_abi`` is what tells a patched library: not its version, which stock libpcap shares.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int, c_void_p
from typing import Any

from .loader import Library, current
from .types import pcap_t

_P = POINTER(pcap_t)

#: restype and argtypes of each; blocks and infos are passed by address.
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "pcap_zc_abi": (c_int, ()),
    "pcap_zc_set_mode": (c_int, (_P, c_int)),
    "pcap_zc_info": (c_int, (_P, c_void_p)),
    "pcap_zc_next": (c_int, (_P, c_void_p, c_int)),
    "pcap_zc_release": (c_int, (_P, c_void_p)),
    "pcap_zc_wakeup": (c_int, (_P,)),
}


def abi(library: Library | None = None) -> int | None:
    """The version of the patch's interface in a library (by default the process's), None if it is stock."""
    library = current() if library is None else library
    if not library.has("pcap_zc_abi"):
        return None
    restype, argtypes = PROTOTYPES["pcap_zc_abi"]
    return int(ctypes.CFUNCTYPE(restype, *argtypes)(("pcap_zc_abi", library.cdll))())
