"""What all consumers share: the task, the talk with the harness, and the clock.

A consumer gets its task as JSON in its only argument.  For a live capture it says
``{"ready": true}`` once the ring is open, and waits for a line on standard input: by then the
ring is full.  It drains, and prints one JSON object with what it counted and how long it took.
"""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Way = Callable[[Any, int], tuple[int, int]]
"""Takes a handle and a number of packets; reads that many, and returns (packets, bytes)."""


@dataclass(frozen=True)
class Task:
    """What to do in this process."""

    way: str
    live: bool
    source: str
    """A device, or the path of a savefile."""
    count: int
    buffer_size: int
    snaplen: int
    timeout_ms: int


@dataclass(frozen=True)
class Consumer:
    """One library: how to open, what it has counted, and the ways in which its users read packets."""

    version: Callable[[], str]
    open_live: Callable[[Task], Any]
    open_offline: Callable[[Task], Any]
    counters: Callable[[Any], tuple[int, int]]
    """(received, dropped) of a live capture."""
    ways: dict[str, Way]


def _libpcap() -> tuple[str, str]:
    """Path and version string of the libpcap that this process has loaded."""
    with open("/proc/self/maps") as maps:
        found = re.search(r"(/\S*/libpcap[^/\s]*\.so[^/\s]*)", maps.read())
    if found is None:
        return "", "unknown"
    version = ctypes.CDLL(found[1]).pcap_lib_version
    version.restype = ctypes.c_char_p
    return found[1], version().decode()


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _wait_until_full(consumer: Consumer, handle: Any, task: Task) -> str | None:
    """Waits for the harness; what is wrong with the ring, or None if it holds all packets."""
    _say(ready=True)
    if not sys.stdin.readline():
        return "the harness has gone"
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
        _say(error=error)
        return 1
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    packets, total = way(handle, task.count)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    path, version = _libpcap()
    _say(
        packets=packets,
        bytes=total,
        seconds=seconds,
        cpu=cpu,
        counters=consumer.counters(handle) if task.live else None,
        version=consumer.version(),
        libpcap=version,
        libpcap_path=path,
        python=platform.python_version(),
    )
    return 0


def iterate(packets: Any, count: int) -> tuple[int, int]:
    """Reads (timestamp, bytes) pairs in a plain loop: the work that is the same for all."""
    n = total = 0
    for _, data in packets:
        n += 1
        total += len(data)
        if n == count:
            break
    return n, total
