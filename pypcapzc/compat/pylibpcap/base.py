"""LibPcap, savefiles that are read or written, and Sniff, a device that is captured on."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Any, NamedTuple

from ... import errors
from ...block import Block
from ...capture import Capture
from ...savefile import open_offline
from ...sources.live import MAXIMUM_SNAPLEN
from .. import opening
from ..cursor import Cursor
from ..lookup import findalldevs, lookupdev
from .exception import LibpcapError
from .utils import from_c_str, get_pcap_file, to_c_str
from .writing import Writer

__all__ = [
    "BasePcap",
    "LibPcap",
    "LibpcapError",
    "Sniff",
    "StatsObject",
    "from_c_str",
    "get_first_iface",
    "get_iface_list",
    "get_pcap_file",
    "send_packet",
    "to_c_str",
]

_MANY = 1 << 30
_NETMASK = 0
"""What python-libpcap compiles filters with."""


@contextmanager
def _translated() -> Iterator[None]:
    """Our exceptions become python-libpcap's."""
    try:
        yield
    except errors.FilterError as error:
        raise LibpcapError(f"compile bpf_filter error: {error}") from None
    except (errors.PcapError, OSError) as error:
        raise LibpcapError(str(error)) from error


def _pairs(block: Block, start: int) -> Iterator[tuple[float, bytes]]:
    return block.pairs_in_seconds(start)


def _triples(block: Block, start: int) -> Iterator[tuple[int, int, bytes]]:
    return block.triples_in_whole_seconds(start)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Argument {name!r} has incorrect type (expected str, got {type(value).__name__})")
    return value


def _number(value: Any) -> int:
    if isinstance(value, str | bytes):
        raise TypeError(f"an integer is required, not {type(value).__name__}")
    return int(value)


class BasePcap:
    """What LibPcap and Sniff have in common."""

    __module__ = "pylibpcap.base"
    mode = ""

    def _to_c_str(self, v: object) -> bytes:
        return to_c_str(v)

    def _from_c_str(self, v: object) -> str:
        return from_c_str(v)

    def get_errbuf(self) -> str:
        """The message of the last call that failed to open something; exceptions carry it here."""
        return ""

    def get_handler_error(self) -> str:
        """libpcap's last message; exceptions carry it here."""
        return ""

    @property
    def isr(self) -> bool:
        """Opened to be read."""
        return self.mode == "r"

    @property
    def isw(self) -> bool:
        """Opened to be written."""
        return self.mode in ("a", "w")


