"""Reader, Pkthdr and Dumper of the ``pcapy`` drop-in."""

from __future__ import annotations

import operator
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from operator import length_hint
from typing import Any, cast

from .. import companion, errors
from ..block import Block
from ..capture import Capture, Direction
from ..constants import PCAP_ERROR, PCAP_ERROR_ACTIVATED
from ..leases import RECORD
from ..linktypes import dlt_to_linktype
from ..savefile import open_offline
from ..sources.live import MAXIMUM_SNAPLEN
from .cursor import Cursor, Part, call_for_each
from .opening import open_live
from .pcapy_batches import Batches, batch
from .pcapy_classes import Given, Rules
from .pcapy_sieve import Sieve, sieve

_SECOND_US = 1_000_000
_INT_MAX = 2**31 - 1
_SOL_PACKET, _PACKET_FANOUT = 263, 18  # linux/socket.h, linux/if_packet.h


class PcapError(Exception):
    """What libpcap reports, in words."""

    __module__ = "pcapy"


class BPFError(Exception):
    """A filter does not compile."""

    __module__ = "pcapy"


@contextmanager
def translated() -> Iterator[None]:
    """Our exceptions become pcapy-ng's."""
    try:
        yield
    except errors.CaptureClosedError:
        raise ValueError("pcap is closed") from None
    except (errors.PcapError, OSError) as error:
        raise PcapError(str(error)) from error


