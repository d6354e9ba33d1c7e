"""The data types of libpcap's public headers as ctypes classes, under their C names.

Everything lies here as the C compiler of this system lays it out.  The headers inside packets (sll.h,
usb.h and so on) are in packets.py.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_long,
    c_size_t,
    c_ssize_t,
    c_ubyte,
    c_uint,
    c_uint8,
    c_uint16,
    c_uint32,
    c_ushort,
    c_void_p,
)
from typing import TYPE_CHECKING, Any, ClassVar

from ..constants import PCAP_ERRBUF_SIZE, pcap_direction_t

__all__ = [
    "FILE_p",
    "PAirpcapHandle",
    "PCAP_SOCKET",
    "addrinfo",
    "bpf_aux_data",
    "bpf_insn",
    "bpf_int32",
    "bpf_program",
    "bpf_u_int32",
    "char_buffer",
    "error_buffer",
    "in6_addr",
    "in_addr",
    "pcap",
    "pcap_addr",
    "pcap_addr_t",
    "pcap_direction_t",
    "pcap_dumper",
    "pcap_dumper_t",
    "pcap_etherent",
    "pcap_file_header",
    "pcap_handler",
    "pcap_if",
    "pcap_if_t",
    "pcap_pkthdr",
    "pcap_rmtauth",
    "pcap_samp",
    "pcap_send_queue",
    "pcap_stat",
    "pcap_t",
    "sockaddr",
    "sockaddr_dl",
    "sockaddr_in",
    "sockaddr_in6",
    "sockaddr_ll",
    "timeval",
]

if TYPE_CHECKING:
    from ctypes import Array

# The list of fields in the form that ctypes wants and mypy accepts.
_Fields = list[tuple[str, Any]]

bpf_int32 = c_int
bpf_u_int32 = c_uint

#: ``FILE *``: the C library's own; only ever handed through.
FILE_p = c_void_p
#: ``PAirpcapHandle`` and ``HANDLE`` of Windows.
PAirpcapHandle = c_void_p
HANDLE = c_void_p
intptr_t = c_ssize_t


class char_buffer:  # noqa: N801
    """``char *`` that the function writes to: a ctypes array of char, a pointer, or None.

    Only for argtypes.  ctypes' own pointer to char would also take a ``bytes``, and have it written to.
    """

    _pointer: ClassVar[Any] = POINTER(c_char)

    @classmethod
    def from_param(cls, value: Any) -> Any:
        """What ctypes calls with the argument."""
        if isinstance(value, bytes):
            raise TypeError("bytes cannot be written to; use error_buffer() or ctypes.create_string_buffer()")
        return cls._pointer.from_param(value)


#: ``PCAP_SOCKET`` (pcap/socket.h): a file descriptor, or on Windows a SOCKET.
PCAP_SOCKET: type[c_int] | type[c_size_t] = c_size_t if sys.platform == "win32" else c_int


def error_buffer() -> Array[c_char]:
    """A fresh buffer for the functions that take an ``errbuf``; its text is in ``.value``."""
    return ctypes.create_string_buffer(PCAP_ERRBUF_SIZE)


# --- the system's own structures -----------------------------------------------------------------------


def _time_types() -> tuple[type[Any], type[Any]]:
    """The types of ``timeval``'s two fields, as this system's C library has them today.

    On 64-bit systems time_t is a long.  Where pointers have 32 bits it depends: Python knows how wide
    its own time_t is (ctypes.c_time_t since 3.12, before that in its build configuration), and a libpcap
    of the same system has the same one.
    """
    system: str = sys.platform  # a plain str, so that type checkers look at every branch
    if system == "win32":
        return c_long, c_long
    if ctypes.sizeof(c_void_p) == 8:
        seconds: type[Any] = c_long
    elif hasattr(ctypes, "c_time_t"):
        seconds = ctypes.c_time_t
    else:
        import sysconfig

        seconds = ctypes.c_int64 if sysconfig.get_config_var("SIZEOF_TIME_T") == 8 else c_int32
    if system == "darwin" or system.startswith("netbsd"):
        return seconds, c_int32  # suseconds_t is an int there
    if system.startswith("linux"):
        # glibc's __suseconds64_t and musl's suseconds_t are as wide as their time_t.
        return seconds, seconds
    return seconds, c_long


_time_t, _suseconds_t = _time_types()


class timeval(Structure):  # noqa: N801
    """<sys/time.h>; with nanosecond precision libpcap puts nanoseconds into ``tv_usec``."""

    _fields_: ClassVar[_Fields] = [("tv_sec", _time_t), ("tv_usec", _suseconds_t)]


# The BSDs' and macOS' socket addresses begin with their length, which leaves 8 bits for the family.
_HAS_SA_LEN = not sys.platform.startswith(("linux", "win32", "cygwin", "sunos", "android"))


def _family(prefix: str) -> _Fields:
    if _HAS_SA_LEN:
        return [(f"{prefix}_len", c_uint8), (f"{prefix}_family", c_uint8)]
    return [(f"{prefix}_family", c_ushort)]


class sockaddr(Structure):  # noqa: N801
    """<sys/socket.h>: look at ``sa_family``, then cast to one of those below."""

    _fields_: ClassVar[_Fields] = [*_family("sa"), ("sa_data", c_uint8 * 14)]


class in_addr(Structure):  # noqa: N801
    """<netinet/in.h>; ``bytes(address)`` is what socket.inet_ntop takes."""

    _fields_: ClassVar[_Fields] = [("s_addr", c_uint32)]


class in6_addr(Structure):  # noqa: N801
    """<netinet/in.h>."""

    _fields_: ClassVar[_Fields] = [("s6_addr", c_uint8 * 16)]


class sockaddr_in(Structure):  # noqa: N801
    """<netinet/in.h>; port and address in network order."""

    _fields_: ClassVar[_Fields] = [
        *_family("sin"),
        ("sin_port", c_uint16),
        ("sin_addr", in_addr),
        ("sin_zero", c_uint8 * 8),
    ]


class sockaddr_in6(Structure):  # noqa: N801
    """<netinet/in.h>."""

    _fields_: ClassVar[_Fields] = [
        *_family("sin6"),
        ("sin6_port", c_uint16),
        ("sin6_flowinfo", c_uint32),
        ("sin6_addr", in6_addr),
        ("sin6_scope_id", c_uint32),
    ]


class sockaddr_ll(Structure):  # noqa: N801
    """<linux/if_packet.h> (AF_PACKET): a link-layer address on Linux."""

    _fields_: ClassVar[_Fields] = [
        ("sll_family", c_ushort),
        ("sll_protocol", c_uint16),
        ("sll_ifindex", c_int),
        ("sll_hatype", c_ushort),
        ("sll_pkttype", c_ubyte),
        ("sll_halen", c_ubyte),
        ("sll_addr", c_ubyte * 8),
    ]


# <net/if_dl.h>: the last field is as long as sdl_len says; this is what the headers declare.
_SDL_DATA = 46 if sys.platform.startswith("freebsd") else 24 if "bsd" in sys.platform else 12


class sockaddr_dl(Structure):  # noqa: N801
    """<net/if_dl.h> (AF_LINK): a link-layer address on BSD and macOS, after ``sdl_nlen`` bytes of name."""

    _fields_: ClassVar[_Fields] = [
        ("sdl_len", c_uint8),
        ("sdl_family", c_uint8),
        ("sdl_index", c_uint16),
        ("sdl_type", c_uint8),
        ("sdl_nlen", c_uint8),
        ("sdl_alen", c_uint8),
        ("sdl_slen", c_uint8),
        ("sdl_data", c_uint8 * _SDL_DATA),
    ]


class addrinfo(Structure):  # noqa: N801
    """<netdb.h>, for ``pcap_nametoaddrinfo``; the result is freed with the C library's freeaddrinfo."""