class LibPcap(BasePcap):
    """A savefile: ``mode`` "r" reads, "w" writes a new one, "a" goes on with one.

    path      the file
    filters   a pcap-filter(7) expression for what is read, or taken over by write_path()
    snaplen   what a new file's header says

    Raises LibpcapError where it cannot be opened.
    """

    __module__ = "pylibpcap.base"

    def __init__(
        self,
        path: str,
        mode: str = "r",
        filters: str | None = "",
        snaplen: int = 65535,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._cursor: Cursor[tuple[int, int, bytes]] | None = None
        self._writer: Writer | None = None
        name = os.path.expanduser(_text(path, "path"))
        self._filters = "" if filters is None else _text(filters, "filters")
        self.mode, length = mode, _number(snaplen)
        if self.isr:
            self._cursor = Cursor(_opened(name), _triples)
        elif self.isw:
            try:
                self._writer = Writer(name, length, append=mode == "a")
            except errors.PcapError as error:
                raise LibpcapError(str(error)) from None

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """(caplen, whole seconds since the epoch, bytes) of each packet that matches."""
        if self._cursor is None:
            raise LibpcapError("Not Read." if not self.isr else "The file is closed.")
        with _translated():
            if self._filters:
                self._cursor.capture.set_filter(self._filters, netmask=_NETMASK)
                self._cursor.refilter(self._filters, _NETMASK)
        while self._fill():
            yield from self._cursor.at_hand

    def _fill(self) -> bool:
        """See to it that there is something; damage ends a file, as it does in python-libpcap."""
        try:
            return self._cursor is not None and self._cursor.fill(None)
        except errors.PcapError:
            return False

    def write(self, v: bytes | Iterable[bytes]) -> None:
        """Append a packet, or each of some, with the time of now."""
        if self._writer is None:
            raise LibpcapError("Not write." if not self.isw else "The file is closed.")
        packets = [v] if isinstance(v, bytes) else [each for each in v if isinstance(each, bytes)]
        now = int(time.time()) * 1_000_000_000
        with _translated():
            self._writer.write_packets((now, each) for each in packets)

    def write_path(self, path: str) -> None:
        """Append the packets of a savefile, or of all below a folder that have ".pcap" in their names."""
        if self._writer is None:
            raise LibpcapError("Not write.")
        for name in get_pcap_file(_text(path, "path")):
            with contextlib.closing(_opened(name)) as capture, _translated():
                if self._filters:
                    capture.set_filter(self._filters, netmask=_NETMASK)
                with contextlib.suppress(errors.SavefileError):
                    for block in capture.blocks():
                        self._writer.write(block)

    def close(self) -> None:
        """Close the file; twice is no error."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            with _translated():
                writer.close()

    def __del__(self) -> None:
        if hasattr(self, "_writer"):
            self.close()


def _opened(name: str) -> Capture:
    with _translated():
        return open_offline(name)


class StatsObject:
    """Counters of a Sniff."""

    __module__ = "pylibpcap.base"

    def __init__(self, capture_cnt: int, ps_recv: int, ps_drop: int, ps_ifdrop: int) -> None:
        self.capture_cnt, self.ps_recv = capture_cnt, ps_recv
        self.ps_drop, self.ps_ifdrop = ps_drop, ps_ifdrop


class _Part(NamedTuple):
    """Packets of a block that are handed out one by one."""

    block: Block
    start: int
    stop: int
    packets: Iterator[tuple[int, float, bytes]]

    @property
    def at(self) -> int:
        """The first one that was not."""
        return self.stop - length_hint(self.packets)


class Sniff(BasePcap):
    """Packets of a device.

    iface            its name
    count            how many packets capture() gives; -1: no end
    promisc          whether to ask for promiscuous mode
    snaplen          bytes to keep of each packet
    timeout          milliseconds after which capture() says that nothing came; 0: it waits
    filters          a pcap-filter(7) expression
    out_file         a savefile for all packets
    monitor          1: monitor mode
    immediate_mode   deliver each packet at once

    Raises LibpcapError where it cannot be opened.
    """

    __module__ = "pylibpcap.base"

    def __init__(
        self,
        iface: str,
        count: int = -1,
        promisc: int = 0,
        snaplen: int = 65535,
        timeout: int = 0,
        filters: str | None = "",
        out_file: str | None = "",
        monitor: int = -1,
        immediate_mode: int = 0,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._count, self._settled = _number(count), 0
        self._timeout_ms, length = max(_number(timeout), 0), _number(snaplen)
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._writer: Writer | None = None
        self._part: _Part | None = None  # that capture() is at
        name = "" if filters is None else _text(filters, "filters")
        target = "" if out_file is None else os.path.expanduser(_text(out_file, "out_file"))
        with _translated():
            capture = opening.open_live(
                _text(iface, "iface"),
                snaplen=length if 0 < length <= MAXIMUM_SNAPLEN else MAXIMUM_SNAPLEN,
                promisc=_number(promisc) != 0,
                timeout_ms=self._timeout_ms,
                immediate=_number(immediate_mode) != 0,
                rfmon=_number(monitor) > 0,
                tstamp_precision="micro",
            )
            try:
                if name:
                    capture.set_filter(name, netmask=_NETMASK)
                if target:
                    self._writer = Writer(target, capture.snapshot, append=False, datalink=capture.datalink)
            except BaseException:
                capture.close()
                raise
        self._cursor = Cursor(capture, _pairs)
        opening.closed_by(self, self._cursor)

    def capture(self) -> Iterator[tuple[int, float, bytes]]:
        """(caplen, seconds since the epoch, bytes) of each packet; (0, 0, b"") where none came in time."""
        before = self._capture_cnt
        patience = self._timeout_ms / 1000 or None
        while (left := self._left(before)) > 0:
            with _translated():
                found = self._cursor.take(left, patience)
            if found is None:
                if self._cursor.capture.closed:
                    return
                yield 0, 0, b""
                continue
            packets = found[0].triples_in_seconds(*found[1:])
            self._part = _Part(*found, packets)
            try:
                yield from packets
            finally:
                self._settle()

    def _settle(self) -> None:
        """Count what capture() has handed out, write it to ``out_file``, and give back what it has not."""
        part, self._part = self._part, None
        if part is None:
            return
        stop = part.at
        self._settled += stop - part.start
        self._cursor.give_back(part.stop - stop)
        if self._writer is not None:
            with _translated():
                self._writer.write(part.block, part.start, stop)

    @property
    def _capture_cnt(self) -> int:
        """Packets that were handed out."""
        part = self._part
        return self._settled + (part.at - part.start if part is not None else 0)

    def _left(self, before: int) -> int:
        """Packets still wanted since ``capture_cnt`` was ``before``."""
        return _MANY if self._count == -1 else self._count - (self._capture_cnt - before)

    def capture_nonblocking(self) -> None:
        """Capture into ``out_file`` in a thread of its own, until ``count`` packets or the stop."""
        if self._thread is None or not self._thread.is_alive():
            self._stopped = False
            self._thread = threading.Thread(target=self.capture_nonblocking_thread)
            self._thread.start()

    def capture_nonblocking_thread(self) -> None:
        """What that thread does."""
        before = self._capture_cnt
        while not self._stopped and (left := self._left(before)) > 0:
            with contextlib.suppress(errors.CaptureClosedError), _translated():
                found = self._cursor.take(left, None)
                if found is None:
                    return
                block, start, stop = found
                if self._writer is not None:
                    self._writer.write(block, start, stop)
                self._settled += stop - start

    def is_running_nonblocking(self) -> bool:
        """Whether that thread captures."""
        return self._thread is not None and self._thread.is_alive()

    def stop_capture_nonblocking(self) -> None:
        """End it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped = True
            self._cursor.capture.breakloop()
            thread.join()

    def stats(self) -> StatsObject:
        """How many packets were captured, received, dropped, and dropped by the interface."""
        with _translated():
            found = self._cursor.capture.stats()
        return StatsObject(self._capture_cnt, found.received, found.dropped, found.dropped_by_interface)

    def close(self) -> None:
        """Close the device and the savefile; twice is no error."""
        self.stop_capture_nonblocking()
        self._settle()
        self._cursor.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            with _translated():
                writer.close()

    def __del__(self) -> None:
        if hasattr(self, "_cursor"):
            self.close()


def get_first_iface() -> str:
    """The first device that is no loopback; empty where there is none."""
    try:
        return lookupdev()
    except OSError:
        return ""


def get_iface_list() -> list[str]:
    """The names of all devices; empty where they cannot be listed."""
    try:
        return findalldevs()
    except OSError:
        return []


def send_packet(iface: str, buf: bytes) -> bool:
    """Send a packet, link-layer header included; False where libpcap refuses it.  Raises LibpcapError."""
    if not isinstance(buf, bytes):
        raise TypeError(f"Argument 'buf' has incorrect type (expected bytes, got {type(buf).__name__})")
    with _translated():
        capture = opening.open_live(_text(iface, "iface"), snaplen=65535, promisc=False, timeout_ms=0)
    with capture:
        try:
            capture.inject(buf)
        except errors.PcapError:
            return False
    return True
