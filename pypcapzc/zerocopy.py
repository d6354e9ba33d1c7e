"""Is zero-copy to be had here (before a capture), and is it in use (on an open one)?"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import platforms
from .errors import LibraryError, ZeroCopyUnavailableError
from .libpcap import Library, error_buffer, extension, library
from .libpcap.extension import MECHANISMS
from .libpcap.loader import ENVIRONMENT_VARIABLE
from .platforms import TPACKET_NAMES, Descriptor, Kernel, Permission, Platform

BUILD_COMMAND = "pypcapzc build   # a libpcap with the zero-copy patch, for this machine"


@dataclass(frozen=True)
class LibraryFacts:
    """The libpcap that captures use."""

    path: str | None
    version: str | None
    patched: bool
    """It has the patch: it exports ``pcap_zc_abi``, whatever its version string says."""
    abi: int | None
    """What pcap_zc_abi() returned."""


@dataclass(frozen=True)
class DeviceFacts:
    """What came of opening a device, for a moment and not in promiscuous mode."""

    name: str
    opened: bool
    lent: bool
    mechanism: str
    reason: str


@dataclass(frozen=True)
class Status:
    """What ``pypcapzc doctor`` prints."""

    library: LibraryFacts
    platform: str
    mechanism: str
    """What the kernel has: ``bpf_zbuf``, ``tpacket_v3`` or ``none``."""
    lent: bool
    """A capture opened now gives Python blocks that nobody copied."""
    zero_copy: bool
    """The mechanism is usable: by kernel, library and this user.  With a stock libpcap it then serves
    inside libpcap only, and ``lent`` is False."""
    reasons: tuple[str, ...]
    """Why it is as it is, most important first."""
    fixes: tuple[str, ...]
    """Commands that change it."""
    permissions: Permission
    limits: dict[str, int]
    """The kernel's limits on buffer sizes, in bytes, by its names for them."""
    tuning: tuple[str, ...] = ()
    """Commands that raise those limits."""
    device: DeviceFacts | None = None
    """What a capture on the device that was asked about does."""

    @property
    def available(self) -> bool:
        """``mode="zerocopy"`` would work: what doctor's exit code says."""
        return self.lent

    def as_dict(self) -> dict[str, Any]:
        """For JSON: see ``doctor --json``."""
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What an open capture was asked for."""

    mode: str
    device: str
    buffer_size: int | None = None
    """Bytes; None: libpcap's default."""


@dataclass(frozen=True)
class InUse:
    """What an open capture does: read from its descriptor, not from what was asked for."""

    lent: bool
    """Blocks are libpcap's own buffers, uncopied on their way to Python."""
    mechanism: str
    """``tpacket_v3`` or ``bpf_zbuf``: memory shared with the kernel brings packets to libpcap; ``savefile``;
    or ``none``: read(2) or recv(2) copies them."""
    ring_bytes: int | None
    """Size of the memory shared with the kernel, as mapped; None where there is none."""
    block_size: int
    """Bytes of one block that is lent; 0 where an unpatched libpcap does not tell."""
    block_count: int
    """How many blocks there are; 0 likewise."""
    reason: str
    """Why blocks are lent or copied."""
    shared: bool = False
    """Blocks are the very memory that the kernel writes: no copy was made since."""
    asked_bytes: int | None = None
    """The ``buffer_size`` that was asked for; None: libpcap's default."""
    granted_bytes: int | None = None
    """What it came to; on BPF, which has two such buffers, the size of one.  None: not known."""
    clipped: str | None = None
    """Why that is less, with the limit; None where it is not."""
    descriptor: Descriptor | None = None
    """What the kernel says of this very descriptor, on FreeBSD."""
    limits: dict[str, int] = field(default_factory=dict)
    """The kernel's limits on buffer sizes, in bytes, by its names for them."""
    fixes: tuple[str, ...] = ()
    """Commands that change what could be better: a fallback, a clipped buffer."""


def status(device: str | None = None) -> Status:
    """What zero-copy needs and what of it is here; with ``device``, also what a capture on that one gets.

    Never raises for what it reports: a libpcap that cannot be loaded is one of the reasons.
    """
    platform = platforms.current()
    kernel, permission = platform.kernel(), platform.permission()
    reasons: list[str] = []
    fixes: list[str] = []
    try:
        loaded: Library | None = library()
    except LibraryError as error:
        loaded = None
        reasons.append(str(error))
        if named := os.environ.get(ENVIRONMENT_VARIABLE):
            fixes.append(f"unset {ENVIRONMENT_VARIABLE}   # it names {named}")
    if not permission.allowed:
        reasons.append(permission.reason)
        if permission.fix:
            fixes.append(permission.fix)
    facts = _library_facts(loaded)
    serves = loaded is not None and (
        facts.patched or platform.library_mechanism(loaded.version) == kernel.mechanism
    )
    if loaded is not None and not facts.patched:
        reasons.append(_stock_reason(loaded, serves and kernel.usable, kernel))
        if kernel.mechanism != "none":
            fixes.append(BUILD_COMMAND)
    if facts.patched:
        reasons.append(f"{facts.path} has the zero-copy patch (ABI {facts.abi})")
    reasons += kernel.reasons
    fixes += kernel.fixes
    zero_copy = serves and kernel.usable and permission.allowed
    found = Status(
        facts,
        platform.name,
        kernel.mechanism,
        zero_copy and facts.abi == extension.ABI,
        zero_copy,
        tuple(reasons),
        tuple(fixes),
        permission,
        platform.limits(),
        platform.tuning(),
    )
    if device is None or loaded is None or not permission.allowed:
        return found
    return _on_device(found, loaded, device)


