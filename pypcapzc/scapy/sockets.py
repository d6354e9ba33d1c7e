"""scapy sockets whose packets come from blocks."""

from __future__ import annotations

import errno
import os
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from operator import length_hint
from typing import Any, TypeVar

from scapy.compat import raw
from scapy.config import conf
from scapy.data import ETH_P_ALL, MTU
from scapy.error import Scapy_Exception, warning
from scapy.interfaces import network_name
from scapy.packet import Packet, Padding
from scapy.supersocket import SuperSocket

from ..capture import Capture
from ..constants import PCAP_ERROR_RFMON_NOTSUP
from ..counters import Stats
from ..errors import CapturePermissionError, DeviceNotFoundError, FilterError, PcapError
from ..linktypes import dlt_to_linktype
from ..live import open_live
from ..readiness import Readiness
from ..waker import readable
from .ahead import Ahead, Batch, batch_of
from .lazy import Maker, packet_maker, seconds
from .options import Current, Watch
from .running import local
from .selecting import Select

_LAYER_3 = {12, 14, 101, 228, 229}
"""Link-layer types, as systems and savefiles number them, of packets that begin with their IP header."""
_S = TypeVar("_S", bound="BlockSocket")
Entry = tuple[bytes, int, int]
"""Bytes, ts_ns, wirelen."""


