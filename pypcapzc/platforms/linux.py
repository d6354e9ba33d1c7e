"""Linux: packet sockets."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import sys
from pathlib import Path

from .base import CounterMeanings, Kernel, Permission, Platform

# linux/if_packet.h
SOL_PACKET = 263
PACKET_VERSION = 10
PACKET_HDRLEN = 11
TPACKET_V3 = 2
TPACKET_NAMES = {0: "TPACKET_V1", 1: "TPACKET_V2", 2: "TPACKET_V3"}


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
            return by_release(release)
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


def by_release(release: str) -> Kernel:
    """TPACKET_V3 came with Linux 3.2 (packet(7)); all that can be said without the right to open a socket."""
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    if numbers < (3, 2):
        return Kernel("none", False, (f"Linux {release} is older than 3.2, which brought TPACKET_V3",))
    return Kernel("tpacket_v3", True, (f"Linux {release} has TPACKET_V3 (by its version; not tried)",))
