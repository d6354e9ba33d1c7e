"""Facts about this system, behind one provider.

Everything that depends on the operating system is asked here, so that tests and a simulated platform can
answer in its place: ``use()`` installs a provider, PYPCAPZC_PLATFORM names one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .errors import PcapError
from .libpcap.loader import libc

# linux/if_packet.h
SOL_PACKET = 263
PACKET_VERSION = 10
PACKET_HDRLEN = 11
TPACKET_V3 = 2
TPACKET_NAMES = {0: "TPACKET_V1", 1: "TPACKET_V2", 2: "TPACKET_V3"}


@dataclass(frozen=True)
class Kernel:
    """What the kernel offers for lending capture buffers."""

    mechanism: str
    """``bpf_zbuf``, ``tpacket_v3`` or ``none``."""
    usable: bool
    reasons: tuple[str, ...] = ()
    """Why not, or how far it is proved."""
    fixes: tuple[str, ...] = ()
    """Commands that change it."""
    limits: dict[str, int] = field(default_factory=dict)
    """Sizes that the kernel allows, by the name it gives them, in bytes."""


@dataclass(frozen=True)
class Permission:
    """Whether this user may capture, and by what right."""

    allowed: bool
    reason: str
    fix: str | None = None


@dataclass(frozen=True)
class CounterMeanings:
    """What the three counters of pcap_stats() count on this system, in words."""

    received: str
    dropped: str
    dropped_by_interface: str


class Platform(ABC):
    """One operating system's answers."""

    name: str

    @abstractmethod
    def kernel(self) -> Kernel:
        """What the kernel offers."""

    @abstractmethod
    def permission(self) -> Permission:
        """Whether this process may open a capture."""

    @property
    @abstractmethod
    def counters(self) -> CounterMeanings:
        """What pcap_stats() counts here."""

    @abstractmethod
    def library_mechanism(self, version_text: str) -> str | None:
        """The zero-copy mechanism that an unpatched libpcap says it was built with, or None."""

    def ring_bytes(self, fd: int) -> int | None:
        """Size of the ring that is mapped from an open capture's descriptor; None where there is none."""
        return None

    def tpacket_version(self, fd: int) -> int | None:
        """The TPACKET version of an open capture's descriptor; None where that does not exist."""
        return None

    def stop_inflow(self, fd: int) -> bool:
        """Let the kernel take no more packets on this descriptor and keep those it has; False: cannot."""
        return False


class Linux(Platform):
    """Packet sockets (packet(7)) with a TPACKET_V3 ring."""

    name = "linux"

    def _socket(self) -> socket.socket:
        # Protocol 0: bound to nothing, receives nothing.
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def kernel(self) -> Kernel:
        release = os.uname().release
        try:
            with self._socket() as probe:
                probe.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        except PermissionError:
            return _by_release(release)
        except OSError as error:
            reason = f"Linux {release} refuses a TPACKET_V3 packet socket: {error.strerror}"
            if error.errno == errno.EAFNOSUPPORT:
                reason = f"this kernel ({release}) has no packet sockets (CONFIG_PACKET)"
            return Kernel("none", False, (reason,))
        return Kernel("tpacket_v3", True, (f"Linux {release} accepts TPACKET_V3 (tried on a socket)",))

    def permission(self) -> Permission:
        try:
            self._socket().close()
        except PermissionError:
            python = os.path.realpath(sys.executable)
            return Permission(
                False,
                "this process has no CAP_NET_RAW, which packet sockets need",
                f"run as root, or: sudo setcap cap_net_raw,cap_net_admin=eip {python}"
                if shutil.which("setcap")
                else "run as root (sudo), or give the interpreter CAP_NET_RAW and CAP_NET_ADMIN with setcap",
            )
        except OSError as error:
            return Permission(False, f"packet sockets cannot be opened: {error.strerror}")
        who = "root" if os.geteuid() == 0 else "CAP_NET_RAW"
        return Permission(True, f"{who}: a packet socket was opened")

    @property
    def counters(self) -> CounterMeanings:
        # packet(7), PACKET_STATISTICS; pcap_stats_linux() in libpcap's pcap-linux.c
        return CounterMeanings(
            "packets that passed the filter, dropped ones included",
            "packets that passed the filter and found no room in the ring",
            "packets that the interface missed (rx_missed_errors and rx_fifo_errors; promiscuous mode only)",
        )

    def library_mechanism(self, version_text: str) -> str | None:
        return "tpacket_v3" if "TPACKET_V3" in version_text else None

    def ring_bytes(self, fd: int) -> int | None:
        inode = os.fstat(fd).st_ino
        total = 0
        for line in Path("/proc/self/maps").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[5].startswith("socket:") and words[4] == str(inode):
                first, last = (int(end, 16) for end in words[0].split("-"))
                total += last - first
        return total or None

    def tpacket_version(self, fd: int) -> int | None:
        with socket.socket(fileno=os.dup(fd)) as duplicate:
            if duplicate.family != socket.AF_PACKET:
                return None
            return duplicate.getsockopt(SOL_PACKET, PACKET_VERSION)

    def stop_inflow(self, fd: int) -> bool:
        class SockFprog(ctypes.Structure):  # linux/filter.h
            _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

        reject = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\0\0", 8)  # one instruction: ret #0
        program = SockFprog(1, ctypes.addressof(reject))
        with socket.socket(fileno=os.dup(fd)) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, 26, bytes(program))  # SO_ATTACH_FILTER
        return True