class BlockSocket(SuperSocket):
    """Packets of a Capture, one by one; they were taken from it a block at a time."""

    LL: type[Packet]
    lvl: int
    select = Select()
    outs: Any = None
    _capture: Capture | None = None
    _ahead: Ahead | None = None
    _readiness: Readiness | None = None
    _failure: Exception | None = None
    _watch: Watch | None = None
    _packets: Iterator[bytes] = iter(())
    _loaded = 0
    """Packets that have been at hand."""

    def _begin(self, capture: Capture, label: Any, lazy: bool) -> None:
        self._capture, self._label, self._lazy = capture, label, lazy
        self.ins: Any = capture
        self._packets = iter(())
        self._entries: Iterator[Entry] = iter(())  # draws from _packets, whose hint of its length is exact
        self._make: Maker = packet_maker(self.LL, lazy=lazy)
        self._makers: dict[Any, Maker] = {}
        self._overridden = type(self).recv_raw is not BlockSocket.recv_raw
        self._loaded = 0
        self._watch = Current.watch
        if self._watch is not None:
            self._watch.opened(self)

    # --- packets at hand -------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Packets that were taken from the kernel and not yet received."""
        return length_hint(self._packets)

    @property
    def taken(self) -> int:
        """Packets that were taken from the kernel since the socket was opened."""
        return self._loaded + (self._ahead.left if self._ahead is not None else 0)

    def fill(self) -> bool:
        """Whether recv() would have something, be it an error: takes a block where nothing is at hand."""
        if local.run is not None:
            local.run.sockets[self] = None
        if self.left or self._failure is not None:
            return True
        try:
            batch = self._next_batch()
        except Exception as error:  # for recv(): what select() raises ends sniff(), and its packets are lost
            self._failure = error
            return True
        if batch is None:
            return False
        self._load(batch)
        return True

    def _next_batch(self) -> Batch | None:
        if self._ahead is not None:
            return self._ahead.next()
        assert self._capture is not None
        block = self._capture.next_block(self._patience_of_fill())
        return None if block is None else batch_of(block)

    def _patience_of_fill(self) -> float | None:
        return 0

    def _load(self, batch: Batch) -> None:
        packets, times, wirelens = batch
        self._loaded += len(packets)
        self._make = packet_maker(self.LL, lazy=self._lazy)  # once a block: LL and conf may have changed
        self._makers.clear()
        self._packets = iter(packets)
        self._entries = zip(self._packets, times, wirelens, strict=True)
        if self._readiness is not None:
            self._readiness.set(True)

    def _next(self, entry: Entry | None) -> Entry | None:
        """``entry``, just taken from what is at hand; waits where it is None, until something comes."""
        if entry is None:
            if not self._await():
                return None
            entry = next(self._entries, None)
        if self._readiness is not None and not self.left:
            self._readiness.set(False)
        return entry

    def _await(self) -> bool:
        """Waits for the descriptor like recv(2), which gives nothing where scapy's own filter took it all."""
        waited = False
        while not waited:
            if self.closed:
                raise OSError(errno.EBADF, "the socket was closed")
            waited = bool(readable([self.descriptor], 0))
            if self.fill():
                return self._give()
            if not waited:
                readable([self.descriptor], self.patience)
        return False

    def _give(self) -> bool:
        """What fill() has found: raises it where it is an error."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return True

    # --- what scapy calls ------------------------------------------------------------------------

    def recv(self, x: int = MTU, **kwargs: Any) -> Packet | None:
        """The next packet, cut to ``x`` bytes; waits for it.  None where what came was not for this socket.

        Other arguments are for the packet's class, and let it be dissected at once.
        """
        if self._overridden:
            found: Packet | None = SuperSocket.recv(self, x, **kwargs)
            return found
        entry = next(self._entries, None)  # as in _next(), which would cost a call for each packet
        if entry is None or self._readiness is not None:
            entry = self._next(entry)
            if entry is None:
                return None
        data, ts_ns, wirelen = entry
        if not data:
            return None
        make = self._maker(kwargs) if kwargs else self._make
        return make(data if len(data) <= x else data[:x], ts_ns, wirelen, self._label, None)

    def _maker(self, kwargs: dict[str, Any]) -> Maker:
        """One that passes arguments to the class, as TCPSession wants it."""
        try:
            key = tuple(sorted(kwargs.items()))
            if key not in self._makers:
                self._makers[key] = packet_maker(self.LL, lazy=self._lazy, **kwargs)
            return self._makers[key]
        except TypeError:  # an argument that is no key
            return packet_maker(self.LL, lazy=self._lazy, **kwargs)

    def recv_raw(self, x: int = MTU) -> tuple[Any, bytes | None, Any]:
        """(class, bytes, time) of the next packet; three times None where recv() gives None."""
        entry = self._next(next(self._entries, None))
        if entry is None:
            return None, None, None
        return self.LL, entry[0][:x], seconds(entry[1])

    def nonblock_recv(self, x: int = MTU) -> Packet | None:
        """The next packet if there is one now."""
        return self.recv(x) if self.fill() else None

    @property
    def descriptor(self) -> int:
        """That to wait for; -1 after close()."""
        if self.closed or self._capture is None:
            return -1
        return (self._ahead or self._capture).fileno()

    @property
    def patience(self) -> float | None:
        """Seconds after which to look again although the descriptor is not readable."""
        if self.closed or self._capture is None or self._ahead is not None:
            return None
        return self._capture.patience()

    def fileno(self) -> int:
        """A descriptor for select(): readable where there are packets, be they at hand or the kernel's."""
        if self.closed or self._capture is None:
            return -1
        if self._readiness is None:
            self._readiness = Readiness(self.descriptor)
            self._readiness.set(self.left > 0)
        return self._readiness.fd

    def stats(self) -> Stats:
        """What the kernel has counted since the socket was opened, also after close().

        Raises PcapError for a savefile.
        """
        assert self._capture is not None
        return self._capture.stats()

    def __enter__(self: _S) -> _S:
        return self

    def close(self) -> None:
        """Close the device or file; twice is no error."""
        if self.closed:
            return
        unread, self.closed = self.left, True
        self._packets, self._entries = iter(()), iter(())
        if self._capture is not None:
            was_open = not self._capture.closed  # it is closed in a forked child
            if self._ahead is not None:
                self._ahead.close()
            self._capture.close()
            if self._watch is not None and was_open:
                received = self._loaded - unread
                self._watch.closed(self._capture, received, self.taken - received)
        if self._readiness is not None:
            self._readiness.close()

    @abstractmethod
    def send(self, x: Any) -> int:
        """Send a packet."""


def layer_of(datalink: int) -> tuple[type[Packet] | None, int]:
    """scapy's class for what is captured with a link-layer type, if it has one, and the layer: 2 or 3."""
    linktype = dlt_to_linktype(datalink)
    classes: dict[Any, type[Packet]] = conf.l2types.num2layer
    return classes.get(datalink, classes.get(linktype)), 3 if {datalink, linktype} & _LAYER_3 else 2