# The canonical name comes first, but not on Linux and OpenBSD.
_TAIL: _Fields = [("ai_canonname", c_char_p), ("ai_addr", POINTER(sockaddr))]
addrinfo._fields_ = [
    ("ai_flags", c_int),
    ("ai_family", c_int),
    ("ai_socktype", c_int),
    ("ai_protocol", c_int),
    ("ai_addrlen", c_size_t if sys.platform == "win32" else c_uint32),
    *(_TAIL[::-1] if sys.platform.startswith(("linux", "android", "openbsd")) else _TAIL),
    ("ai_next", POINTER(addrinfo)),
]


# --- pcap/pcap.h ---------------------------------------------------------------------------------------


class pcap(Structure):  # noqa: N801
    """A capture handle.  Opaque: libpcap keeps its insides to itself."""


class pcap_dumper(Structure):  # noqa: N801
    """A savefile being written.  Opaque."""


pcap_t = pcap
pcap_dumper_t = pcap_dumper


class pcap_file_header(Structure):  # noqa: N801
    """The first 24 bytes of a savefile, in the byte order of the machine that wrote it.

    The upper 16 bits of ``linktype`` may hold the length of the frame check sequence.  ``thiszone`` and
    ``sigfigs`` are unused.
    """

    _fields_: ClassVar[_Fields] = [
        ("magic", bpf_u_int32),
        ("version_major", c_ushort),
        ("version_minor", c_ushort),
        ("thiszone", bpf_int32),
        ("sigfigs", bpf_u_int32),
        ("snaplen", bpf_u_int32),
        ("linktype", bpf_u_int32),
    ]


