"""Opening a device: pcap_create() to pcap_activate(), with everything that can go wrong said plainly."""

from __future__ import annotations

import ctypes
import os
import warnings
from dataclasses import dataclass
from typing import Any

from .. import platforms
from ..constants import (
    PCAP_ERROR_RFMON_NOTSUP,
    PCAP_ERROR_TSTAMP_PRECISION_NOTSUP,
    PCAP_TSTAMP_PRECISION_NANO,
)
from ..errors import DeviceNotFoundError, PcapError, ZeroCopyUnavailableError
from ..handle import Handle, error_text, failure
from ..libpcap import Library, error_buffer, pcap_if
from ..libpcap.extension import (
    PCAP_ERROR_ZC_NOTSUP,
    PCAP_ZC_MODE_AUTO,
    PCAP_ZC_MODE_BUFFERED,
    PCAP_ZC_MODE_REQUIRED,
    Extension,
)
from .base import Pace, Source, nanoseconds_per_unit
from .patched import PatchedSource
from .stock import StockSource

MAXIMUM_SNAPLEN = 262144
"""pcap-int.h; a larger one libpcap would silently take for this."""
_INT_MAX = 2**31 - 1
_MODES = {"auto": PCAP_ZC_MODE_AUTO, "zerocopy": PCAP_ZC_MODE_REQUIRED, "buffered": PCAP_ZC_MODE_BUFFERED}
_IMMEDIATE_MS = 1
"""Lent blocks in immediate mode come at most so late: TPACKET_V3 has no shorter timer."""
_LARGE_BLOCK = 1 << 20
_LARGE_RING = 64 * _LARGE_BLOCK
"""From so many bytes of buffer on, blocks are larger than libpcap's 256 KiB: a block of large packets has few
of them, and costs as much in Python as one of many."""


@dataclass(frozen=True)
class Options:
    """What pcap_create(3PCAP) and its setters take; sizes in bytes."""

    snaplen: int
    promisc: bool
    timeout_ms: int
    buffer_size: int | None
    immediate: bool
    rfmon: bool
    tstamp_type: str | None
    tstamp_precision: str
    mode: str

    def __post_init__(self) -> None:
        if not 1 <= self.snaplen <= MAXIMUM_SNAPLEN:
            raise ValueError(f"snaplen is {self.snaplen}; it is 1 to {MAXIMUM_SNAPLEN} bytes")
        if self.buffer_size is not None and not 1 <= self.buffer_size <= _INT_MAX:
            raise ValueError(f"buffer_size is {self.buffer_size}; it is 1 to {_INT_MAX} bytes, or None")
        if not 0 <= self.timeout_ms <= _INT_MAX:
            raise ValueError(f"timeout_ms is {self.timeout_ms}; it is 0 to {_INT_MAX} milliseconds")
        if self.tstamp_precision not in ("nano", "micro"):
            raise ValueError(f"tstamp_precision is {self.tstamp_precision!r}; it is 'nano' or 'micro'")
        check_mode(self.mode)


def check_mode(mode: str) -> None:
    """Raise ValueError for what is no mode."""
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}; it is one of {', '.join(_MODES)}")


def open_device(
    c: Library, extension: Extension | None, device: str, options: Options
) -> tuple[Handle, Source]:
    """An activated, non-blocking handle, and where its blocks come from: the patch, where it can lend.

    Raises DeviceNotFoundError, CapturePermissionError, ZeroCopyUnavailableError where the mode asks for
    lent blocks that this device has not, or PcapError with libpcap's message.
    """
    handle = _opened(c, extension, device, options)
    pace = _pace(options)
    # BPF tells that an interface is gone when all packets are out, or never gives the others.
    linger = options.timeout_ms / 1000 + 0.05 if pace is None else 0
    try:
        with handle.borrow() as pcap:
            scale = nanoseconds_per_unit(c, pcap)
            if extension is None and (fd := c.pcap_get_selectable_fd(pcap)) >= 0:
                hangs = platforms.current().hangs_unpatched(fd)
                if hangs is not None:
                    raise PcapError(f"{device}: {c.path} cannot be used: {hangs}")
            lends = extension is not None and options.mode != "buffered" and extension.info(pcap).lent
        if extension is not None and lends:
            return handle, PatchedSource(handle, extension, linger=linger, live=True, pace=pace)
        return handle, StockSource(handle, scale=scale, linger=linger, live=True, pace=pace)
    except BaseException:
        handle.close()
        raise


def _pace(options: Options) -> Pace | None:
    if not platforms.current().yields_partial_buffers:
        return None
    return Pace(_IMMEDIATE_MS / 1000 if options.immediate else options.timeout_ms / 1000)