def _on_device(found: Status, loaded: Library, device: str) -> Status:
    """The same, for what that device makes of it."""
    tried = _try_device(loaded, device)
    return replace(
        found,
        lent=found.lent and tried.lent and tried.mechanism != "none",
        zero_copy=found.zero_copy and tried.mechanism != "none",
        reasons=(f"{device}: {tried.reason}", *found.reasons),
        device=tried,
    )


def _try_device(c: Library, device: str) -> DeviceFacts:
    errbuf = error_buffer()
    pcap = c.pcap_create(os.fsencode(device), errbuf)
    if not pcap:
        return DeviceFacts(device, False, False, "none", errbuf.value.decode(errors="replace"))
    try:
        status = c.pcap_activate(pcap)
        if status < 0:
            text = c.pcap_geterr(pcap) or c.pcap_statustostr(status)
            return DeviceFacts(device, False, False, "none", text.decode(errors="replace"))
        patch = extension.of(c)
        info = patch.info(pcap) if patch is not None else None
        lent = info is not None and bool(info.lent and info.shared)
        used = in_use(c, pcap, c.pcap_get_selectable_fd(pcap), Asked("auto", device), lent)
        return DeviceFacts(device, True, used.shared, used.mechanism, used.reason)
    finally:
        c.pcap_close(pcap)


def require(device: str) -> None:
    """Raise ZeroCopyUnavailableError, with what is missing and how to get it, unless blocks would be lent."""
    found = status()
    if not found.lent:
        raise ZeroCopyUnavailableError(
            f"no zero-copy capture on {device}: {'; '.join(found.reasons)}. "
            f"To change it: {' ; '.join(found.fixes) or 'nothing can be done on this system'}"
        )


def in_use(c: Library, pcap: Any, fd: int, asked: Asked, lent: bool) -> InUse:
    """What a capture on descriptor ``fd`` (-1: a savefile) really does."""
    patch = extension.of(c)
    info = patch.info(pcap) if patch is not None else None
    size, count = (info.block_size, info.block_count) if info is not None else (0, 0)
    if fd < 0:
        reason = "blocks are lent from libpcap's own memory" if lent else _copied(c, info, asked, None)
        return InUse(lent, "savefile", None, size, count, reason)
    platform = platforms.current()
    told = platform.descriptor(fd, asked.device)
    mechanism, ring = _ring(platform, fd, told)
    shared = lent and info is not None and bool(info.shared)
    if info is not None and shared:
        mechanism, ring = MECHANISMS[info.mechanism], info.mapped or ring
    if shared:
        reason = f"blocks are lent from the kernel's own ring ({mechanism})"
    else:
        reason = _copied(c, info, asked, mechanism if mechanism != "none" else None)
    granted = ring if told is None else size if shared else told.buffer_size
    clipping = None
    if asked.buffer_size is not None and granted is not None:
        clipping = platform.clipping(asked.buffer_size, granted, mechanism == "bpf_zbuf")
    fixes: tuple[str, ...] = ()
    if not shared and asked.mode != "buffered":
        fixes = (BUILD_COMMAND,) if info is None else platform.kernel().fixes
    return InUse(
        lent,
        mechanism,
        ring,
        size,
        count,
        reason,
        shared,
        asked.buffer_size,
        granted,
        f"asked for {asked.buffer_size} bytes, got {granted}: {clipping.reason}" if clipping else None,
        told,
        platform.limits(),
        fixes + (clipping.fixes if clipping else ()),
    )


def _copied(c: Library, info: Any, asked: Asked, mechanism: str | None) -> str:
    if asked.mode == "buffered":
        why = "mode='buffered' was asked for"
    elif info is None:
        why = f"{c.path} is not patched"
    else:
        why = info.reason.decode(errors="replace") or "this source is read through a stream"
    how = f"libpcap reads the memory that the kernel shares ({mechanism}); " if mechanism else ""
    return f"{how}packets are copied: {why}"


def _ring(platform: Platform, fd: int, told: Descriptor | None) -> tuple[str, int | None]:
    """Mechanism and size of the ring of a descriptor, as the system tells them."""
    if told is not None and told.buffer_mode == "zbuf":
        return "bpf_zbuf", None
    ring, version = platform.ring_bytes(fd), platform.tpacket_version(fd)
    if ring is None or version is None:
        return "none", ring
    return TPACKET_NAMES.get(version, str(version)).lower(), ring


def _library_facts(loaded: Library | None) -> LibraryFacts:
    if loaded is None:
        return LibraryFacts(None, None, False, None)
    abi = extension.abi(loaded)
    return LibraryFacts(str(loaded.path), loaded.version, abi is not None, abi)


def _stock_reason(loaded: Library, serves: bool, kernel: Kernel) -> str:
    where = f"{loaded.path} ({loaded.version}) is not patched"
    if serves:
        return f"{where}: {kernel.mechanism} serves inside libpcap only, and packets are copied to Python"
    return f"{where}: it lends nothing to Python"
