"""Every public function of libpcap up to 1.11: one row each.

``since`` is the first release that has the function: the first upstream tag that defines it, "0.4" where
it is older than the tags, and for functions that older tags had under another signature the first release
with this one.  ``fails`` is how a caller tells that a call failed (the functions' man pages).

Two rules make the types: a ``char *`` that the function only reads, or returns, is ``c_char_p``, and one
that it writes to is a ``char_buffer``, which refuses an immutable ``bytes``.  Bytes of packets and ``user``
arguments are ``c_void_p``, which takes bytes, arrays and addresses alike.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_long,
    c_size_t,
    c_ubyte,
    c_uint,
    c_ulong,
    c_void_p,
)
from typing import Any, NamedTuple

from . import types as t


class Fails(enum.Enum):
    """How a function says that it failed."""

    NEVER = "never"
    STATUS = "a negative PCAP_ERROR_*; for PCAP_ERROR the text is in pcap_geterr"
    STATUS_OR_WARNING = "a negative PCAP_ERROR_*; a positive PCAP_WARNING_* is success with a remark"
    STATUS_ERRBUF = "a negative PCAP_ERROR_*, and the text in errbuf"
    MINUS_ONE = "-1, without a text"
    ZERO = "0"
    NULL = "NULL, without a text"
    NULL_ERRBUF = "NULL, and the text in errbuf"
    NULL_GETERR = "NULL, and the text in pcap_geterr"


class Prototype(NamedTuple):
    """One C function."""

    name: str
    restype: Any
    argtypes: tuple[Any, ...]
    since: str
    fails: Fails
    platform: str | None = None
    """The only systems that have it: ``win32``, ``linux``, ``unix`` or ``msdos``; None for all."""
    until: str | None = None
    """The last release that has it, where it was taken out again."""
    remote: bool = False
    """Before 1.11 only in a libpcap that was built with --enable-remote."""

    def on_this_platform(self) -> bool:
        """Whether libpcap declares the function on this system."""
        if self.platform == "unix":
            return sys.platform != "win32"
        return self.platform is None or sys.platform.startswith(self.platform)


_P = POINTER(t.pcap_t)
_DUMPER = POINTER(t.pcap_dumper_t)
_HDR = POINTER(t.pcap_pkthdr)
_PROG = POINTER(t.bpf_program)
_INSN = POINTER(t.bpf_insn)
_IF = POINTER(t.pcap_if_t)
_AUTH = POINTER(t.pcap_rmtauth)
_QUEUE = POINTER(t.pcap_send_queue)
_OUT = t.char_buffer
_INT = POINTER(c_int)
_BYTES = POINTER(c_ubyte)
_U32 = t.bpf_u_int32


def _row(
    name: str, restype: Any, argtypes: Iterable[Any], since: str, fails: Fails, **more: Any
) -> Prototype:
    return Prototype(name, restype, tuple(argtypes), since, fails, **more)


F = Fails

_DEVICES = [
    _row("pcap_init", c_int, [c_uint, _OUT], "1.10.0", F.STATUS_ERRBUF),
    _row("pcap_lookupdev", c_char_p, [_OUT], "0.4", F.NULL_ERRBUF),
    _row("pcap_lookupnet", c_int, [c_char_p, POINTER(_U32), POINTER(_U32), _OUT], "0.4", F.STATUS_ERRBUF),
    _row("pcap_findalldevs", c_int, [POINTER(_IF), _OUT], "0.7.1", F.STATUS_ERRBUF),
    _row("pcap_freealldevs", None, [_IF], "0.7.1", F.NEVER),
    _row("pcap_lib_version", c_char_p, [], "0.8.1", F.NEVER),
]

_OPENING = [
    _row("pcap_create", _P, [c_char_p, _OUT], "1.0.0", F.NULL_ERRBUF),
    _row("pcap_set_snaplen", c_int, [_P, c_int], "1.0.0", F.STATUS),
    _row("pcap_set_promisc", c_int, [_P, c_int], "1.0.0", F.STATUS),
    _row("pcap_can_set_rfmon", c_int, [_P], "1.0.0", F.STATUS),
    _row("pcap_set_rfmon", c_int, [_P, c_int], "1.0.0", F.STATUS),
    _row("pcap_set_timeout", c_int, [_P, c_int], "1.0.0", F.STATUS),
    _row("pcap_set_tstamp_type", c_int, [_P, c_int], "1.2.1", F.STATUS_OR_WARNING),
    _row("pcap_set_immediate_mode", c_int, [_P, c_int], "1.5.0", F.STATUS),
    _row("pcap_set_buffer_size", c_int, [_P, c_int], "1.0.0", F.STATUS),
    _row("pcap_set_tstamp_precision", c_int, [_P, c_int], "1.5.0", F.STATUS),
    _row("pcap_get_tstamp_precision", c_int, [_P], "1.5.0", F.NEVER),
    _row("pcap_set_protocol_linux", c_int, [_P, c_int], "1.9.0", F.STATUS, platform="linux"),
    _row("pcap_activate", c_int, [_P], "1.0.0", F.STATUS_OR_WARNING),
    _row("pcap_list_tstamp_types", c_int, [_P, POINTER(_INT)], "1.2.1", F.STATUS),
    _row("pcap_free_tstamp_types", None, [_INT], "1.2.1", F.NEVER),
    _row("pcap_tstamp_type_name_to_val", c_int, [c_char_p], "1.2.1", F.MINUS_ONE),
    _row("pcap_tstamp_type_val_to_name", c_char_p, [c_int], "1.2.1", F.NULL),
    _row("pcap_tstamp_type_val_to_description", c_char_p, [c_int], "1.2.1", F.NULL),
    _row("pcap_open_live", _P, [c_char_p, c_int, c_int, c_int, _OUT], "0.4", F.NULL_ERRBUF),
    _row("pcap_open_dead", _P, [c_int, c_int], "0.6.1", F.NULL),
    _row("pcap_open_dead_with_tstamp_precision", _P, [c_int, c_int, c_uint], "1.5.0", F.NULL),
    _row("pcap_open_offline", _P, [c_char_p, _OUT], "0.4", F.NULL_ERRBUF),
    _row("pcap_open_offline_with_tstamp_precision", _P, [c_char_p, c_uint, _OUT], "1.5.0", F.NULL_ERRBUF),
    _row("pcap_fopen_offline", _P, [t.FILE_p, _OUT], "0.9.1", F.NULL_ERRBUF, platform="unix"),
    _row(
        "pcap_fopen_offline_with_tstamp_precision",
        _P,
        [t.FILE_p, c_uint, _OUT],
        "1.5.0",
        F.NULL_ERRBUF,
        platform="unix",
    ),
    _row("pcap_close", None, [_P], "0.4", F.NEVER),
]

_READING = [
    _row("pcap_loop", c_int, [_P, c_int, t.pcap_handler, c_void_p], "0.4", F.STATUS),
    _row("pcap_dispatch", c_int, [_P, c_int, t.pcap_handler, c_void_p], "0.4", F.STATUS),
    _row("pcap_next", _BYTES, [_P, _HDR], "0.4", F.NULL),
    _row("pcap_next_ex", c_int, [_P, POINTER(_HDR), POINTER(_BYTES)], "0.8.1", F.STATUS),
    _row("pcap_breakloop", None, [_P], "0.8.1", F.NEVER),
    _row("pcap_stats", c_int, [_P, POINTER(t.pcap_stat)], "0.4", F.STATUS),
    _row("pcap_setdirection", c_int, [_P, c_int], "0.9.1", F.STATUS),
    _row("pcap_getnonblock", c_int, [_P, _OUT], "0.7.1", F.STATUS_ERRBUF),
    _row("pcap_setnonblock", c_int, [_P, c_int, _OUT], "0.7.1", F.STATUS_ERRBUF),
    _row("pcap_inject", c_int, [_P, c_void_p, c_size_t], "0.9.1", F.STATUS),
    _row("pcap_sendpacket", c_int, [_P, c_void_p, c_int], "0.8.1", F.STATUS),
    _row("pcap_get_selectable_fd", c_int, [_P], "0.8.1", F.MINUS_ONE, platform="unix"),
    _row(
        "pcap_get_required_select_timeout", POINTER(t.timeval), [_P], "1.9.0", F.NEVER, platform="unix"
    ),  # NULL means that none is required
]

_HANDLE = [
    _row("pcap_statustostr", c_char_p, [c_int], "1.0.0", F.NEVER),
    _row("pcap_strerror", c_char_p, [c_int], "0.4", F.NEVER),
    _row("pcap_geterr", c_char_p, [_P], "0.4", F.NEVER),
    _row("pcap_perror", None, [_P, c_char_p], "0.4", F.NEVER),
    _row("pcap_datalink", c_int, [_P], "0.4", F.STATUS),
    _row("pcap_datalink_ext", c_int, [_P], "1.0.0", F.STATUS),
    _row("pcap_list_datalinks", c_int, [_P, POINTER(_INT)], "0.8.1", F.STATUS),
    _row("pcap_set_datalink", c_int, [_P, c_int], "0.8.1", F.STATUS),
    _row("pcap_free_datalinks", None, [_INT], "1.0.0", F.NEVER),
    _row("pcap_datalink_name_to_val", c_int, [c_char_p], "0.8.1", F.MINUS_ONE),
    _row("pcap_datalink_val_to_name", c_char_p, [c_int], "0.8.1", F.NULL),
    _row("pcap_datalink_val_to_description", c_char_p, [c_int], "0.8.1", F.NULL),
    _row("pcap_datalink_val_to_description_or_dlt", c_char_p, [c_int], "1.9.1", F.NEVER),
    _row("pcap_snapshot", c_int, [_P], "0.4", F.STATUS),
    _row("pcap_is_swapped", c_int, [_P], "0.4", F.STATUS),
    _row("pcap_major_version", c_int, [_P], "0.4", F.STATUS),
    _row("pcap_minor_version", c_int, [_P], "0.4", F.STATUS),
    _row("pcap_bufsize", c_int, [_P], "1.9.0", F.STATUS),
    _row("pcap_file", t.FILE_p, [_P], "0.4", F.NULL),
    _row("pcap_fileno", c_int, [_P], "0.4", F.MINUS_ONE),
]

_FILTERS = [
    _row("pcap_compile", c_int, [_P, _PROG, c_char_p, c_int, _U32], "0.4", F.STATUS),
    _row("pcap_compile_nopcap", c_int, [c_int, c_int, _PROG, c_char_p, c_int, _U32], "0.5", F.MINUS_ONE),
    _row("pcap_setfilter", c_int, [_P, _PROG], "0.4", F.STATUS),
    _row("pcap_freecode", None, [_PROG], "0.6.1", F.NEVER),
    _row("pcap_offline_filter", c_int, [_PROG, _HDR, c_void_p], "1.0.0", F.NEVER),
    _row("bpf_filter", c_uint, [_INSN, c_void_p, c_uint, c_uint], "0.4", F.NEVER),
    _row(
        "bpf_filter_with_aux_data",
        c_uint,
        [_INSN, c_void_p, c_uint, c_uint, POINTER(t.bpf_aux_data)],
        "1.7.0",
        F.NEVER,
        until="1.9.0",
    ),
    _row("bpf_validate", c_int, [_INSN, c_int], "0.6.1", F.ZERO),
    _row("bpf_image", c_char_p, [_INSN, c_int], "0.4", F.NEVER),
    _row("bpf_dump", None, [_PROG, c_int], "0.6.1", F.NEVER),
]

_SAVEFILES = [
    _row("pcap_dump_open", _DUMPER, [_P, c_char_p], "0.4", F.NULL_GETERR),
    _row("pcap_dump_fopen", _DUMPER, [_P, t.FILE_p], "0.9.1", F.NULL_GETERR, platform="unix"),
    _row("pcap_dump_open_append", _DUMPER, [_P, c_char_p], "1.7.2", F.NULL_GETERR),
    _row("pcap_dump_file", t.FILE_p, [_DUMPER], "0.8.1", F.NEVER),
    _row("pcap_dump_ftell", c_long, [_DUMPER], "0.9.1", F.MINUS_ONE),
    _row("pcap_dump_ftell64", c_int64, [_DUMPER], "1.9.0", F.MINUS_ONE),
    _row("pcap_dump_flush", c_int, [_DUMPER], "0.8.1", F.MINUS_ONE),
    _row("pcap_dump_close", None, [_DUMPER], "0.4", F.NEVER),
    # Its first argument is the dumper, as u_char *, so that it can be a pcap_handler itself.
    _row("pcap_dump", None, [c_void_p, _HDR, c_void_p], "0.4", F.NEVER),
]

_REMOTE = [
    _row(
        "pcap_open",
        _P,
        [c_char_p, c_int, c_int, c_int, _AUTH, _OUT],
        "1.9.0",
        F.NULL_ERRBUF,
        remote=True,
    ),
    _row(
        "pcap_createsrcstr",
        c_int,
        [_OUT, c_int, c_char_p, c_char_p, c_char_p, _OUT],
        "1.9.0",
        F.STATUS_ERRBUF,
        remote=True,
    ),
    _row(
        "pcap_parsesrcstr",
        c_int,
        [c_char_p, _INT, _OUT, _OUT, _OUT, _OUT],
        "1.9.0",
        F.STATUS_ERRBUF,
        remote=True,
    ),
    _row(
        "pcap_findalldevs_ex",
        c_int,
        [c_char_p, _AUTH, POINTER(_IF), _OUT],
        "1.9.0",
        F.STATUS_ERRBUF,
        remote=True,
    ),
    _row("pcap_setsampling", POINTER(t.pcap_samp), [_P], "1.9.0", F.NULL_GETERR, remote=True),
    _row(
        "pcap_remoteact_accept",
        t.PCAP_SOCKET,
        [c_char_p, c_char_p, c_char_p, _OUT, _AUTH, _OUT],
        "1.9.0",
        F.STATUS_ERRBUF,
        remote=True,
    ),
    _row(
        "pcap_remoteact_accept_ex",
        t.PCAP_SOCKET,
        [c_char_p, c_char_p, c_char_p, _OUT, _AUTH, c_int, _OUT],
        "1.10.0",
        F.STATUS_ERRBUF,
        remote=True,
    ),
    _row("pcap_remoteact_list", c_int, [_OUT, c_char, c_int, _OUT], "1.9.0", F.STATUS_ERRBUF, remote=True),
    _row("pcap_remoteact_close", c_int, [c_char_p, _OUT], "1.9.0", F.STATUS_ERRBUF, remote=True),
    _row("pcap_remoteact_cleanup", None, [], "1.9.0", F.NEVER, remote=True),
]

_NAMES = [
    _row("pcap_next_etherent", POINTER(t.pcap_etherent), [t.FILE_p], "0.4", F.NULL),
    _row("pcap_ether_hostton", _BYTES, [c_char_p], "0.4", F.NULL),
    _row("pcap_ether_aton", _BYTES, [c_char_p], "0.4", F.NULL),
    _row("pcap_nametoaddr", POINTER(POINTER(_U32)), [c_char_p], "0.4", F.NULL),
    _row("pcap_nametoaddrinfo", POINTER(t.addrinfo), [c_char_p], "0.6.1", F.NULL),
    _row("pcap_nametonetaddr", _U32, [c_char_p], "0.4", F.ZERO),
    _row("pcap_nametoport", c_int, [c_char_p, _INT, _INT], "0.4", F.ZERO),
    _row("pcap_nametoportrange", c_int, [c_char_p, _INT, _INT, _INT], "0.9.1", F.ZERO),
    _row("pcap_nametoproto", c_int, [c_char_p], "0.4", F.MINUS_ONE),
    _row("pcap_nametoeproto", c_int, [c_char_p], "0.4", F.MINUS_ONE),
    _row("pcap_nametollc", c_int, [c_char_p], "0.9.1", F.MINUS_ONE),
]


def _windows(name: str, restype: Any, argtypes: Iterable[Any], since: str, fails: Fails) -> Prototype:
    return _row(name, restype, argtypes, since, fails, platform="win32")


# Windows, and DOS until it was dropped.  Since when: in libpcap's own headers; WinPcap had most before.
_WINDOWS = [
    _windows("pcap_hopen_offline", _P, [t.intptr_t, _OUT], "1.0.0", F.NULL_ERRBUF),
    _windows(
        "pcap_hopen_offline_with_tstamp_precision", _P, [t.intptr_t, c_uint, _OUT], "1.5.0", F.NULL_ERRBUF
    ),
    _windows("pcap_dump_hopen", _DUMPER, [_P, t.intptr_t], "1.9.1", F.NULL_GETERR),
    _windows("pcap_wsockinit", c_int, [], "1.8.0", F.MINUS_ONE),
    _windows("pcap_setbuff", c_int, [_P, c_int], "0.8.1", F.STATUS),
    _windows("pcap_setmode", c_int, [_P, c_int], "0.8.1", F.STATUS),
    _windows("pcap_setmintocopy", c_int, [_P, c_int], "0.8.1", F.STATUS),
    _windows("pcap_getevent", t.HANDLE, [_P], "1.8.0", F.NULL),
    _windows("pcap_oid_get_request", c_int, [_P, _U32, c_void_p, POINTER(c_size_t)], "1.8.0", F.STATUS),
    _windows("pcap_oid_set_request", c_int, [_P, _U32, c_void_p, POINTER(c_size_t)], "1.8.0", F.STATUS),
    _windows("pcap_sendqueue_alloc", _QUEUE, [c_uint], "1.8.0", F.NULL),
    _windows("pcap_sendqueue_destroy", None, [_QUEUE], "1.8.0", F.NEVER),
    _windows("pcap_sendqueue_queue", c_int, [_QUEUE, _HDR, c_void_p], "1.8.0", F.MINUS_ONE),
    _windows("pcap_sendqueue_transmit", c_uint, [_P, _QUEUE, c_int], "1.8.0", F.ZERO),
    _windows("pcap_stats_ex", POINTER(t.pcap_stat), [_P, _INT], "1.8.0", F.NULL_GETERR),
    _windows("pcap_setuserbuffer", c_int, [_P, c_int], "1.8.0", F.STATUS),
    _windows("pcap_live_dump", c_int, [_P, _OUT, c_int, c_int], "1.8.0", F.STATUS),
    _windows("pcap_live_dump_ended", c_int, [_P, c_int], "1.8.0", F.STATUS),
    _windows("pcap_start_oem", c_int, [_OUT, c_int], "1.8.0", F.STATUS_ERRBUF),
    _windows("pcap_get_airpcap_handle", t.PAirpcapHandle, [_P], "1.8.0", F.NULL),
    _row(
        "pcap_set_wait",
        None,
        [_P, CFUNCTYPE(None), c_int],
        "0.9.1",
        F.NEVER,
        platform="msdos",
        until="1.10.6",
    ),
    _row("pcap_mac_packets", c_ulong, [], "0.9.1", F.NEVER, platform="msdos", until="1.10.6"),
]

#: The table: every function by its name.
PROTOTYPES: dict[str, Prototype] = {
    row.name: row
    for rows in (
        _DEVICES,
        _OPENING,
        _READING,
        _HANDLE,
        _FILTERS,
        _SAVEFILES,
        _REMOTE,
        _NAMES,
        _WINDOWS,
    )
    for row in rows
}
