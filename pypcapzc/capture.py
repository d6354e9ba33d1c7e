"""Capture: an open device or savefile, and what a program does with it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal, TypeVar

from . import platforms, zerocopy
from .block import Block
from .constants import PCAP_NETMASK_UNKNOWN, pcap_direction_t
from .counters import Counters, Stats
from .dumper import Compression, Dumper, Sink
from .dumping import dump_records, nap
from .errors import CaptureClosedError, FilterError, PcapError
from .fanout import Fanout, join
from .filters import compiled
from .handle import Handle, error_text, failure
from .rotation import Rotating, Rotation
from .sources.base import Sifted, Source, Target
from .waiting import Waiting
from .waker import Waker

Mode = Literal["auto", "zerocopy", "buffered"]
Direction = Literal["inout", "in", "out"]
_T = TypeVar("_T")
_ALL = sys.maxsize
"""No limit: as many packets as a block or batch has."""


class Capture:
    """Packets from a device or a savefile; made by open_live() and open_offline().

    Usable from several threads; each packet goes to one of them.  ``close()``, ``breakloop()`` and
    ``stats()`` may be called beside a reader.  In a forked child a capture is closed.
    """

    def __init__(
        self,
        handle: Handle,
        source: Source,
        waker: Waker,
        *,
        live: bool,
        asked: Mode,
        asked_bytes: int | None = None,
        longest_nap: float = 0,
    ) -> None:
        self._c = handle.c
        with handle.borrow() as pcap:
            self._fd: int = self._c.pcap_get_selectable_fd(pcap) if live else -1
            self.snapshot: int = self._c.pcap_snapshot(pcap)
            """Snaplen in bytes (pcap_snapshot(3PCAP))."""
        self._handle, self._source = handle, source
        self.live = live
        self._asked, self._asked_bytes = asked, asked_bytes
        self.longest_nap = longest_nap
        """Seconds that dump() may leave the kernel's buffer alone."""
        self._mine = threading.local()  # the iterator of each thread: a shared one would lose packets
        self._counters = Counters(handle)
        self.fanout: Fanout | None = None
        """The group that it shares the device's packets with, its number filled in."""
        self._waiting = Waiting(handle, source, waker, self._fd, self._counters if live else None)

    # --- packets ---------------------------------------------------------------------------------

    def next_block(self, timeout: float | None = None) -> Block | None:
        """The next Block; None after ``timeout`` seconds, at the end of a savefile, or after breakloop().

        The deadline holds with no traffic too; 0 returns what is there now.  Raises DeviceGoneError after
        the last packet of an interface that went away, SavefileError after the last readable packet of a
        damaged file, CaptureClosedError.
        """
        return self._next_block(_ALL, _deadline(timeout))

    def blocks(self, timeout: float | None = None, count: int | None = None) -> Iterator[Block]:
        """Blocks until ``timeout`` seconds from this call have passed, ``count`` packets were yielded,
        the savefile ends, breakloop(), or a close() in another thread.

        Each step takes the block before back: see Block for how long its views live.
        """
        if count is not None and count < 0:
            raise ValueError(f"count is {count}; it cannot be negative")
        self._waiting.require_open()
        return self._blocks(_deadline(timeout), count)

    def _blocks(self, deadline: float | None, count: int | None) -> Iterator[Block]:
        left = count if count is not None else -1
        while left:
            try:
                block = self._next_block(_ALL if left < 0 else left, deadline)
            except CaptureClosedError:  # by another thread, between two steps
                return
            if block is None:
                return
            if left > 0:
                left -= len(block)
            try:
                yield block
            finally:
                block.retire()
            if deadline is not None and time.monotonic() >= deadline:
                return

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(ts_ns, bytes) of each packet, safe copies; ends with the savefile, at breakloop() and close().

        A second ``for`` of the same thread goes on where the first left off: packets that were taken from
        the kernel with the last one belong to this iterator, and next_block() does not return them.
        """
        self._waiting.require_open()
        packets: Iterator[tuple[int, bytes]] | None = getattr(self._mine, "packets", None)
        if packets is None:
            packets = self._mine.packets = chain.from_iterable(iter(self._next_batch, None))
        return packets

    def _next_batch(self) -> Iterable[tuple[int, bytes]] | None:
        """None ends the iteration, and this thread's next one begins anew."""
        found = None
        try:
            with contextlib.suppress(CaptureClosedError):  # by another thread, between two steps
                found = self._waiting.until(lambda: self._source.next_packets(_ALL), None)
        finally:
            if found is None:
                self._mine.packets = None
        return found

    def sift(self, sieve: int, limit: int = _ALL) -> Sifted | None:
        """next_block(), waiting for ever, for a struct sieve: see Source.sift().

        None at the end of a savefile and after breakloop(); raises what next_block() raises.
        """
        return self._waiting.until(lambda: self._source.sift(sieve, limit), None)

    def pour(self, target: Target[_T], limit: int = _ALL, timeout: float | None = None) -> _T | None:
        """Wait for packets and let them go by: see Source.pour().  None where next_block() gives that.

        For a live capture of which ``pours`` is true.
        """
        return self._waiting.until(lambda: self._source.pour(target, limit), _deadline(timeout))

    def pours(self, copying: bool) -> bool:
        """pour() can be used now, and is the faster way: not where blocks are lent, unless much is copied."""
        source = self._source
        return self.live and source.pace is None and not source.at_hand and (copying or not source.lent)

    def _next_block(self, limit: int, deadline: float | None) -> Block | None:
        return self._waiting.until(lambda: self._source.next_block(limit), deadline)

    def dump(self, sink: Sink, timeout: float | None = None, count: int | None = None) -> int:
        """Write packets until ``timeout`` seconds from now have passed, ``count`` packets are written, the
        savefile ends, breakloop(), or ``sink.finished``; gives how many were written.

        The same as writing each of ``blocks(timeout, count)``, and cheaper where the sink takes records:
        those of a live capture then go from the kernel's buffer into the file with no block in between.
        """
        arena = self._source.records_arena(sink.records_unit) if self.live else None
        if arena is None:
            before = sink.packets
            for block in self.blocks(timeout, count):
                sink.write(block)
                if sink.finished:
                    break
            return sink.packets - before
        self._waiting.require_open()
        ring = platforms.current().ring_bytes(self._fd) or 0
        return dump_records(
            *(self._waiting, self._source, arena, sink),
            pause=nap(ring, self.longest_nap),
            deadline=_deadline(timeout),
            count=_ALL if count is None else count,
        )

    # --- control ---------------------------------------------------------------------------------

    def breakloop(self) -> None:
        """Let the waiting next_block(), blocks() or iteration end, or else the next one; then it can go on.

        From any thread or a signal handler.  On a savefile read from a pipe, a break that ends a wait for
        the pipe ends the reading for good.
        """
        if not self._handle.closed:
            self._waiting.interrupt()

    def set_filter(self, expression: str, *, netmask: int = PCAP_NETMASK_UNKNOWN) -> None:
        """Compile and install a filter (pcap-filter(7)); packets that wait are filtered too.

        ``netmask``, 0xFFFFFF00 for a /24, is for filters that look at it, as "ip broadcast".  Raises
        FilterError with libpcap's own message.
        """
        with self._handle.borrow() as pcap, compiled(self._c, pcap, expression, netmask) as program:
            self._source.filtered = True
            with self._counted():
                if self._c.pcap_setfilter(pcap, ctypes.byref(program)) < 0:
                    why = error_text(self._c, pcap)
                    raise FilterError(f"filter {expression!r} cannot be installed: {why}")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count on through something that may set libpcap's counters to 0."""
        if not self.live:
            yield
            return
        with contextlib.suppress(PcapError):
            self._counters.read()
        try:
            yield
        finally:
            with contextlib.suppress(PcapError):
                self._counters.settle()

    def inject(self, packet: bytes | bytearray | memoryview) -> int:
        """Send a packet, link-layer header included; returns the bytes sent (pcap_inject(3PCAP), 0.9)."""
        data = bytes(packet)
        while True:
            with self._handle.borrow() as pcap:
                sent: int = self._c.pcap_inject(pcap, data, len(data))
                if sent >= 0:
                    return sent
                text = error_text(self._c, pcap)
            if os.strerror(errno.EAGAIN) not in text or self._fd < 0:
                raise PcapError(f"{self._handle.name}: {text}", sent)
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(1000)

    def set_direction(self, direction: Direction) -> None:
        """Capture only packets that come in, go out, or both (pcap_setdirection(3PCAP), 0.9.1)."""
        values = {
            "inout": pcap_direction_t.PCAP_D_INOUT,
            "in": pcap_direction_t.PCAP_D_IN,
            "out": pcap_direction_t.PCAP_D_OUT,
        }
        if direction not in values:
            raise ValueError(f"direction is {direction!r}; it is one of {', '.join(values)}")
        with self._handle.borrow() as pcap:
            self._check(self._c.pcap_setdirection(pcap, values[direction]), pcap)

    def _check(self, status: int, pcap: Any) -> None:
        if status < 0:
            raise failure(self._c, status, error_text(self._c, pcap), self._handle.name)

    def stop(self) -> bool:
        """Let the kernel take no more packets; those that it has can still be read.

        The way to an exact account at the end: read until next_block() gives None after ``timeout_ms``.  On
        Linux captured + dropped = received then.  FreeBSD counts as received what came before the filter:
        there captured + dropped is what passed it, ``zero_copy.descriptor.matched``.  Returns False where the
        system cannot do it.
        """
        with self._handle.borrow():
            stopped = self._fd >= 0 and platforms.current().stop_inflow(self._fd)
        if stopped and self._source.pace is not None:
            self._source.pace.stopped = True
        return stopped

    def dump_open(
        self, target: str | os.PathLike[str] | int | Any, *, compress: Compression | None = None
    ) -> Dumper:
        """A Dumper that writes a savefile for packets of this capture.

        ``target`` is a path, "-" for standard output, a descriptor, or a file object that has one.
        ``compress`` is "zstd" or None; a path that ends in .zst is compressed in either case.  Raises
        OSError where it cannot be opened, DumpError where it cannot be written.
        """
        return Dumper(target, self._source.file_header, compress)

    def dump_rotating(
        self, target: str, rotation: Rotation, *, compress: Compression | None = None
    ) -> Rotating:
        """The same for one savefile after the other: see Rotation for when, and how they are called.

        The first is made at once; for packets of a savefile with the first of them.
        """
        header = self._source.file_header
        began_ns = time.time_ns() if self.live else None
        return Rotating(target, rotation, lambda name: Dumper(name, header, compress), began_ns)

    def enter(self, fanout: Fanout, patience: float) -> None:
        """Share the device's packets from now on; for open_live(), which then lets them flow in.

        What came before is forgotten, and so are the counters; ``patience`` is how many seconds a packet that
        the kernel has may take.  Raises PcapError.
        """

        def forget() -> None:
            stats = self.stats()
            left = stats.received - stats.dropped
            while left > 0 and (block := self.next_block(patience)) is not None:
                left -= len(block)
                block.release()

        self.fanout = join(self._fd, self.name, fanout, forget)
        self._counters.restart()

    # --- what it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The device's or file's name."""
        return self._handle.name

    @property
    def closed(self) -> bool:
        """True after close(), and in a forked child."""
        return self._handle.closed

    @property
    def datalink(self) -> int:
        """Link-layer type, a DLT_* value (pcap_datalink(3PCAP))."""
        with self._handle.borrow() as pcap:
            return int(self._c.pcap_datalink(pcap))

    @property
    def datalink_name(self) -> str:
        """Its name without DLT_, as ``EN10MB``."""
        name: bytes | None = self._c.pcap_datalink_val_to_name(self.datalink)
        return name.decode() if name else str(self.datalink)

    def datalinks(self) -> list[int]:
        """The link-layer types to choose from (pcap_list_datalinks(3PCAP))."""
        found = ctypes.POINTER(ctypes.c_int)()
        with self._handle.borrow() as pcap:
            count = self._c.pcap_list_datalinks(pcap, ctypes.byref(found))
            self._check(count, pcap)
        try:
            return [found[i] for i in range(count)]
        finally:
            self._c.pcap_free_datalinks(found)

    def set_datalink(self, datalink: int | str) -> None:
        """Choose one of them, by value or by name (pcap_set_datalink(3PCAP))."""
        value = datalink
        if isinstance(value, str):
            value = self._c.pcap_datalink_name_to_val(value.removeprefix("DLT_").encode())
            if value < 0:
                raise ValueError(f"no link-layer type is called {datalink!r}")
        with self._handle.borrow() as pcap, self._counted():
            self._check(self._c.pcap_set_datalink(pcap, value), pcap)
        self._source.refresh()

    @property
    def zero_copy(self) -> zerocopy.InUse:
        """What this very capture does: mechanism, geometry, and why; read from its descriptor."""
        with self._handle.borrow() as pcap:
            asked = zerocopy.Asked(self._asked, self.name, self._asked_bytes)
            return zerocopy.in_use(self._c, pcap, self._fd, asked, self._source.lent)

    def fileno(self) -> int:
        """A descriptor for select(), poll() and asyncio's add_reader() (pcap_get_selectable_fd(3PCAP)).

        It tells of packets that the kernel has, not of those that libpcap took already: call
        ``next_block(0)`` until it gives None before waiting.  Raises PcapError where there is none.
        """
        self._waiting.require_open()
        if self._fd < 0:
            raise PcapError(f"{self.name} has no descriptor to wait for; use next_block(timeout)")
        return self._fd

    @property
    def at_hand(self) -> bool:
        """libpcap has packets that no descriptor tells of."""
        return self._source.at_hand

    def patience(self) -> float | None:
        """Seconds after which a program that waits for ``fileno()`` has to look whether there is a block
        although the descriptor is not readable; None: it need not.
        """
        self._waiting.require_open()
        return self._waiting.patience()

    def stats(self) -> Stats:
        """Counters since the capture was opened, 64-bit although libpcap's wrap (pcap_stats(3PCAP)).

        They are right as long as the capture is read or stats() is called at least every 2**32 packets.
        After close() they are those of the close.  Raises PcapError for a savefile.
        """
        if not self.live:
            raise PcapError(f"{self.name} is a savefile, which has no counters")
        try:
            return self._counters.read()
        except CaptureClosedError:  # before, or by another thread just now
            return self._counters.last()

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop capturing and close the device; blocks that are out stay valid.  Twice is no error."""
        if not self._handle.closed:
            if self.live:
                with contextlib.suppress(PcapError):
                    self._counters.read()
            self._waiting.interrupt()
            self._handle.close()
            self._source.close()
            self._waiting.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and not handle.closed:
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            finally:  # warnings may be errors
                self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "lent" if self._source.lent else "copied"
        return f"<Capture of {self.name}, {state}>"


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"timeout is {timeout}; it is a number of seconds from 0, or None")
    return time.monotonic() + timeout
