"""Is zero-copy to be had here (before a capture), and is it in use (on an open one)?"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from . import platforms
from .errors import LibraryError, ZeroCopyUnavailableError
from .libpcap import Library, extension, library
from .libpcap.extension import MECHANISMS
from .libpcap.loader import ENVIRONMENT_VARIABLE
from .platforms import TPACKET_NAMES, Kernel, Permission

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

    @property
    def available(self) -> bool:
        """``mode="zerocopy"`` would work: what doctor's exit code says."""
        return self.lent

    def as_dict(self) -> dict[str, Any]:
        """For JSON: see ``doctor --json``."""
        return asdict(self)


@dataclass(frozen=True)
class InUse:
    """What an open capture does: read from its descriptor, not from what was asked for."""

    lent: bool
    """Blocks reach Python uncopied."""
    mechanism: str
    """``tpacket_v3``, ``bpf_zbuf``, ``savefile`` or ``none``: what brings packets to libpcap."""
    ring_bytes: int | None
    """Size of the ring shared with the kernel, as mapped; None where there is none."""
    block_size: int
    """Bytes of one block that is lent; 0 where an unpatched libpcap does not tell."""
    block_count: int
    """How many blocks there are; 0 likewise."""
    reason: str
    """Why blocks are lent or copied."""


def status(device: str | None = None) -> Status:
    """What zero-copy needs and what of it is here.  ``device`` is looked at only where it makes a difference.

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
    return Status(
        facts,
        platform.name,
        kernel.mechanism,
        zero_copy and facts.abi == extension.ABI,
        zero_copy,
        tuple(reasons),
        tuple(fixes),
        permission,
        kernel.limits,
    )


def require(device: str) -> None:
    """Raise ZeroCopyUnavailableError, with what is missing and how to get it, unless blocks would be lent."""
    found = status(device)
    if not found.lent:
        raise ZeroCopyUnavailableError(
            f"no zero-copy capture on {device}: {'; '.join(found.reasons)}. "
            f"To change it: {' ; '.join(found.fixes) or 'nothing can be done on this system'}"
        )


def in_use(c: Library, pcap: Any, fd: int, asked: str, lent: bool) -> InUse:
    """What a capture on descriptor ``fd`` (-1: a savefile) really does."""
    patch = extension.of(c)
    info = patch.info(pcap) if patch is not None else None
    mechanism, ring = ("savefile", None) if fd < 0 else _ring(fd)
    size, count = (info.block_size, info.block_count) if info is not None else (0, 0)
    if lent and info is not None:
        if info.mechanism < len(MECHANISMS):
            mechanism = MECHANISMS[info.mechanism]
        whose = "libpcap's own memory" if fd < 0 else f"the kernel's own ring ({mechanism})"
        return InUse(True, mechanism, info.mapped or ring, size, count, f"blocks are lent from {whose}")
    if asked == "buffered":
        why = "mode='buffered' was asked for"
    elif info is None:
        why = f"{c.path} is not patched"
    else:
        why = info.reason.decode(errors="replace") or "this source is read through a stream"
    how = f"libpcap reads the kernel's ring ({mechanism}); " if ring else ""
    return InUse(False, mechanism, ring, size, count, f"{how}packets are copied: {why}")


def _ring(fd: int) -> tuple[str, int | None]:
    """Mechanism and size of the ring of a descriptor, as the system tells them."""
    platform = platforms.current()
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