class ZeroCopyListenSocket(BlockSocket):
    """Receives what a device sends and receives, from the kernel's ring: scapy's ``conf.L2listen``.

    Arguments are those of scapy's own sockets, and the options of enable() for this one alone.  Raises
    OSError where there is no such device or no permission, Scapy_Exception for a filter that cannot be set
    and for whatever else libpcap says, ValueError for an option out of range.
    """

    desc = "read packets at layer 2 from the kernel's ring, by pypcapzc"
    _sends = False

    def __init__(
        self,
        iface: Any = None,
        type: int = ETH_P_ALL,
        promisc: Any = None,
        filter: str | None = None,
        nofilter: Any = 0,
        monitor: Any = None,
        **options: Any,
    ) -> None:
        self.type = type
        self.iface = _device(iface or conf.iface)
        self.promisc = conf.sniff_promisc if promisc is None else promisc
        chosen = replace(Current.options, **options)
        capture = self._open(_filter(filter, nofilter, type), bool(monitor), chosen.of_device(self._sends))
        self._capture = capture
        cls, self.lvl = layer_of(capture.datalink)
        if cls is None:
            cls = conf.default_l2
            warning(
                "Unable to guess datalink type (interface=%s linktype=%i). Using %s",
                self.iface,
                capture.datalink,
                cls.__name__,
            )
        self.LL = cls
        self._begin(capture, iface or conf.iface, chosen.lazy)
        if not self._sends and capture.zero_copy.clipped is not None:
            self._ahead = Ahead(capture, chosen.of_device(self._sends)["buffer_size"])

    def _open(self, filter: str | None, monitor: bool, options: dict[str, Any]) -> Capture:
        promisc = bool(self.promisc) and self.iface != "any"  # which has no such mode
        try:
            capture = open_live(str(self.iface), promisc=promisc, filter=filter, rfmon=monitor, **options)
        except FilterError as error:
            raise Scapy_Exception(f"Cannot set filter: {error}") from error
        except DeviceNotFoundError as error:
            error.errno = errno.ENODEV
            raise
        except CapturePermissionError as error:
            error.errno = errno.EPERM
            raise
        except PcapError as error:
            if not monitor or error.code != PCAP_ERROR_RFMON_NOTSUP:
                raise Scapy_Exception(str(error)) from error
            warning("%s; capturing without it", error)  # what scapy's own sockets of Linux do in silence
            return self._open(filter, False, options)
        try:
            # scapy's own sockets do that: those of Linux that send do not hear themselves.
            if sys.platform.startswith("linux") and (self._sends or self.type != ETH_P_ALL):
                capture.set_direction("in")
        except BaseException:
            capture.close()
            raise
        return capture

    def send(self, x: Any) -> int:
        """Raises Scapy_Exception: see ZeroCopySocket."""
        raise Scapy_Exception(f"Can't send anything with {self.__class__.__name__}")


class ZeroCopySocket(ZeroCopyListenSocket):
    """Sends and receives at layer 2: scapy's ``conf.L2socket``."""

    desc = "read/write packets at layer 2, by pypcapzc"
    _sends = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outs = self._capture

    def send(self, x: Any) -> int:
        """Send a packet as it is, link-layer header included; gives the bytes sent.  Raises OSError."""
        data = raw(x)
        if isinstance(x, Packet):
            x.sent_time = time.time()
        try:
            return self._send(data)
        except OSError as error:
            if error.errno != errno.EINVAL or len(data) >= conf.min_pkt_size:
                raise
        padding = bytes(conf.min_pkt_size - len(data))
        return self._send(raw(x / Padding(load=padding)) if isinstance(x, Packet) else data + padding)

    def _send(self, data: bytes) -> int:
        if self.closed or self._capture is None:
            raise OSError(errno.EBADF, "the socket was closed")
        try:
            return self._capture.inject(data)
        except PcapError as error:
            text = str(error)
            number = next((n for n in errno.errorcode if os.strerror(n) in text), errno.EIO)
            raise OSError(number, text) from error


def _device(iface: Any) -> str:
    """The name that libpcap knows an interface by: scapy lists neither "any" nor what is no interface."""
    try:
        return str(network_name(iface))
    except ValueError:
        return str(iface)


def _filter(expression: str | None, nofilter: Any, protocol: int) -> str | None:
    """The filter that a socket is to have: the caller's, conf.except_filter, and its protocol."""
    parts = [] if nofilter or expression is None else [expression]
    if conf.except_filter and not nofilter:
        parts = [f"({each})" for each in parts if each] + [f"not ({conf.except_filter})"]
    if protocol != ETH_P_ALL:
        parts = [f"({each})" for each in parts if each] + [f"ether proto {protocol:#x}"]
    return " and ".join(parts) if parts else None