def _by_release(release: str) -> Kernel:
    """TPACKET_V3 came with Linux 3.2 (packet(7)); all that can be said without the right to open a socket."""
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    if numbers < (3, 2):
        return Kernel("none", False, (f"Linux {release} is older than 3.2, which brought TPACKET_V3",))
    return Kernel("tpacket_v3", True, (f"Linux {release} has TPACKET_V3 (by its version; not tried)",))


class BPF(Platform):
    """BSD's and macOS's packet filter devices, without zero-copy mode."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kernel(self) -> Kernel:
        return Kernel("none", False, (f"{self.name}'s kernel does not lend its capture buffers",))

    def permission(self) -> Permission:
        devices = [Path("/dev/bpf"), *sorted(Path("/dev").glob("bpf[0-9]*"))]
        present = [device for device in devices if device.exists()]
        if not present:
            return Permission(
                False,
                "there is no /dev/bpf device",
                "in a jail, a devfs rule has to show it: path 'bpf*' unhide (devfs.rules(5))",
            )
        for device in present:
            if os.access(device, os.R_OK | os.W_OK):
                who = "root" if os.geteuid() == 0 else "file permissions"
                return Permission(True, f"{who}: {device} can be opened")
        group = "sudo chgrp NAME /dev/bpf* && sudo chmod g+rw /dev/bpf*"
        return Permission(False, f"{present[0]} may not be opened by this user", f"run as root, or: {group}")

    @property
    def counters(self) -> CounterMeanings:
        # bpf(4), BIOCGSTATS
        return CounterMeanings(
            "packets that reached the device, whether they passed the filter or not",
            "packets that passed the filter and found no room in the buffers",
            "not counted on this system: always 0",
        )

    def library_mechanism(self, version_text: str) -> str | None:
        return None


class FreeBSD(BPF):
    """BPF with zero-copy mode (bpf(4), BPF_BUFMODE_ZBUF)."""

    def __init__(self) -> None:
        super().__init__("freebsd")

    def sysctl(self, name: str) -> int | None:
        """An integer sysctl, or None where the kernel has none of that name."""
        value, size = ctypes.c_int(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        found = libc().sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
        return value.value if found == 0 else None

    def kernel(self) -> Kernel:
        enabled = self.sysctl("net.bpf.zerocopy_enable")
        limits = {
            name: value
            for name in ("net.bpf.maxbufsize", "net.bpf.bufsize")
            if (value := self.sysctl(name)) is not None
        }
        if enabled is None:
            return Kernel("none", False, ("this kernel has no zero-copy BPF",), limits=limits)
        if not enabled:
            return Kernel(
                "bpf_zbuf",
                False,
                ("the kernel has zero-copy BPF, but net.bpf.zerocopy_enable is 0",),
                (
                    "sysctl net.bpf.zerocopy_enable=1",
                    "echo net.bpf.zerocopy_enable=1 >> /etc/sysctl.conf   # for good",
                ),
                limits,
            )
        return Kernel("bpf_zbuf", True, ("net.bpf.zerocopy_enable is 1",), limits=limits)

    def library_mechanism(self, version_text: str) -> str | None:
        return "bpf_zbuf" if "zerocopy support" in version_text else None


def _detect() -> Platform:
    wanted = os.environ.get("PYPCAPZC_PLATFORM", "")
    system = wanted or sys.platform
    if system.startswith("linux"):
        return Linux()
    if system.startswith("freebsd"):
        return FreeBSD()
    if wanted:
        raise PcapError(f"PYPCAPZC_PLATFORM={wanted}: no such platform; known are linux and freebsd")
    return BPF(sys.platform)


_chosen: Platform | None = None


def current() -> Platform:
    """The provider in use: the one given to use(), else PYPCAPZC_PLATFORM's, else this system's."""
    return _chosen if _chosen is not None else _detect()


@contextmanager
def use(platform: Platform) -> Iterator[Platform]:
    """Let ``platform`` answer for this system within a ``with`` statement."""
    global _chosen
    before, _chosen = _chosen, platform
    try:
        yield platform
    finally:
        _chosen = before
