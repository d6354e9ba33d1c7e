"""Several handles on one interface that share its packets: PACKET_FANOUT of Linux (packet(7)).

Each packet goes to one member of the group, so that several processes or threads can share the work.  Facts
are from linux/if_packet.h, and fanout_add() in net/packet/af_packet.c.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from . import platforms
from .errors import PcapError
from .platforms.linux import SOL_PACKET

FanoutMode = Literal["hash", "lb", "cpu", "rollover", "rnd", "qm"]

_PACKET_FANOUT = 18
_MODES = {"hash": 0, "lb": 1, "cpu": 2, "rollover": 3, "rnd": 4, "qm": 5}
_ROLLOVER, _UNIQUE_ID, _IGNORE_OUTGOING, _DEFRAG = 0x1000, 0x2000, 0x4000, 0x8000
_SO_DETACH_FILTER = 27
_LARGEST_GROUP = 0xFFFF


@dataclass(frozen=True)
class Fanout:
    """A group of captures that share the packets of one interface, and how they share them.

    ``group``            its number, 0 to 65535, within the network namespace; None: one that is free, which
                         ``capture.fanout.group`` tells for the other members
    ``mode``             "hash": by addresses and ports, so that a flow goes to one member, both directions;
                         "lb": one after the other; "cpu": by the CPU that received the packet; "rnd": at
                         random; "rollover": the first member until it is full, then the next; "qm": by the
                         queue of the device
    ``rollover``         a member that is full passes packets on to the next
    ``defrag``           IP fragments are put together first, so that "hash" sees ports (IPv4)
    ``ignore_outgoing``  without packets that this machine sends (Linux 4.20)
    ``max_members``      at most so many, for the one who opens the group (Linux 5.10); else 256

    All members have the same mode, flags and device.
    """

    group: int | None = None
    mode: FanoutMode = "hash"
    rollover: bool = False
    defrag: bool = False
    ignore_outgoing: bool = False
    max_members: int | None = None

    def __post_init__(self) -> None:
        if self.group is not None and not 0 <= self.group <= _LARGEST_GROUP:
            raise ValueError(f"the fanout group is {self.group}; it is 0 to {_LARGEST_GROUP}, or None")
        if self.mode not in _MODES:
            raise ValueError(f"the fanout mode is {self.mode!r}; it is one of {', '.join(_MODES)}")
        if self.max_members is not None and not 1 <= self.max_members <= 1 << 16:
            raise ValueError(f"max_members is {self.max_members}; it is 1 to {1 << 16}, or None")

    def option(self) -> bytes:
        """What setsockopt(2) is given: struct fanout_args, or the int that older kernels take."""
        kind = _MODES[self.mode] | (_UNIQUE_ID if self.group is None else 0)
        kind |= _ROLLOVER * self.rollover | _DEFRAG * self.defrag | _IGNORE_OUTGOING * self.ignore_outgoing
        value = (self.group or 0) | kind << 16
        if self.max_members is None:
            return struct.pack("=I", value)
        first, second = (value & 0xFFFF, kind) if _IS_LITTLE else (kind, value & 0xFFFF)
        return struct.pack("=HHI", first, second, self.max_members)


_IS_LITTLE = struct.pack("=H", 1) == b"\x01\0"


def why_not() -> str | None:
    """Why captures cannot share an interface here, or None where they can."""
    name = platforms.current().name
    return None if name == "linux" else f"PACKET_FANOUT is Linux's, and this is {name}"


def join(fd: int, device: str, wanted: Fanout, forget: Callable[[], None]) -> Fanout:
    """Make the packet socket a member.  Gives the group with its number.

    A capture that was opened has received what all others receive, too, until it is a member.  So the inflow
    is stopped, ``forget()`` reads what came, and the socket joins; nothing flows in before start() or a
    filter that is installed.  What the group hands it in this moment is lost.  Raises PcapError.
    """
    reason = why_not()
    if reason is not None:
        raise PcapError(f"{device}: no fanout group: {reason}; open one capture without")
    with socket.socket(fileno=os.dup(fd)) as member:
        if member.family != socket.AF_PACKET:
            raise PcapError(f"{device}: no fanout group: it is not captured by a packet socket")
        platforms.current().stop_inflow(fd)
        _settle()
        forget()
        try:
            member.setsockopt(SOL_PACKET, _PACKET_FANOUT, wanted.option())
            number = member.getsockopt(SOL_PACKET, _PACKET_FANOUT) & _LARGEST_GROUP
        except OSError as error:
            raise PcapError(f"{device}: {_refusal(error, wanted)}") from error
    return replace(wanted, group=number)


def start(fd: int) -> None:
    """Let packets flow in."""
    with socket.socket(fileno=os.dup(fd)) as member:
        member.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _settle() -> None:
    """Until all packets that the kernel was handing over have arrived.

    A packet socket that is closed waits for that: packet_release() calls synchronize_net().
    """
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


def _refusal(error: OSError, wanted: Fanout) -> str:
    name = "a fanout group" if wanted.group is None else f"fanout group {wanted.group}"
    reasons = {
        errno.EINVAL: f"{name} cannot be joined: its members have another mode, other flags or another "
        f"device, or this kernel does not know these (mode {wanted.mode}); choose another group",
        errno.ENOSPC: f"{name} is full",
        errno.EALREADY: f"{name} cannot be joined: this capture is in a group already",
        errno.ENOPROTOOPT: f"{name} cannot be joined: this kernel has no PACKET_FANOUT",
    }
    return reasons.get(error.errno or 0, f"{name} cannot be joined: {error.strerror}")