class pcap_pkthdr(Structure):  # noqa: N801
    """What libpcap says of a packet: ``caplen`` bytes are present of the ``len`` that were on the wire."""

    _fields_: ClassVar[_Fields] = [("ts", timeval), ("caplen", bpf_u_int32), ("len", bpf_u_int32)]


_WINDOWS_COUNTERS: _Fields = [("ps_capt", c_uint), ("ps_sent", c_uint), ("ps_netdrop", c_uint)]


class pcap_stat(Structure):  # noqa: N801
    """Counters, 32 bits wide; they wrap."""

    _fields_: ClassVar[_Fields] = [
        ("ps_recv", c_uint),
        ("ps_drop", c_uint),
        ("ps_ifdrop", c_uint),
        *(_WINDOWS_COUNTERS if sys.platform == "win32" else []),
    ]


class pcap_addr(Structure):  # noqa: N801
    """One address of a device, in a linked list; each but ``next`` may be NULL."""


pcap_addr._fields_ = [
    ("next", POINTER(pcap_addr)),
    ("addr", POINTER(sockaddr)),
    ("netmask", POINTER(sockaddr)),
    ("broadaddr", POINTER(sockaddr)),
    ("dstaddr", POINTER(sockaddr)),
]


class pcap_if(Structure):  # noqa: N801
    """One device, in the linked list that ``pcap_findalldevs`` makes."""


pcap_if._fields_ = [
    ("next", POINTER(pcap_if)),
    ("name", c_char_p),
    ("description", c_char_p),
    ("addresses", POINTER(pcap_addr)),
    ("flags", bpf_u_int32),
]

pcap_if_t = pcap_if
pcap_addr_t = pcap_addr

#: What ``pcap_loop`` and ``pcap_dispatch`` call: (user, header, data).  The data arrive as an address.
pcap_handler = ctypes.CFUNCTYPE(None, c_void_p, POINTER(pcap_pkthdr), c_void_p)


class pcap_rmtauth(Structure):  # noqa: N801
    """How to log in to a remote capture daemon."""

    _fields_: ClassVar[_Fields] = [("type", c_int), ("username", c_char_p), ("password", c_char_p)]


class pcap_samp(Structure):  # noqa: N801
    """Sampling: a PCAP_SAMP_* method and its value."""

    _fields_: ClassVar[_Fields] = [("method", c_int), ("value", c_int)]


class pcap_send_queue(Structure):  # noqa: N801
    """Packets waiting to be sent (Windows)."""

    _fields_: ClassVar[_Fields] = [("maxlen", c_uint), ("len", c_uint), ("buffer", POINTER(c_char))]


# --- pcap/bpf.h, pcap/namedb.h -------------------------------------------------------------------------


class bpf_insn(Structure):  # noqa: N801
    """One instruction of a filter program."""

    _fields_: ClassVar[_Fields] = [("code", c_ushort), ("jt", c_ubyte), ("jf", c_ubyte), ("k", bpf_u_int32)]


class bpf_program(Structure):  # noqa: N801
    """A compiled filter; what ``pcap_compile`` has put there is freed with ``pcap_freecode``."""

    _fields_: ClassVar[_Fields] = [("bf_len", c_uint), ("bf_insns", POINTER(bpf_insn))]


class bpf_aux_data(Structure):  # noqa: N801
    """The VLAN tag beside a packet, for ``bpf_filter_with_aux_data`` (libpcap 1.7 to 1.9.0)."""

    _fields_: ClassVar[_Fields] = [("vlan_tag_present", c_ushort), ("vlan_tag", c_ushort)]


class pcap_etherent(Structure):  # noqa: N801
    """One line of /etc/ethers."""

    _fields_: ClassVar[_Fields] = [("addr", c_ubyte * 6), ("name", c_char * 122)]