class Pkthdr(bytes):
    """The header of a packet: its record (block.RECORD), since no other object is as cheap to make."""

    __slots__ = ()
    __module__ = "pcapy"
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__
    __repr__ = object.__repr__
    __str__ = object.__str__

    def getts(self) -> tuple[int, int]:
        """(seconds, microseconds) since the epoch."""
        ts_ns: int = RECORD.unpack(self)[0]
        return divmod(ts_ns // 1000, _SECOND_US)

    def getcaplen(self) -> int:
        """Bytes present."""
        return cast("int", RECORD.unpack(self)[2])

    def getlen(self) -> int:
        """Bytes on the wire."""
        return cast("int", RECORD.unpack(self)[3])


_Pair = tuple[Pkthdr, bytes]


def _pairs(block: Block, start: int) -> Iterator[_Pair]:
    """(Pkthdr, bytes) of each packet from ``start`` on."""
    return block.pairs_with_records(Pkthdr, start)


class Reader:
    """Packets of a device or a savefile."""

    __module__ = "pcapy"

    def __init__(self, device: str, net: int, mask: int) -> None:
        self._name, self._net, self._mask = device, net, mask
        self._options: dict[str, Any] = {"promisc": False, "timeout_ms": 0, "tstamp_precision": "micro"}
        self._cursor: Cursor[_Pair] | None = None
        self._why_not = ""
        self._closed = False
        self._blocking = True
        self._file: Any = None
        self._rules = Rules(Given())
        self._sieve = Sieve(self._rules, 0, Pkthdr)

    # --- before activation -----------------------------------------------------------------------

    def set_snaplen(self, snaplen: int, /) -> int:
        """Bytes to keep of each packet.  Gives 0, or PCAP_ERROR_ACTIVATED."""
        wanted = operator.index(snaplen)
        return self._set("snaplen", wanted if 0 < wanted <= MAXIMUM_SNAPLEN else MAXIMUM_SNAPLEN)

    def set_promisc(self, promisc: int, /) -> int:
        """Whether to ask for promiscuous mode."""
        return self._set("promisc", operator.index(promisc) != 0)

    def set_timeout(self, to_ms: int, /) -> int:
        """Milliseconds that a read may wait; 0: until something comes."""
        return self._set("timeout_ms", max(operator.index(to_ms), 0))

    def set_buffer_size(self, buffer_size: int, /) -> int:
        """Bytes of the kernel's buffer."""
        wanted = operator.index(buffer_size)
        return self._set("buffer_size", wanted if wanted > 0 else None)

    def set_rfmon(self, rfmon: int, /) -> int:
        """Whether to ask for monitor mode."""
        return self._set("rfmon", operator.index(rfmon) != 0)

    def _set(self, option: str, value: Any) -> int:
        self._require_open()
        if self._cursor is not None:
            return PCAP_ERROR_ACTIVATED
        self._options[option] = value
        return 0

    def activate(self) -> int:
        """Begin to capture.  Gives 0, or a negative PCAP_ERROR_*; the next call then says why."""
        self._require_open()
        if self._cursor is not None:
            return PCAP_ERROR_ACTIVATED
        try:
            open_device(self)
        except PcapError as error:
            self._why_not = str(error)
            code = getattr(error.__cause__, "code", None)
            return code if code is not None and code < 0 else PCAP_ERROR
        return 0

    def _start(self, capture: Capture) -> None:
        self._cursor = Cursor(capture, _pairs)

    # --- reading ---------------------------------------------------------------------------------

    def next(self) -> tuple[Pkthdr | None, bytes]:
        """(header, bytes) of the next packet; (None, b"") at the end, or where none came in time."""
        cursor = self._opened()
        while True:
            for pair in cursor.singly:
                return pair
            with translated():
                if not cursor.fill(self._patience):
                    return None, b""

    def dispatch(self, cnt: int, callback: Callable[[Pkthdr, bytes], object], /) -> int:
        """Calls ``callback(header, bytes)`` for what is there, at most ``cnt`` packets; gives how many.

        A savefile is read to its end where ``cnt`` is 0 or less; who meets the end gets 0, as from libpcap.
        """
        cursor, limit = self._opened(), operator.index(cnt)
        if cursor.capture.live:
            return self._deliver(cursor, limit, callback, self._patience)
        count = 0
        while limit <= 0 or count < limit:
            more = self._deliver(cursor, limit - count, callback, None)
            if not more:
                return 0
            count += more
        return count

    def loop(self, cnt: int, callback: Callable[[Pkthdr, bytes], object], /) -> None:
        """Calls ``callback(header, bytes)`` for ``cnt`` packets (0 or less: all that will ever come)."""
        cursor, limit = self._opened(), operator.index(cnt)
        left = limit
        while limit <= 0 or left:
            count = self._deliver(cursor, left, callback, None)
            if not count or self._closed:
                return
            left -= count

    def _deliver(
        self,
        cursor: Cursor[_Pair],
        limit: int,
        callback: Callable[[Pkthdr, bytes], object],
        timeout: float | None,
    ) -> int:
        """At most ``limit`` packets of one block (0 or less: all); the callback's exceptions lose none."""
        with translated():
            if not cursor.fill(timeout):
                return 0
        return cursor.hand_over(limit, callback)

    @property
    def _patience(self) -> float | None:
        """Seconds that a read may wait."""
        assert self._cursor is not None
        if not self._cursor.capture.live:
            return None
        if not self._blocking:
            return 0
        return self._options["timeout_ms"] / 1000 or None

    def next_batch(self, max_n: int, /) -> tuple[bytes, bytes]:
        """At most ``max_n`` packets at once: their bytes, and (sec, usec, offset, caplen) of each as u32."""
        cursor, limit = self._opened(), operator.index(max_n)
        if limit <= 0:
            limit = 256
        if cursor.pours(True) and (batches := self._batches) is not None:
            with translated():
                return cursor.pour(batches, limit, self._patience) or (b"", b"")
        with translated():
            found = cursor.take(limit, self._patience)
        if not found:
            return b"", b""
        made = batch(*found)
        cursor.emptied()
        return made

    @cached_property
    def _batches(self) -> Batches | None:
        fast = companion.current()
        return Batches(fast) if fast is not None else None

    # --- classes ---------------------------------------------------------------------------------

    def loop_filtered(
        self,
        cnt: int,
        cb: Callable[[Pkthdr, bytes, int], object],
        admit_mask: int = 7,
        addr_set: bytes = b"",
        flow_cutoff: int = 0,
        dpi_ports: Sequence[int] | None = None,
        tls_ports: Sequence[int] | None = None,
        dns_port: int = 53,
        l2_offset: int = 14,
        profile: int = 0,
    ) -> tuple[int, ...]:
        """loop() with ``cb(header, bytes, class)`` for packets of classes whose bits are in ``admit_mask``.

        Gives (admitted, dropped, packets of each class); pcapy_classes says what the classes are.
        """
        cursor, limit = self._opened(), operator.index(cnt)
        wanted = Given(addr_set, flow_cutoff, dpi_ports, tls_ports, dns_port, l2_offset, profile)
        rules = self._rules = self._rules.again(wanted.settled())
        self._sieve = found = sieve(rules, operator.index(admit_mask), Pkthdr)
        for block, start in self._sifted(cursor, limit, found):
            admitted = found.admitted(block, start)
            try:
                call_for_each(cb, admitted)
                if length_hint(admitted):
                    raise StopIteration  # the callback did, which ends an iteration silently
            except BaseException:
                cursor.give_back(found.undo(admitted))
                raise
            finally:
                del admitted  # it keeps the block
        cursor.emptied()
        return found.counts

    def loop_to_buffer(
        self,
        cnt: int,
        writable_buf: Any,
        admit_mask: int = 7,
        addr_set: bytes = b"",
        flow_cutoff: int = 0,
        dpi_ports: Sequence[int] | None = None,
        tls_ports: Sequence[int] | None = None,
        dns_port: int = 53,
        l2_offset: int = 14,
        profile: int = 0,
    ) -> tuple[int, ...]:
        """Writes the admitted packets one after the other: u32 caplen (little-endian), u8 class, the bytes.

        Gives (written, dropped, overflow, bytes used, packets of each class): what finds no room is counted
        as overflow.
        """
        cursor, limit = self._opened(), operator.index(cnt)
        wanted = Given(addr_set, flow_cutoff, dpi_ports, tls_ports, dns_port, l2_offset, profile)
        rules = self._rules = self._rules.again(wanted.settled())
        with memoryview(writable_buf).cast("B") as buffer:
            if buffer.readonly:
                raise TypeError("loop_to_buffer() needs a writable buffer")
            found = sieve(rules, operator.index(admit_mask), Pkthdr, buffer)
            for _ in self._sifted(cursor, limit, found):
                pass
        written, dropped, *of_each = found.counts
        overflow, used = found.written
        return (written - overflow, dropped, overflow, used, *of_each)

    def filtered_stats(self) -> tuple[int, ...]:
        """(admitted, dropped, packets of each class) of the loop_filtered() that runs, or ran last.

        While it runs, the packets of a block count at once.
        """
        return self._sieve.counts

    def _sifted(self, cursor: Cursor[_Pair], limit: int, found: Sieve) -> Iterator[tuple[Block, int]]:
        """Where the sieve has found packets that the program is to be told of: block, and first packet."""
        left = limit if limit > 0 else _INT_MAX
        while left:
            with translated():
                if cursor.pours(found.copies) and (target := found.target) is not None:
                    count = cursor.pour(target, left, None)
                    part = Part(count, None, 0, 0, True) if count else None
                else:
                    part = cursor.sift(found.native, left)
            if part is None:
                return
            if limit > 0:
                left -= part.passed + part.stop - part.start
            if part.block is not None and (part.looked or found.look(part.block, part.start, part.stop)):
                yield part.block, part.start

    # --- control ---------------------------------------------------------------------------------

    def setfilter(self, filter: str, /) -> None:
        """Install a filter (pcap-filter(7)); what waits is filtered too."""
        cursor = self._opened()
        if not isinstance(filter, str):
            raise TypeError(f"setfilter() argument 1 must be str, not {type(filter).__name__}")
        with translated():
            cursor.capture.set_filter(filter, netmask=self._mask)
        cursor.refilter(filter, self._mask)

    def getnet(self) -> str:
        """The device's IPv4 network; 0.0.0.0 where it has none."""
        return self._address(self._net)

    def getmask(self) -> str:
        """Its netmask."""
        return self._address(self._mask)

    def _address(self, number: int) -> str:
        self._require_open()
        return socket.inet_ntoa(struct.pack("=I", number))

    def datalink(self) -> int:
        """The link-layer type, a DLT_ value."""
        return self._opened().capture.datalink

    def setnonblock(self, state: int, /) -> None:
        """Whether reads return at once where nothing is there."""
        self._opened()
        self._blocking = not operator.index(state)

    def getnonblock(self) -> int:
        """1 if reads do not wait."""
        self._opened()
        return int(not self._blocking)

    def setdirection(self, direction: int, /) -> None:
        """PCAP_D_INOUT, PCAP_D_IN or PCAP_D_OUT."""
        names: dict[int, Direction] = {0: "inout", 1: "in", 2: "out"}
        capture, number = self._opened().capture, operator.index(direction)
        try:
            capture.set_direction(names[number])
        except (KeyError, errors.PcapError) as error:
            raise PcapError(f"Failed setting direction: {error}") from None

    def stats(self) -> tuple[int, int, int]:
        """(received, dropped, dropped by the interface)."""
        with translated():
            found = self._opened().capture.stats()
        return found.received, found.dropped, found.dropped_by_interface

    def sendpacket(self, packet: bytes, /) -> None:
        """Send a packet, link-layer header included."""
        capture, data = self._opened().capture, memoryview(packet)
        with translated():
            capture.inject(data)

    def dump_open(self, filename: str, /) -> Dumper:
        """A Dumper that writes a savefile."""
        capture = self._opened().capture
        with translated():
            return Dumper(filename, capture.snapshot, capture.datalink)

    def getfd(self) -> int:
        """A descriptor for select(); -1 where there is none."""
        capture = self._opened().capture
        if not capture.live:
            if self._file is None:
                try:
                    self._file = open(self._name, "rb", buffering=0)  # noqa: SIM115
                except OSError:  # standard input
                    return 0 if self._name == "-" else -1
            return cast("int", self._file.fileno())
        try:
            return self._opened().fileno()
        except errors.PcapError:
            return -1

    def set_fanout(self, group_id: int, fanout_type: int = 0) -> None:
        """Share the device's packets with the other readers of the group (PACKET_FANOUT, packet(7))."""
        capture = self._opened().capture
        if not sys.platform.startswith("linux"):
            raise PcapError("PACKET_FANOUT is only available on Linux")
        if not capture.live:
            raise PcapError(f"{capture.name} is a savefile: PACKET_FANOUT needs a live capture")
        word = (operator.index(group_id) & 0xFFFF) | (operator.index(fanout_type) & 0xFFFF) << 16
        with socket.socket(fileno=os.dup(capture.fileno())) as packets:
            try:
                packets.setsockopt(_SOL_PACKET, _PACKET_FANOUT, word - (word >> 31 << 32))
            except OSError as error:
                raise PcapError(error.errno, error.strerror) from None

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close; later calls raise ValueError.  Twice is no error."""
        self._closed = True
        if self._cursor is not None:
            self._cursor.close()
        if self._file is not None:
            self._file.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("pcap is closed")

    def _opened(self) -> Cursor[_Pair]:
        cursor = self._cursor
        if cursor is None or self._closed:
            self._require_open()
            raise PcapError(self._why_not or f"{self._name} has not been activated: call activate() first")
        return cursor

    def __enter__(self) -> Reader:
        self._require_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_cursor", None) is not None:
            self.close()


def open_device(reader: Reader) -> None:
    """Activate a reader as it was set up.  Raises PcapError."""
    with translated():
        reader._start(open_live(reader._name, **reader._options))


def opened_offline(filename: str) -> Reader:
    """A reader of a savefile.  Raises PcapError."""
    reader = Reader(filename, 0, 0)
    with translated():
        reader._start(open_offline(filename))
    return reader


class Dumper:
    """Writes a savefile with microseconds, as libpcap does for pcapy-ng's readers."""

    __module__ = "pcapy"

    def __init__(self, filename: str, snaplen: int, datalink: int) -> None:
        linktype = dlt_to_linktype(datalink)
        if linktype is None:
            raise errors.PcapError(f"{filename}: link-layer type {datalink} isn't supported in savefiles")
        self._file: Any = os.fdopen(os.dup(1), "wb") if filename == "-" else open(filename, "wb")  # noqa: SIM115
        self._file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype))

    def dump(self, header: Pkthdr, data: bytes, /) -> None:
        """Append a packet."""
        if not isinstance(header, Pkthdr):
            raise PcapError("Not a pkthdr object")
        if self._file.closed:
            raise PcapError("Dumper is already closed.")
        with memoryview(data) as view, translated():
            seconds, us = header.getts()
            caplen = min(header.getcaplen(), view.nbytes)
            self._file.write(struct.pack("=IIII", seconds & 0xFFFFFFFF, us, caplen, header.getlen()))
            self._file.write(view[:caplen])

    def close(self) -> None:
        """Write what is left and close the file."""
        with translated():
            self._file.close()

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()
