"""What pypcap 1.3 offers and pcap-ct adds, on pypcapzc: compat.install() and `pypcapzc run` make it ``pcap``.

Names, arguments, results and exceptions are pypcap's; messages say more.  What differs, docs/migrating.md
lists: timeouts hold on an idle link, Ctrl-C ends every wait, and a closed handle is an error, not a crash.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

from .. import errors
from ..block import Block
from ..capture import Capture, Direction
from ..constants import PCAP_TSTAMP_PRECISION_MICRO, PCAP_TSTAMP_PRECISION_NANO, pcap_direction_t
from ..datalinks import (
    DLT_ARCNET,
    DLT_AX25,
    DLT_CHAOS,
    DLT_EN3MB,
    DLT_EN10MB,
    DLT_FDDI,
    DLT_IEEE802,
    DLT_LINUX_SLL,
    DLT_LINUX_SLL2,
    DLT_NULL,
    DLT_PFLOG,
    DLT_PPP,
    DLT_PRONET,
    DLT_SLIP,
)
from ..savefile import open_offline
from ..sources.live import MAXIMUM_SNAPLEN
from .cursor import Cursor
from .lookup import ex_name, findalldevs, lookupdev, lookupnet
from .opening import open_live
from .pcapy import compile as _compile
from .pcapy_reader import PcapError as _CompileError

__version__ = "1.3.0"
__url__ = "https://github.com/pynetwork/pypcap"

# pypcap's own values on every system but OpenBSD.
_OPENBSD = sys.platform.startswith("openbsd")
DLT_PFSYNC = 18
DLT_LOOP, DLT_RAW = (12, 14) if _OPENBSD else (108, 12)

PCAP_D_INOUT, PCAP_D_IN, PCAP_D_OUT = map(int, pcap_direction_t)

dltoff = {
    DLT_NULL: 4,
    DLT_EN10MB: 14,
    DLT_IEEE802: 22,
    DLT_ARCNET: 6,
    DLT_SLIP: 16,
    DLT_PPP: 4,
    DLT_FDDI: 21,
    DLT_PFLOG: 48,
    DLT_PFSYNC: 4,
    DLT_LOOP: 4,
    DLT_RAW: 0,
    DLT_LINUX_SLL: 16,
    DLT_LINUX_SLL2: 20,
}
"""Length of the link-layer header, by type."""

__all__ = [
    "DLT_ARCNET",
    "DLT_AX25",
    "DLT_CHAOS",
    "DLT_EN10MB",
    "DLT_EN3MB",
    "DLT_FDDI",
    "DLT_IEEE802",
    "DLT_LINUX_SLL",
    "DLT_LINUX_SLL2",
    "DLT_LOOP",
    "DLT_NULL",
    "DLT_PFLOG",
    "DLT_PFSYNC",
    "DLT_PPP",
    "DLT_PRONET",
    "DLT_RAW",
    "DLT_SLIP",
    "PCAP_D_IN",
    "PCAP_D_INOUT",
    "PCAP_D_OUT",
    "PCAP_TSTAMP_PRECISION_MICRO",
    "PCAP_TSTAMP_PRECISION_NANO",
    "bpf",
    "dltoff",
    "ex_name",
    "findalldevs",
    "lookupdev",
    "lookupnet",
    "pcap",
]

_Time = int | float
_Pair = tuple[_Time, bytes]
_T = TypeVar("_T")


def _seconds(block: Block, start: int) -> Iterator[_Pair]:
    return block.pairs_in_seconds(start, fine=True)


def _nanoseconds(block: Block, start: int) -> Iterator[_Pair]:
    return block.pairs(start)


def _number(value: Any) -> int:
    """As pypcap takes numbers: what is no text and int() understands."""
    if isinstance(value, str | bytes):
        raise TypeError(f"an integer is required, not {type(value).__name__}")
    return int(value)


_NONE, _FOUND, _TOLD = range(3)
"""Damage of a savefile: dispatch() has to tell of it once."""


class bpf:  # noqa: N801 - pypcap's name
    """A filter for packets at hand: ``bpf(b"tcp port 80", dlt=DLT_EN10MB)``; text is taken too.

    Raises OSError where the expression does not compile.
    """

    __slots__ = ("__weakref__", "_program")
    __module__ = "pcap"

    def __init__(self, filter: bytes | str, dlt: int = DLT_RAW) -> None:
        text = os.fsdecode(filter)
        try:
            self._program = _compile(_number(dlt), 65535, text, 1, 0)
        except _CompileError as error:
            raise OSError(f"bad filter {text!r}: {error}") from None

    def filter(self, buf: bytes) -> bool:
        """Whether the packet in ``buf``, any buffer of bytes, matches."""
        return self._program.filter(memoryview(buf).tobytes()) != 0


class pcap:  # noqa: N801 - pypcap's name
    """Packets of a device or a savefile: iterate for (time, bytes), or use loop(), dispatch(), readpkts().

    name             a savefile, or else a device; None: the first device that is up and no loopback
    snaplen          bytes to keep of each packet
    promisc          whether to ask for promiscuous mode
    timeout_ms       milliseconds that dispatch() and readpkts() may wait for a packet, and the kernel may
                     hold a partly filled buffer; 0: until something comes
    immediate        deliver each packet at once
    rfmon            monitor mode
    timestamp_in_ns  times as int nanoseconds, not as float seconds
    buffer_size      bytes of the kernel's buffer; 0: libpcap's default
    datalink         a link-layer type to choose, a DLT_ value (as in pcap-ct)

    Raises OSError where it cannot be opened.
    """

    __module__ = "pcap"

    def __init__(
        self,
        name: str | None = None,
        snaplen: int = 65535,
        promisc: bool = True,
        timeout_ms: int = 0,
        immediate: bool = False,
        rfmon: bool = False,
        timestamp_in_ns: bool = False,
        buffer_size: int = 0,
        datalink: int | None = None,
    ) -> None:
        self._name = name or lookupdev()
        if not isinstance(self._name, str):
            raise AttributeError(f"name is {self._name!r}; it is text, or None")
        self._filter, self._error = "", b""
        self._timestamp_in_ns = bool(timestamp_in_ns)
        self._timeout_ms = max(_number(timeout_ms), 0)
        self._blocking = True
        self._damage = _NONE
        self._file: int | None = None
        wanted, size = _number(snaplen), _number(buffer_size)
        options = {
            "snaplen": wanted if 0 < wanted <= MAXIMUM_SNAPLEN else MAXIMUM_SNAPLEN,
            "promisc": _number(promisc) != 0,
            "timeout_ms": self._timeout_ms,
            "immediate": _number(immediate) != 0,
            "rfmon": _number(rfmon) != 0,
            "buffer_size": size if size > 0 else None,
        }
        capture = self._open(options)
        self._cursor = Cursor(capture, _nanoseconds if self._timestamp_in_ns else _seconds)
        if datalink is not None:
            self._checked(lambda: capture.set_datalink(_number(datalink)))
        self._dloff = dltoff.get(capture.datalink, 0)

    def _open(self, options: dict[str, Any]) -> Capture:
        try:
            return open_offline(self._name)
        except (errors.PcapError, OSError, ValueError) as error:
            no_savefile = str(error)  # the exception itself would keep this frame, and so the handle
        try:
            return open_live(self._name, **options)
        except (errors.PcapError, OSError) as error:
            also = f"; nor is it a savefile: {no_savefile}" if os.path.lexists(self._name) else ""
            raise OSError(f"cannot capture: {error}{also}") from error

    # --- reading ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[_Pair]:
        """(time, bytes) of each packet, until the end of a savefile; on a device for ever, or to Ctrl-C.

        Damage ends a savefile; geterr() tells of it then.
        """
        self._require_open()
        _take_interrupts()
        return chain.from_iterable(iter(self._more, None))

    def _more(self) -> Iterator[_Pair] | None:
        """What is at hand, or comes next; None at the end."""
        cursor = self._cursor
        return cursor.singly if self._fill(None) else None

    def __next__(self) -> _Pair:
        """(time, bytes) of the next packet, however long it takes; StopIteration at the end of a savefile."""
        cursor = self._cursor
        while True:
            for pair in cursor.singly:
                return pair
            if not self._fill(None):
                raise StopIteration

    next = __next__

    def _fill(self, timeout: float | None) -> bool:
        """See to it that something is at hand; False where nothing came in time, or ever will.

        Raises OSError where the device is gone.
        """
        cursor = self._cursor
        try:
            return cursor.fill(timeout)
        except errors.CaptureClosedError:  # by the callback, or another thread
            return False
        except errors.SavefileError as error:
            if self._damage == _NONE:
                self._damage = _FOUND
            self._note(error)
            return False
        except errors.PcapError as error:
            raise self._noted(error) from None

    @property
    def _patience(self) -> float | None:
        """Seconds that dispatch() may wait."""
        if not self._cursor.capture.live:
            return None
        if not self._blocking:
            return 0
        return self._timeout_ms / 1000 or None

    def dispatch(self, cnt: int, callback: Callable[..., object], *args: Any) -> int:
        """Calls ``callback(time, bytes, *args)`` for what is there, at most ``cnt`` packets; gives how many.

        0 or less: all of one buffer, or of a savefile.  Gives 0 where nothing came within ``timeout_ms``, and
        at the end of a savefile, -1 at a damage of it.  An exception of the callback comes out at once; the
        packets after it stay for the next call.
        """
        limit = _number(cnt)
        self._require_open()
        if self._cursor.capture.live:
            return self._deliver(limit, self._patience, callback, args)
        count = 0
        while limit <= 0 or count < limit:
            more = self._deliver(limit - count, None, callback, args)
            if not more:
                return self._end()
            count += more
        return count

    def _end(self) -> int:
        """What dispatch() gives at the end of a savefile: -1 once where that is a damage."""
        found, self._damage = self._damage, _TOLD if self._damage == _FOUND else self._damage
        return -1 if found == _FOUND else 0

    def _deliver(
        self, limit: int, timeout: float | None, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> int:
        """At most ``limit`` packets of what is at hand or comes next; 0 or less: all of it."""
        if not self._fill(timeout):
            return 0
        return self._cursor.hand_over(limit, callback, args)

    def loop(self, cnt: int, callback: Callable[..., object], *args: Any) -> None:
        """Calls ``callback(time, bytes, *args)`` for ``cnt`` packets; 0 or less: until a savefile ends.

        An exception of the callback ends it, and so does Ctrl-C, as KeyboardInterrupt.
        """
        # pypcap compares it with the number of packets so far: what is no such number is no limit.
        left = limit = int(cnt) if isinstance(cnt, int | float) and cnt == int(cnt) else 0
        self._require_open()
        _take_interrupts()
        while limit <= 0 or left:
            count = self._deliver(left, None, callback, args)
            if not count:
                return
            left -= count

    def readpkts(self) -> list[_Pair]:
        """A list of (time, bytes): what is there, as of dispatch(-1)."""
        self._require_open()
        found: list[_Pair] = []
        live = self._cursor.capture.live
        while self._fill(self._patience):
            found += self._cursor.at_hand
            if live:
                break
        else:
            self._end()
        self._cursor.emptied()
        return found

    # --- what it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The device or savefile."""
        return self._name

    @property
    def snaplen(self) -> int:
        """Bytes that are kept of each packet."""
        return self._cursor.capture.snapshot

    @property
    def dloff(self) -> int:
        """Length of the link-layer header; 0 where dltoff lacks its type."""
        return self._dloff

    @property
    def filter(self) -> str:
        """The filter that was set last."""
        return self._filter

    @property
    def fd(self) -> int:
        """fileno()."""
        return self.fileno()

    @property
    def precision(self) -> int:
        """PCAP_TSTAMP_PRECISION_NANO: times have nanoseconds where the device's have."""
        return PCAP_TSTAMP_PRECISION_NANO

    @property
    def timestamp_in_ns(self) -> bool:
        """Whether times are int nanoseconds."""
        return self._timestamp_in_ns

    def fileno(self) -> int:
        """A descriptor for select(), which is readable where packets are there; -1 where there is none."""
        self._require_open()
        if self._cursor.capture.live:
            try:
                return self._cursor.fileno()
            except errors.PcapError:
                return -1
        if self._name == "-":
            return 0
        if self._file is None:
            self._file = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def datalink(self) -> int:
        """The link-layer type, a DLT_ value."""
        return self._checked(lambda: self._cursor.capture.datalink)

    def stats(self) -> tuple[int, int, int]:
        """(received, dropped, dropped by the interface).  Raises OSError on a savefile."""
        self._require_open()
        found = self._checked(self._cursor.capture.stats)
        return found.received, found.dropped, found.dropped_by_interface

    def geterr(self) -> bytes:
        """The last error's message; empty where there was none."""
        return self._error

    # --- control ---------------------------------------------------------------------------------

    def setfilter(self, value: str, optimize: int = 1) -> None:
        """Install a filter (pcap-filter(7)) with netmask 0; packets that wait are filtered too.

        ``optimize`` makes no difference to what it matches.  Raises OSError where it does not compile.
        """
        if not isinstance(value, str):
            raise AttributeError(f"a filter is text, not {type(value).__name__}")
        _number(optimize)
        self._require_open()
        self._filter = value
        self._checked(lambda: self._cursor.capture.set_filter(value, netmask=0))
        self._cursor.refilter(value, 0)

    def setdirection(self, direction: int) -> bool:
        """PCAP_D_INOUT, PCAP_D_IN or PCAP_D_OUT; False where that cannot be had."""
        names: dict[int, Direction] = {PCAP_D_INOUT: "inout", PCAP_D_IN: "in", PCAP_D_OUT: "out"}
        wanted = names.get(_number(direction))
        self._require_open()
        try:
            if wanted is not None:
                self._cursor.capture.set_direction(wanted)
        except errors.PcapError as error:
            self._note(error)
            return False
        return wanted is not None

    def setnonblock(self, nonblock: bool = True) -> None:
        """Whether dispatch() and readpkts() return at once where nothing is there."""
        self._require_open()
        if self._cursor.capture.live:
            self._blocking = not _number(nonblock)

    def getnonblock(self) -> bool:
        """Whether they do."""
        self._require_open()
        return not self._blocking

    def sendpacket(self, buf: Any) -> int:
        """Send a packet, bytes with the link-layer header included; gives its length.  Raises OSError."""
        if isinstance(buf, str):
            raise TypeError("expected bytes, str found")
        self._require_open()
        self._checked(lambda: self._cursor.capture.inject(buf))
        return len(buf)

    def close(self) -> None:
        """Close; later calls raise OSError.  Twice is no error."""
        self._cursor.close()
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        if hasattr(self, "_cursor"):
            self.close()

    # --- errors ----------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._cursor.capture.closed:
            raise OSError(f"{self._name} is closed")

    def _checked(self, action: Callable[[], _T]) -> _T:
        """What it gives; pypcapzc's exceptions become OSError."""
        try:
            return action()
        except errors.PcapError as error:
            raise self._noted(error) from None

    def _note(self, error: Exception) -> None:
        self._error = str(error).encode(errors="replace")

    def _noted(self, error: Exception) -> OSError:
        self._note(error)
        return OSError(str(error))


def _take_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, where it was ignored or handled otherwise, as pypcap does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
