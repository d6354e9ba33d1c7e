"""scapy: bytes from its listening socket or savefile reader, and dissected packets by sniff().

It has no ring: for a burst that is drained the socket's receive buffer is made as large as the rings of
the others; live it has what the system allows a program (net.core.rmem_max).
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.arch.linux import L2ListenSocket  # noqa: E402
from scapy.config import conf  # noqa: E402
from scapy.layers.inet import IP  # noqa: E402, F401  # the layers that a frame has
from scapy.sendrecv import sniff  # noqa: E402
from scapy.utils import RawPcapReader  # noqa: E402

from benchmarks.consumers import common  # noqa: E402

_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


class _Counted:
    """A socket, with the kernel's counters, which begin again each time they are read."""

    def __init__(self, task: common.Task) -> None:
        conf.bufsize = task.buffer_size
        self.socket = L2ListenSocket(iface=task.source, promisc=True)
        if task.kind == "drain":
            self.socket.ins.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, task.buffer_size)
        self.received = self.dropped = 0

    def counters(self) -> tuple[int, int]:
        figures = self.socket.ins.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        received, dropped = struct.unpack("II", figures)
        self.received += received
        self.dropped += dropped
        return self.received, self.dropped


def _from_socket(opened: L2ListenSocket) -> Iterator[tuple[Any, bytes]]:
    while True:
        _, data, when = opened.recv_raw()
        if data is not None:
            yield when, data


def _raw(handle: Any, task: common.Task) -> tuple[int, int]:
    if task.live:
        return common.iterate(_from_socket(handle.socket))
    with RawPcapReader(handle) as reader:
        return common.iterate((times, data) for data, times in reader)


def _sniff(handle: Any, task: common.Task) -> tuple[int, int]:
    n = total = 0

    def ends(packet: Any) -> bool:
        nonlocal n, total
        size = len(packet.original)
        if size == common.MARKER:
            return True
        n += 1
        total += size
        return False

    source = {"opened_socket": handle.socket} if task.live else {"offline": handle}
    sniff(store=False, stop_filter=ends, **source)
    return n, total


CONSUMER = common.Consumer(
    version=lambda: version("scapy"),
    open_live=_Counted,
    open_offline=lambda task: task.source,
    counters=lambda handle: handle.counters(),
    ways={"raw": _raw, "sniff": _sniff},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