def _opened(c: Library, extension: Extension | None, device: str, options: Options) -> Handle:
    if not device or "\0" in device:
        raise DeviceNotFoundError(f"no such device: {device!r}; `pypcapzc devices` lists them")
    errbuf = error_buffer()
    pcap = c.pcap_create(os.fsencode(device), errbuf)
    if not pcap:
        raise PcapError(f"{device}: {errbuf.value.decode(errors='replace')}")
    try:
        _configure(c, pcap, device, options)
        if extension is not None:
            extension.pcap_zc_set_mode(pcap, _MODES[options.mode])
            # On BPF it would be the size of each of the two buffers, of which buffer_size says enough.
            if (options.buffer_size or 0) >= _LARGE_RING and not platforms.current().yields_partial_buffers:
                extension.pcap_zc_set_block_size(pcap, _LARGE_BLOCK)
            if options.immediate and options.mode != "buffered":
                extension.pcap_zc_set_block_timeout(pcap, _IMMEDIATE_MS)
        _activate(c, pcap, device, options)
        if c.pcap_setnonblock(pcap, 1, errbuf) < 0:
            raise PcapError(f"{device}: {errbuf.value.decode(errors='replace')}")
    except BaseException:
        c.pcap_close(pcap)
        raise
    return Handle(c, pcap, device)


def _configure(c: Library, pcap: Any, device: str, options: Options) -> None:
    c.pcap_set_snaplen(pcap, options.snaplen)
    c.pcap_set_promisc(pcap, options.promisc)
    c.pcap_set_timeout(pcap, options.timeout_ms)
    if options.buffer_size is not None:
        c.pcap_set_buffer_size(pcap, options.buffer_size)
    if options.immediate:
        c.pcap_set_immediate_mode(pcap, 1)
    if options.rfmon and (status := c.pcap_set_rfmon(pcap, 1)) < 0:
        raise failure(c, status, "", device)
    if options.tstamp_type is not None:
        kind = c.pcap_tstamp_type_name_to_val(options.tstamp_type.encode())
        if kind < 0:
            raise ValueError(f"tstamp_type is {options.tstamp_type!r}; pcap-tstamp(7) lists them")
        if (status := c.pcap_set_tstamp_type(pcap, kind)) < 0:
            raise failure(c, status, "", device)
    if options.tstamp_precision == "nano" and c.has("pcap_set_tstamp_precision"):
        status = c.pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO)
        if status not in (0, PCAP_ERROR_TSTAMP_PRECISION_NOTSUP):  # a device without: microseconds
            raise failure(c, status, "", device)


def _activate(c: Library, pcap: Any, device: str, options: Options) -> None:
    status = c.pcap_activate(pcap)
    if status < 0:
        raise _refusal(c, status, error_text(c, pcap), device, options)
    if status > 0:
        text = error_text(c, pcap) or c.pcap_statustostr(status).decode(errors="replace")
        warnings.warn(f"{device}: {text}", RuntimeWarning, stacklevel=5)


def _refusal(c: Library, status: int, text: str, device: str, options: Options) -> PcapError:
    """What pcap_activate() failed with, and what to do about it."""
    if status == PCAP_ERROR_ZC_NOTSUP:
        return ZeroCopyUnavailableError(
            f"no zero-copy capture on {device}: {text}; `pypcapzc doctor` says what changes it", status
        )
    if status == PCAP_ERROR_RFMON_NOTSUP:
        text = text or "it has no monitor mode"
    error = failure(c, status, text, device)
    if type(error) is not PcapError:
        return error
    if text.startswith("BIOC") and _is_gone(c, device):
        return DeviceNotFoundError(
            f"{device} disappeared while it was opened ({text}); `pypcapzc devices` lists what there is",
            status,
        )
    remedy = platforms.current().remedy(text)
    if options.buffer_size is not None and "allocate memory" in text:
        remedy = f"ask for less than {options.buffer_size} bytes of buffer"
    kind = ZeroCopyUnavailableError if options.mode == "zerocopy" and "ZBUF" in text else PcapError
    return kind(f"{error}; {remedy}", status) if remedy else error


def _is_gone(c: Library, device: str) -> bool:
    """libpcap's list of devices, which names nearly all that can be opened, lacks it."""
    first, errbuf = ctypes.POINTER(pcap_if)(), error_buffer()
    if c.pcap_findalldevs(ctypes.byref(first), errbuf) < 0:
        return False
    names, entry = set(), first
    while entry:
        names.add(entry.contents.name)
        entry = entry.contents.next
    c.pcap_freealldevs(first)
    return os.fsencode(device) not in names
