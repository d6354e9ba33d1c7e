"""The symbols that the zero-copy patch adds to libpcap (pcap/zc.h), all named ``pcap_zc_*``.

The presence of ``pcap_zc_abi`` is what tells a patched library: not its version, which stock libpcap shares.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char, c_int, c_int32, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar

from .loader import Library, current
from .types import pcap_t

ABI = 1
"""The interface that this module speaks."""

PCAP_ERROR_ZC_HELD = -1000
"""The block that would be next is lent."""
PCAP_ERROR_ZC_NOTSUP = -1001
"""This handle cannot lend; pcap_zc_info() says why."""

PCAP_ERROR_ZC_EOF = -1002
"""The savefile has ended."""

PCAP_ZC_MODE_AUTO, PCAP_ZC_MODE_BUFFERED, PCAP_ZC_MODE_REQUIRED = range(3)

MECHANISMS = ("none", "bpf_zbuf", "bpf_read", "tpacket_v3", "savefile")
"""The names of PCAP_ZC_MECH_*, in order."""


class pcap_zc_info(Structure):  # noqa: N801
    """What pcap_zc_info() tells; ``size`` is set by the caller, and the structure grows at its end only."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("size", c_uint32),
        ("abi", c_uint32),
        ("mode", c_uint32),
        ("mechanism", c_uint32),
        ("lent", c_uint32),
        ("shared", c_uint32),
        ("block_size", c_uint32),
        ("block_count", c_uint32),
        ("block_timeout", c_uint32),
        ("held", c_uint32),
        ("blocks", c_uint64),
        ("packets", c_uint64),
        ("copied", c_uint64),
        ("kernel_version", c_int32),
        ("kernel_mode", c_int32),
        ("kernel_count", c_uint64),
        ("mapped", c_uint64),
        ("reason", c_char * 256),
    ]


class pcap_zc_block(Structure):  # noqa: N801
    """A block that is lent: ``count`` packets in ``length`` bytes at ``base``, and their index."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("base", c_void_p),
        ("index", c_void_p),
        ("cookie", c_uint64),
        ("length", c_uint32),
        ("count", c_uint32),
        ("slot", c_uint32),
        ("flags", c_uint32),
    ]


_P = POINTER(pcap_t)

#: restype and argtypes of each.
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "pcap_zc_abi": (c_int, ()),
    "pcap_zc_set_mode": (c_int, (_P, c_int)),
    "pcap_zc_set_block_size": (c_int, (_P, c_uint)),
    "pcap_zc_set_block_timeout": (c_int, (_P, c_int)),
    "pcap_zc_info": (c_int, (_P, POINTER(pcap_zc_info))),
    "pcap_zc_next": (c_int, (_P, POINTER(pcap_zc_block), c_int)),
    "pcap_zc_next_viewed": (c_int, (_P, POINTER(pcap_zc_block), c_int, c_void_p, c_void_p)),
    "pcap_zc_release": (c_int, (_P, POINTER(pcap_zc_block))),
    "pcap_zc_wakeup": (c_int, (_P,)),
}


class Extension:
    """The patch's functions in one library, as attributes."""

    def __init__(self, library: Library) -> None:
        for name, (restype, argtypes) in PROTOTYPES.items():
            if library.has(name):
                setattr(self, name, ctypes.CFUNCTYPE(restype, *argtypes)((name, library.cdll)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this libpcap has no {name}")

    def addresses(self, *names: str) -> list[int | None]:
        """Where functions are, None of one that this libpcap has not."""
        found = (getattr(self, name, None) for name in names)
        return [ctypes.cast(each, c_void_p).value if each is not None else None for each in found]

    def info(self, pcap: Any) -> pcap_zc_info:
        """What a handle does (pcap_zc_info(3PCAP))."""
        info = pcap_zc_info(size=ctypes.sizeof(pcap_zc_info))
        self.pcap_zc_info(pcap, ctypes.byref(info))
        return info


def abi(library: Library | None = None) -> int | None:
    """The version of the patch's interface in a library (by default the process's), None if it is stock."""
    library = current() if library is None else library
    if not library.has("pcap_zc_abi"):
        return None
    return int(Extension(library).pcap_zc_abi())


def of(library: Library) -> Extension | None:
    """The patch's functions, None where the library is stock or speaks another version of the interface."""
    return Extension(library) if abi(library) == ABI else None
