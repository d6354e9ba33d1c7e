"""For whom a library is built: compiler target, ELF identity, and the oldest system it must run on."""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .failures import UnknownTargetError

if TYPE_CHECKING:
    from .sysroots import Sysroot

HOST = "host"
GLIBC = "2.17"
"""Linux results run on this glibc (2012) and later."""
FBSD = "1.5"
"""FreeBSD results import no symbol of a later version: FreeBSD 13.2's libc has them all."""


@dataclass(frozen=True)
class Target:
    """One system and processor."""

    name: str
    triple: str
    """zig's name for it."""
    configure_host: str
    pcap: str
    """configure's --with-pcap."""
    machine: str
    """ELF e_machine."""
    needed: frozenset[str]
    """Libraries that the result may need; no others."""
    osabis: frozenset[str]
    symbol_limit: tuple[str, str] | None = None
    """Prefix of the symbol versions of its libc, and the newest that may be imported."""
    libc: str = ""
    """Of what zig brings for it: words for the manifest."""
    release: str | None = None
    """FreeBSD's, as it was asked for."""
    sysroot: Sysroot | None = field(default=None, compare=False)
    """FreeBSD's own headers and libraries, in place of zig's."""

    @property
    def base(self) -> str:
        """The name without a release."""
        return self.name.partition(":")[0]

    @property
    def lacks_headers(self) -> bool:
        """Whether zig has none for it: its begin with FreeBSD 14.0."""
        return self.sysroot is None and self.release is not None and int(self.release.split(".")[0]) < 14

    def of_release(self, release: str) -> Target:
        """The same, compiled for this release of FreeBSD."""
        major, _, minor = release.partition(".")
        version = f"{major}.{minor or 0}"
        cpu = self.triple.split("-")[0]
        return replace(
            self,
            triple=f"{cpu}-freebsd.{version}",
            configure_host=f"{cpu}-unknown-freebsd{version}",
            libc=f"FreeBSD {version}",
            # Since 15 a part of libc is a library of its own.
            needed=self.needed | ({"libsys.so.7"} if int(major) >= 15 else set()),
        )

    @property
    def folder(self) -> str:
        """The name as a folder's; a colon would break search paths."""
        return self.name.replace(":", "-")

    @property
    def system(self) -> str:
        """``linux`` or ``freebsd``."""
        return self.name.split("-")[0]


# zig's linker leaves the OS ABI at System V on FreeBSD too; FreeBSD's loader takes either.
_SYSV = frozenset({"ELFOSABI_SYSV"})
_LINUX = frozenset({"ELFOSABI_SYSV", "ELFOSABI_LINUX"})
_FREEBSD = frozenset({"ELFOSABI_SYSV", "ELFOSABI_FREEBSD"})


def _glibc(name: str, cpu: str, machine: str, loader: str) -> Target:
    return Target(
        name=name,
        triple=f"{cpu}-linux-gnu.{GLIBC}",
        configure_host=f"{cpu}-linux-gnu",
        pcap="linux",
        machine=machine,
        needed=frozenset({"libc.so.6", "libpthread.so.0", loader}),
        osabis=_LINUX,
        symbol_limit=("GLIBC", GLIBC),
        libc=f"glibc {GLIBC}",
    )


def _musl(name: str, cpu: str, machine: str) -> Target:
    return Target(
        name=name,
        triple=f"{cpu}-linux-musl",
        configure_host=f"{cpu}-linux-musl",
        pcap="linux",
        machine=machine,
        needed=frozenset({"libc.so"}),
        osabis=_SYSV,
        libc="musl",
    )


def _freebsd(name: str, cpu: str, machine: str) -> Target:
    return Target(
        name=name,
        triple=f"{cpu}-freebsd.14.0",
        configure_host=f"{cpu}-unknown-freebsd14.0",
        pcap="bpf",
        machine=machine,
        needed=frozenset({"libc.so.7", "libthr.so.3"}),
        osabis=_FREEBSD,
        symbol_limit=("FBSD", FBSD),
        libc="FreeBSD 14.0",
    )


_TARGETS = {
    target.name: target
    for target in (
        _glibc("linux-amd64", "x86_64", "EM_X86_64", "ld-linux-x86-64.so.2"),
        _glibc("linux-arm64", "aarch64", "EM_AARCH64", "ld-linux-aarch64.so.1"),
        _musl("linux-musl-amd64", "x86_64", "EM_X86_64"),
        _musl("linux-musl-arm64", "aarch64", "EM_AARCH64"),
        _freebsd("freebsd-amd64", "x86_64", "EM_X86_64"),
        _freebsd("freebsd-arm64", "aarch64", "EM_AARCH64"),
    )
}

NAMES = (HOST, *_TARGETS)
"""What ``--target`` takes; the two of FreeBSD also with a release, as freebsd-amd64:14."""
CHOICES = ", ".join(f"{name}[:release]" if name.startswith("freebsd") else name for name in NAMES)


def parse(text: str) -> Target:
    """The target of this name; ``host`` is whatever this machine is."""
    name, colon, release = text.partition(":")
    if name == HOST and not colon:
        name = host_name()
    target = _TARGETS.get(name)
    if target is None or (colon and target.system != "freebsd"):
        raise UnknownTargetError(f"unknown target {text!r}; there are {CHOICES}")
    return _of_release(target, release) if colon else target


def _of_release(target: Target, release: str) -> Target:
    if re.fullmatch(r"\d+(?:\.\d+)?", release, re.ASCII) is None:
        raise UnknownTargetError(
            f"{release!r} is no FreeBSD release; write {target.name}:14 or {target.name}:14.2"
        )
    return replace(target.of_release(release), name=f"{target.name}:{release}", release=release)


_CPUS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def host_name() -> str:
    """The name of the target that this Python runs on."""
    cpu = _CPUS.get(platform.machine().lower()) if sys.maxsize > 2**32 else None
    if cpu is not None and sys.platform.startswith("linux"):
        musl = "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "")
        name = f"linux-musl-{cpu}" if musl else f"linux-{cpu}"
    else:
        name = f"{re.sub('[0-9.]+$', '', sys.platform)}-{cpu}"
    if name not in _TARGETS:
        raise UnknownTargetError(
            f"this host ({platform.system()} on {platform.machine()}) is none that libraries are built for; "
            f"name one with --target: {', '.join(_TARGETS)}"
        )
    return name
