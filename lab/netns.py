"""A private network namespace with a veth pair.  Linux, root.

    with Lab() as net, net.inside():
        ...   # open the sender and the capture here

A namespace belongs to a thread: ``inside()`` moves the calling thread there and back.  A socket
stays in the namespace in which it was opened, and a child process starts in that of its parent's
thread.  The namespace has no name, only a descriptor: the kernel takes it away, devices included,
when the last user of it is gone, also after a crash or kill -9.  So nothing can be left behind.

The devices carry no address, and IPv6 is off before they come up: the only packets are those
that one sends, and counts are exact.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


class Counters(NamedTuple):
    """What a network device has counted."""

    rx_packets: int
    rx_bytes: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc(), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@contextlib.contextmanager
def _staying_home() -> Iterator[None]:
    """Brings the calling thread back into the namespace that it is in now."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)


def why_not() -> str | None:
    """The reason why no Lab can be made here, or None if one can."""
    if os.uname().sysname != "Linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if shutil.which("ip") is None:
        return "needs the ip command (Debian: apt-get install iproute2)"
    try:
        Lab().close()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"cannot make a network namespace with a veth pair: {error}"
    return None


def require_both_ends(device: str) -> None:
    """PermissionError unless the device is a veth whose other end is in the same namespace.

    What goes out of such a device stays in the calling thread's namespace.
    """
    command = ["ip", "-json", "-details", "link", "show", "dev", device]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        raise OSError(errno.ENODEV, done.stderr.strip() or f"no device {device}")
    (link,) = json.loads(done.stdout)
    if link.get("linkinfo", {}).get("info_kind") != "veth" or "link" not in link:
        raise PermissionError(
            f"{device} may lead out of this network namespace: frames are sent only between the two"
            " ends of a veth pair (lab.netns)"
        )


class Lab:
    """A network namespace with two connected devices, both up.  Close it, or use it in a ``with``.

    ``mtu`` bounds the frames: 14 bytes of Ethernet header and ``mtu`` more.
    """

    def __init__(self, mtu: int = 1500, capture_device: str = "zc0", send_device: str = "zc1") -> None:
        self.capture_device = capture_device
        self.send_device = send_device
        with _staying_home():
            _call("unshare", _CLONE_NEWNET)
            self._descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._set_up(mtu)
        except BaseException:
            self.close()
            raise

    def _set_up(self, mtu: int) -> None:
        with self.inside():
            for which in ("all", "default"):
                setting = Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
                if setting.exists():  # not in a kernel without IPv6
                    setting.write_text("1")
        ends = self.capture_device, self.send_device
        self.ip(
            "link", "add", ends[0], "mtu", str(mtu), "type", "veth", "peer", "name", ends[1], "mtu", str(mtu)
        )
        for device in ("lo", *ends):
            self.ip("link", "set", "dev", device, "up")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Runs the calling thread in the namespace, and brings it back afterwards."""
        if self._descriptor < 0:
            raise ValueError("this network namespace was closed")
        with _staying_home():
            _call("setns", self._descriptor, _CLONE_NEWNET)
            yield

    def run(self, *command: str, timeout: float = 90) -> str:
        """Runs a command in the namespace: its standard output.  CalledProcessError if it fails."""
        with self.inside():
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            reason = done.stderr.strip()
            raise subprocess.CalledProcessError(done.returncode, " ".join(command) + f" ({reason})")
        return done.stdout

    def ip(self, *arguments: str) -> str:
        """Runs ``ip`` in the namespace, for instance ``net.ip("link", "set", "zc0", "down")``."""
        return self.run("ip", *arguments)

    def remove_devices(self) -> None:
        """Takes both devices away, as if they had been pulled out."""
        self.ip("link", "del", self.capture_device)

    def counters(self, device: str) -> Counters:
        """The device's own counters."""
        with self.inside(), open("/proc/thread-self/net/dev") as table:
            for line in table:
                name, colon, figures = line.partition(":")
                if colon and name.strip() == device:
                    values = [int(figure) for figure in figures.split()]
                    return Counters(values[1], values[0], values[3], values[9], values[8], values[11])
        raise OSError(f"no device {device} in this network namespace")

    def close(self) -> None:
        """Lets the namespace go.  It is gone when the sockets and processes in it are."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
