"""What all consumers share: the task, the talk with the harness, and the clock.

A consumer gets its task as JSON in its only argument.  For a live capture it says
``{"ready": true}`` once the ring is open, and waits for a line on standard input.  Then it reads
packets up to the marker, a frame of MARKER bytes, or to the end of a savefile, and prints one
JSON object with what it counted and how long it took.
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
from typing import Any

MARKER = 50
"""Bytes of the frame that ends a capture; no other frame is as short."""


@dataclass(frozen=True)
class Task:
    """What to do in this process."""

    way: str
    kind: str
    """``drain``, ``live`` or ``savefile``."""
    source: str
    """A device, or the path of a savefile."""
    count: int
    """Packets of a drained ring or a savefile."""
    buffer_size: int
    snaplen: int
    timeout_ms: int

    @property
    def live(self) -> bool:
        """Whether packets come from a device."""
        return self.kind != "savefile"


Way = Callable[[Any, Task], tuple[int, int]]
"""Takes a handle; reads all packets up to the marker or the end, and returns (packets, bytes)."""


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


def say(**what: object) -> None:
    """Tells the harness."""
    print(json.dumps(what), flush=True)


def _wait_until_full(consumer: Consumer, handle: Any, task: Task) -> str | None:
    """Waits for the harness; what is wrong with the ring, or None if it holds all packets."""
    say(ready=True)
    if not sys.stdin.readline():
        return "the harness has gone"
    if task.kind == "drain":
        received, dropped = consumer.counters(handle)
        if dropped or received < task.count:
            return f"the ring did not take all {task.count} packets: received {received}, dropped {dropped}"
    return None


def run(consumer: Consumer) -> int:
    """Does the task in sys.argv; the process's exit code."""
    task = Task(**json.loads(sys.argv[1]))
    way = consumer.ways[task.way]
    handle = consumer.open_live(task) if task.live else consumer.open_offline(task)
    if task.live and (error := _wait_until_full(consumer, handle, task)):
        say(error=error)
        return 1
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    packets, total = way(handle, task)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    file, version = _libpcap()
    say(
        packets=packets,
        bytes=total,
        seconds=seconds,
        cpu=cpu,
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
