"""What enable() takes, and what a socket makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..sources.live import Options as DeviceOptions

Mode = Literal["auto", "zerocopy", "buffered"]

LISTENING_BYTES = 60 << 20
"""The kernel's buffer where scapy listens.

A frame of 64 bytes takes 160 bytes of a TPACKET_V3 block with its header (tpacket3_hdr, sockaddr_ll,
alignment): this has room for 390,000 of them, or 38,000 of 1500 bytes.  A block that is not full when
timeout_ms is over counts as a whole one: with 50 ms the 240 blocks of 256 KiB last for 12 seconds of a prn
that does not return.  From 64 MiB on blocks are of 1 MiB (open_live()): 64 of them would last for 3.
"""
SENDING_BYTES = 16 << 20
"""Where it sends too: such sockets are opened for each call of sendp() or srp(), and memory takes time."""
_ANSWER_MS = 4
"""How late an answer may come on a socket that sends."""


@dataclass(frozen=True)
class Options:
    """As in enable(); raises ValueError for what is out of range."""

    buffer_size: int | None = None
    snaplen: int = 262144
    timeout_ms: int = 50
    mode: Mode = "auto"
    lazy: bool = True
    immediate: bool | None = None

    def __post_init__(self) -> None:
        DeviceOptions(
            self.snaplen,
            promisc=False,
            timeout_ms=self.timeout_ms,
            buffer_size=self.buffer_size,
            immediate=bool(self.immediate),
            rfmon=False,
            tstamp_type=None,
            tstamp_precision="nano",
            mode=self.mode,
        )

    def of_device(self, sends: bool) -> dict[str, Any]:
        """Options of open_live()."""
        size = self.buffer_size or (SENDING_BYTES if sends else LISTENING_BYTES)
        hurried = sends and self.immediate is None and self.timeout_ms
        return {
            "buffer_size": size,
            "snaplen": self.snaplen,
            "timeout_ms": min(self.timeout_ms, _ANSWER_MS) if hurried else self.timeout_ms,
            "mode": self.mode,
            "immediate": bool(self.immediate),
        }


@dataclass(frozen=True)
class Watch:
    """Who is told of sockets of devices, as `pypcapzc run --summary`."""

    opened: Callable[[Any], None]
    """The socket; to be held weakly."""
    closed: Callable[[Any, int, int], None]
    """Its Capture, packets that the program received, packets taken from the kernel that it did not."""


class Current:
    """What holds for sockets that are opened now."""

    options = Options()
    watch: Watch | None = None
