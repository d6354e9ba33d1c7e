"""What is asked of an operating system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Descriptor:
    """What the kernel says of the very descriptor of an open capture; None: it does not tell."""

    buffer_mode: str | None
    """``zbuf``: the kernel writes into buffers that it shares with this process; ``buffer``: into its own,
    and read(2) copies."""
    buffer_size: int | None
    """Bytes of packets that one buffer takes, their headers included."""
    received: int | None
    """Packets that reached it."""
    dropped: int | None
    """Packets that passed the filter and found no room."""
    matched: int | None = None
    """Packets that passed the filter, those included."""
    zero_copy: int | None = None
    """How often the kernel wrote into shared buffers: twice a packet, header and data."""
    how: str = ""
    """Where this comes from, and how it is known to be this descriptor's."""


@dataclass(frozen=True)
class Clipping:
    """Why a buffer is smaller than what was asked for."""

    reason: str
    fixes: tuple[str, ...] = ()


class Platform(ABC):
    """One operating system's answers."""

    name: str

    counts_before_filter = False
    """The first counter of pcap_stats() counts packets that the filter rejects, too."""
    yields_partial_buffers = False
    """A read that does not wait takes what there is of a buffer that is being filled, however little."""

    @abstractmethod
    def kernel(self) -> Kernel:
        """What the kernel offers."""

    def limits(self) -> dict[str, int]:
        """Sizes of buffers that the kernel allows, by the name it gives them, in bytes."""
        return {}

    def tuning(self) -> tuple[str, ...]:
        """Commands that raise them."""
        return ()

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

    def descriptor(self, fd: int, device: str) -> Descriptor | None:
        """What the kernel says of an open capture's descriptor; None where it has nothing to say."""
        return None

    def clipping(self, asked: int, granted: int, shared: bool) -> Clipping | None:
        """What made ``granted`` bytes of the ``asked`` ones, in buffers that are shared or not."""
        # libpcap rounds to whole blocks, and asks for less where the kernel has no memory.
        return Clipping("the kernel had no more memory for it") if granted < asked * 3 // 4 else None

    def stop_inflow(self, fd: int) -> bool:
        """Let the kernel take no more packets on this descriptor and keep those it has; False: cannot."""
        return False

    def hangs_unpatched(self, fd: int) -> str | None:
        """Why an unpatched libpcap cannot be used on this open capture's descriptor, with what to do."""
        return None

    def remedy(self, complaint: str) -> str | None:
        """What to do about a message of pcap_activate(), where the system knows."""
        return None

    def bring_up(self, device: str) -> str:
        """The command that brings an interface up."""
        return f"ip link set {device} up"
