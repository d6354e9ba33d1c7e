"""Handles of the stand-ins that are opened and closed a thousand times: nothing is left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.consumers.common import own_memory
from lab import savefiles
from lab.netns import Lab
from pypcapzc.compat import pcap, pcapy
from pypcapzc.compat.pylibpcap.base import LibPcap, Sniff
from support import simulated

pytestmark = [pytest.mark.netns, simulated.linux_only]

CYCLES, WARM_UP = 1000, 200
ALLOWED = 2 << 20
"""Bytes by which memory may grow: Python takes a mebibyte at a time; two kilobytes a cycle are more."""


def _pcap(device: str) -> None:
    handle = pcap.pcap(device, timeout_ms=1, buffer_size=1 << 20)
    assert handle.fd > 0
    handle.setfilter("udp")
    handle.close()


def _pcapy(device: str) -> None:
    with pcapy.open_live(device, 65535, 1, 1) as reader:
        assert reader.getfd() > 0
        reader.setfilter("udp")


def _sniff(device: str) -> None:
    Sniff(device, promisc=1, timeout=1, filters="udp").close()


def _pcap_file(path: str) -> None:
    handle = pcap.pcap(path)
    next(handle)
    assert handle.fd > 0  # it goes when nobody has it any more


def _pcapy_file(path: str) -> None:
    reader = pcapy.open_offline(path)
    reader.next()
    assert reader.getfd() > 0


def _pylibpcap_file(path: str) -> None:
    next(LibPcap(path).read())


@pytest.mark.parametrize("once", [_pcap, _pcapy, _sniff])
def test_devices(net: Lab, once: Callable[[str], None]) -> None:
    """Several at a time, as the kernel lets each close wait for tens of milliseconds."""
    with net.inside(), ThreadPoolExecutor(10) as pool:
        _flat(lambda count: list(pool.map(once, [net.capture_device] * count)))


@pytest.mark.parametrize("once", [_pcap_file, _pcapy_file, _pylibpcap_file])
def test_savefiles(tmp_path: Path, once: Callable[[str], None]) -> None:
    savefiles.write_pcap(tmp_path / "saved", savefiles.numbered(20))
    _flat(lambda count: list(map(once, [str(tmp_path / "saved")] * count)))


def _flat(repeat: Callable[[int], Any]) -> None:
    repeat(WARM_UP)
    before = _held()
    repeat(CYCLES)
    descriptors, mappings, memory = (now - then for now, then in zip(_held(), before, strict=True))
    assert descriptors <= 0
    assert mappings < CYCLES // 10  # the allocator has some of its own
    assert memory < ALLOWED


def _held() -> tuple[int, int, int]:
    """Descriptors, mappings (a ring is one), and bytes of memory of this process."""
    gc.collect()
    with open("/proc/self/maps") as mappings:
        return len(os.listdir("/proc/self/fd")), sum(1 for _ in mappings), own_memory()
