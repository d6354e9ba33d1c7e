"""What all consumers share: the task, the talk with the harness, and the clock.

A consumer gets its task as JSON in its only argument.  For a live capture it says
``{"ready": true}`` once the ring is open, and waits for a line on standard input.  Then it reads
packets up to the marker, a frame of MARKER bytes, or to the end of a savefile.  It does so as
often as the task says, and then prints one JSON object with what it counted and how long it took.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_in_pip
from itertools import cycle
from types import ModuleType
from typing import Any
from zlib import crc32

MARKER = 50
"""Bytes of the frame that ends a capture; no other frame is as short."""
_WORK = bytes(16384)


@dataclass(frozen=True)
class Task:
    """What to do in this process."""

    way: str
    """Or several, with commas between them: the next one in each lap."""
    kind: str
    """``drain``, ``live`` or ``savefile``."""
    source: str
    """A device, or the path of a savefile."""
    count: int
    """Packets of a drained ring or a savefile."""
    buffer_size: int
    snaplen: int
    timeout_ms: int
    laps: int = 1
    """How often the ring is filled and drained, or the savefile read."""

    @property
    def live(self) -> bool:
        """Whether packets come from a device."""
        return self.kind != "savefile"


Way = Callable[[Any, Task], tuple[int, int | None]]
"""Takes a handle; reads all packets up to the marker or the end, and returns (packets, bytes).

Bytes are None where the way does not see them."""


@dataclass(frozen=True)
class Consumer:
    """One library: how to open, what it has counted, and the ways in which its users read packets."""

    version: Callable[[], str]
    open_live: Callable[[Task], Any]
    open_offline: Callable[[Task], Any]
    counters: Callable[[Any], tuple[int, int]]
    """(received, dropped) of a live capture."""
    ways: dict[str, Way]
    copies: Callable[[Any, Task], int] | None = None
    """Copies of each packet's bytes on their way from the kernel's ring, where that depends."""


def _libpcap() -> tuple[str, str]:
    """File name and version string of the libpcap that this process has loaded."""
    if not os.path.exists("/proc/self/maps"):
        return "", "unknown"
    with open("/proc/self/maps") as maps:
        found = re.search(r"(/\S*/libpcap[^/\s]*\.so[^/\s]*)", maps.read())
    if found is None:
        return "", "none"
    library = ctypes.CDLL(found[1])
    library.pcap_lib_version.restype = ctypes.c_char_p
    version: str = library.pcap_lib_version().decode()
    return os.path.basename(found[1]), version + (", patched" if hasattr(library, "pcap_zc_abi") else "")


def version_of(module: ModuleType, *distributions: str) -> str:
    """The version of what ``module`` belongs to: the first of these that pip knows, or what stands in."""
    home, _, rest = module.__name__.partition(".")
    if rest and home not in distributions:
        return f"{home} {sys.modules[home].__version__}"
    for name in distributions:
        try:
            return version_in_pip(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def own_memory() -> int:
    """Bytes of memory of this process's own (proc(5), RssAnon): without the ring, which is the kernel's."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise SystemExit("this kernel does not tell RssAnon (Linux 4.5 and later do)")


def say(**what: object) -> None:
    """Tells the harness."""
    print(json.dumps(what), flush=True)


def _wait_until_full(consumer: Consumer, handle: Any, task: Task, lap: int) -> str | None:
    """Waits for the harness; what is wrong with the ring, or None if it holds all packets."""
    say(ready=True)
    if not sys.stdin.readline():
        return "the harness has gone"
    if task.kind == "drain":
        received, dropped = consumer.counters(handle)
        if dropped or received < (lap + 1) * task.count:
            return f"the ring did not take all {task.count} packets: received {received}, dropped {dropped}"
    return None


def run(consumer: Consumer) -> int:
    """Does the task in sys.argv; the process's exit code."""
    task = Task(**json.loads(sys.argv[1]))
    ways = cycle([consumer.ways[name] for name in task.way.split(",")])
    handle = consumer.open_live(task) if task.live else consumer.open_offline(task)
    packets = total = 0
    seconds = processor = 0.0
    seen, memory = True, []
    for lap, way in zip(range(task.laps), ways, strict=False):
        if task.live and (error := _wait_until_full(consumer, handle, task, lap)):
            say(error=error)
            return 1
        if lap and not task.live:
            handle = consumer.open_offline(task)
        gc.collect()
        if task.laps > 1:
            memory.append(own_memory())
        cpu, began = time.process_time(), time.perf_counter()
        n, size = way(handle, task)
        seconds, processor = seconds + time.perf_counter() - began, processor + time.process_time() - cpu
        packets, total, seen = packets + n, total + (size or 0), seen and size is not None
    file, version = _libpcap()
    say(
        packets=packets,
        bytes=total if seen else None,
        seconds=seconds,
        cpu=processor,
        memory=memory,
        counters=consumer.counters(handle) if task.live else None,
        copies=consumer.copies(handle, task) if consumer.copies and task.live else None,
        version=consumer.version(),
        libpcap=version,
        libpcap_file=file,
        python=platform.python_version(),
    )
    return 0


def iterate(packets: Iterable[tuple[Any, Any]], _task: Task | None = None) -> tuple[int, int]:
    """Reads (timestamp, bytes) pairs in a plain loop: the work that is the same for all."""
    n = total = 0
    for _, data in packets:
        size = len(data)
        if size == MARKER:
            break
        n += 1
        total += size
    return n, total


def by_loop(handle: Any, task: Task) -> tuple[int, int]:
    """loop() with a callback that gets bytes as its second argument; it ends by its count."""
    n = total = 0

    def on_packet(_header: Any, data: bytes) -> None:
        nonlocal n, total
        n += 1
        total += len(data)

    handle.loop(task.count + task.live, on_packet)  # the marker is one more
    return n - task.live, total - task.live * MARKER


def busy(packets: Iterable[tuple[Any, Any]], _task: Task | None = None) -> tuple[int, int]:
    """What iterate() does, and some work for each packet: microseconds, the same for all."""
    return iterate((crc32(_WORK), data) for _, data in packets)


def by_dispatch(handle: Any, task: Task) -> tuple[int, int]:
    """dispatch() with such a callback."""
    n = total = 0
    ended = False

    def on_packet(_header: Any, data: bytes) -> None:
        nonlocal n, total, ended
        size = len(data)
        if size == MARKER:
            ended = True
        else:
            n += 1
            total += size

    while not ended and (handle.dispatch(-1, on_packet) or task.live):
        pass
    return n, total


def in_lists(read: Callable[[], list[tuple[Any, Any]]], live: bool) -> tuple[int, int]:
    """The same for lists of such pairs; an empty one is the end of a savefile."""
    n = total = 0
    while packets := read() or live:
        if packets is True:
            continue
        for _, data in packets:
            size = len(data)
            if size == MARKER:
                return n, total
            n += 1
            total += size
    return n, total
