"""What pcapy-ng 2.1 offers, on pypcapzc: compat.install() and `pypcapzc run` put it in place of ``pcapy``.

Names, arguments, results and exceptions are pcapy-ng's; messages say more.  What differs, docs/migrating.md
lists: timeouts hold on an idle link, and Ctrl-C ends every wait.
"""

from __future__ import annotations

import ctypes
import sys

from ..constants import pcap_direction_t as _direction
from ..datalinks import (
    DLT_ARCNET,
    DLT_ATM_RFC1483,
    DLT_C_HDLC,
    DLT_EN10MB,
    DLT_FDDI,
    DLT_IEEE802,
    DLT_IEEE802_11,
    DLT_LINUX_SLL,
    DLT_LOOP,
    DLT_LTALK,
    DLT_NULL,
    DLT_PPP,
    DLT_PPP_ETHER,
    DLT_PPP_SERIAL,
    DLT_RAW,
    DLT_SLIP,
)
from ..devices import devices as _devices
from ..libpcap import bpf_program, error_buffer, library
from .pcapy_reader import BPFError, PcapError, Reader, open_device, opened_offline, translated

PCAP_D_INOUT, PCAP_D_IN, PCAP_D_OUT = map(int, _direction)

if sys.platform.startswith("linux"):  # linux/if_packet.h
    PACKET_FANOUT_HASH = 0
    PACKET_FANOUT_LB = 1
    PACKET_FANOUT_CPU = 2
    PACKET_FANOUT_ROLLOVER = 3
    PACKET_FANOUT_RND = 4

__all__ = [
    "BPFError",
    "BPFProgram",
    "DLT_ARCNET",
    "DLT_ATM_RFC1483",
    "DLT_C_HDLC",
    "DLT_EN10MB",
    "DLT_FDDI",
    "DLT_IEEE802",
    "DLT_IEEE802_11",
    "DLT_LINUX_SLL",
    "DLT_LOOP",
    "DLT_LTALK",
    "DLT_NULL",
    "DLT_PPP",
    "DLT_PPP_ETHER",
    "DLT_PPP_SERIAL",
    "DLT_RAW",
    "DLT_SLIP",
    "PCAP_D_IN",
    "PCAP_D_INOUT",
    "PCAP_D_OUT",
    "PcapError",
    "compile",
    "create",
    "findalldevs",
    "lookupdev",
    "open_live",
    "open_offline",
]
__all__ += [name for name in dir() if name.startswith("PACKET_FANOUT_")]


class BPFProgram:
    """A compiled filter: ``BPFProgram(expression, linktype=DLT_EN10MB)``, or what compile() gives.

    Raises BPFError where the expression does not compile.
    """

    __slots__ = ("__weakref__", "_c", "_program")

    def __init__(self, filter: str, linktype: int = DLT_EN10MB, /) -> None:
        try:
            # What pcap_compile_nopcap(3PCAP) does, which libpcap is giving up.
            self._compile(linktype, 1 << 16, filter, 0, 0)
        except PcapError as error:
            raise BPFError(f"Couldn't compile BPF program: {error}") from None

    def _compile(self, linktype: int, snaplen: int, filter: str, optimize: int, netmask: int) -> None:
        self._c, self._program = library(), bpf_program()
        dead = self._c.pcap_open_dead(linktype, snaplen)
        try:
            status = self._c.pcap_compile(
                dead, ctypes.byref(self._program), _text(filter), optimize, netmask & 0xFFFFFFFF
            )
            if status < 0:
                raise PcapError(self._c.pcap_geterr(dead).decode(errors="replace"))
        finally:
            self._c.pcap_close(dead)

    def filter(self, packet: bytes, /) -> int:
        """Bytes of the packet to be kept; 0: no match (bpf_filter in libpcap)."""
        data = bytes(packet)
        return int(self._c.bpf_filter(self._program.bf_insns, data, len(data), len(data)))

    def get_bpf(self) -> list[tuple[int, int, int, int]]:
        """The instructions as (code, jt, jf, k)."""
        found = self._program.bf_insns[: self._program.bf_len]
        return [(each.code, each.jt, each.jf, each.k) for each in found]

    def __del__(self) -> None:
        program = getattr(self, "_program", None)
        if program is not None:
            self._c.pcap_freecode(ctypes.byref(program))


def _text(value: str) -> bytes:
    """As libpcap takes it; what is no text, or holds a NUL character, is refused as pcapy-ng does."""
    if not isinstance(value, str):
        raise TypeError(f"argument must be str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError("embedded null character")
    return value.encode(errors="surrogateescape")


def compile(linktype: int, snaplen: int, filter: str, optimize: int, netmask: int, /) -> BPFProgram:
    """A BPFProgram for packets of that link-layer type.  Raises PcapError with libpcap's message."""
    made = BPFProgram.__new__(BPFProgram)
    made._compile(linktype, snaplen, filter, optimize, netmask)
    return made


def findalldevs() -> list[str]:
    """The names of all devices.  Raises PcapError where there is none."""
    with translated():
        found = [device.name for device in _devices()]
    if not found:
        raise PcapError("No valid interfaces to open")
    return found


def lookupdev() -> str:
    """The first device (pcap_findalldevs(3PCAP), as libpcap advises in place of pcap_lookupdev)."""
    return findalldevs()[0]


def _network(device: str) -> tuple[int, int]:
    """Address and netmask as pcap_lookupnet(3PCAP) gives them; 0 and 0 where it knows none."""
    net, mask = ctypes.c_uint32(), ctypes.c_uint32()
    status = library().pcap_lookupnet(_text(device), ctypes.byref(net), ctypes.byref(mask), error_buffer())
    return (net.value, mask.value) if status == 0 else (0, 0)


def open_live(device: str, snaplen: int, promisc: int, to_ms: int, /) -> Reader:
    """Capture on a device; the packets of next() and its like wait at most ``to_ms`` milliseconds (0: ever).

    Raises PcapError with libpcap's message.
    """
    reader = create(device)
    reader.set_snaplen(snaplen)
    reader.set_promisc(promisc)
    reader.set_timeout(to_ms)
    open_device(reader)
    return reader


def create(device: str, /) -> Reader:
    """A Reader to be set up with its set_ methods, and then activated."""
    net, mask = _network(device)
    return Reader(device, net, mask)


def open_offline(filename: str, /) -> Reader:
    """Read a savefile, "-" for standard input.  Raises PcapError with libpcap's message."""
    _text(filename)
    return opened_offline(filename)
