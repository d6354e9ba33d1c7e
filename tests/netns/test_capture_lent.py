"""Lent blocks of a live capture: whose memory they are, and what becomes of it."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc import Block, BlockInUseError, BlockReleasedError
from support import simulated
from support.captures import until_received

pytestmark = pytest.mark.netns

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 256 * KIB


@pytest.fixture(autouse=True)
def _lending(patched: bool) -> None:
    if not patched:
        pytest.skip("needs the patched libpcap: `make test` runs this on one")
    if not simulated.SHARING:
        pytest.skip("net.bpf.zerocopy_enable is 0")


@pytest.fixture
def sender(net: Lab) -> Iterator[traffic.Sender]:
    with net.inside(), traffic.Sender(net.send_device, 1000) as made:
        yield made


def _open(net: Lab, **options: Any) -> pypcapzc.Capture:
    with net.inside():
        return pypcapzc.open_live(
            net.capture_device, **{"timeout_ms": 20, "buffer_size": 8 * BLOCK, "mode": "zerocopy", **options}
        )


def _next(capture: pypcapzc.Capture, timeout: float = 2.0) -> Block:
    block = capture.next_block(timeout)
    assert block is not None
    return block


def _numbers(block: Block) -> list[int]:
    return [frames.check(view) for _, view in block]


def _mapping_of(address: int) -> str:
    with open("/proc/self/maps") as maps:
        for line in maps:
            words = line.split()
            first, last = (int(end, 16) for end in words[0].split("-"))
            if first <= address < last:
                return words[5] if len(words) > 5 else ""
    return ""


@simulated.linux_only
def test_the_bytes_are_the_rings_own(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(100)
        block = _next(capture)
        assert block.lent
        address = ctypes.addressof(ctypes.c_ubyte.from_buffer(block._custody.exporter()))
        assert _mapping_of(address).startswith("socket:")
        used = capture.zero_copy
        assert (used.lent, used.mechanism, used.ring_bytes) == (True, "tpacket_v3", 8 * BLOCK)
        assert (used.block_size, used.block_count) == (BLOCK, 8)
        with pytest.raises(TypeError):
            block[0][0] = 1
        del block


def test_a_block_is_the_kernels_again_after_release(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        for turn in range(50):  # many times round a ring of eight
            sender.send(200)
            seen = 0
            while seen < 200:
                with _next(capture) as block:
                    assert _numbers(block) == list(range(turn * 200 + seen, turn * 200 + seen + len(block)))
                    seen += len(block)
        assert capture.stats().dropped == 0
        assert capture._source.held == 0


@simulated.linux_only
def test_several_blocks_at_once_in_any_order_from_any_thread(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        blocks = []
        for _ in range(6):
            sender.send(10)
            blocks.append(_next(capture))
        assert capture._source.held == 6
        for order in (3, 0, 5):
            thread = threading.Thread(target=blocks[order].release)
            thread.start()
            thread.join()
        assert capture._source.held == 3
        assert _numbers(blocks[1]) == list(range(10, 20))
        sender.send(10)
        assert _numbers(_next(capture)) == list(range(60, 70))
        blocks.clear()
        gc.collect()
        assert capture._source.held == 0


def test_views_of_data_and_of_headers_hold_a_block(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        ways: list[Callable[[Any], Any]] = [
            lambda block: block[0][3:9],
            lambda block: block.data,
            lambda block: block.headers,
            lambda block: block.headers["caplen"],
        ]
        for take in ways:
            sender.send(5)
            block = _next(capture)
            view = take(block)
            with pytest.raises(BlockInUseError):
                block.release()
            block.retire()
            with pytest.raises(BlockReleasedError):
                bytes(block.data)
            assert capture._source.held == 1
            del view
            assert capture._source.held == 0


@simulated.linux_only
def test_a_program_that_keeps_all_is_told_once_and_drops_are_counted(
    net: Lab, sender: traffic.Sender
) -> None:
    with _open(net) as capture:
        kept = []
        for turn in range(8):
            sender.send(10)
            block = _next(capture)
            kept.append((turn, block[9]))
            del block
        assert capture._source.held == 8
        sender.send(500)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert capture.next_block(0.05) is None
            assert capture.next_block(0.05) is None
        assert ["all blocks of the buffer are held" in str(each.message) for each in told] == [True]
        for turn, view in kept:
            assert frames.check(view) == turn * 10 + 9
        dropped = capture.stats().dropped
        assert dropped > 0
        kept.clear()
        sender.send(10)
        last = 579
        while last < 589:
            last = _numbers(_next(capture))[-1]
        stats = capture.stats()
        assert stats.received == 590
        assert stats.dropped >= dropped


@simulated.linux_only
def test_a_dump_waits_for_blocks_that_the_program_keeps(
    net: Lab, sender: traffic.Sender, tmp_path: Path
) -> None:
    """It needs none, and so asks libpcap with pcap_dispatch(3PCAP)."""
    with _open(net) as capture, capture.dump_open(tmp_path / "x") as dumper:
        kept = []
        for _ in range(8):
            sender.send(10)
            kept.append(_next(capture))
        with pytest.warns(RuntimeWarning, match="all blocks of the buffer are held"):
            assert capture.dump(dumper, 0.05) == 0
        for block in kept:
            block.release()
        sender.send(10)
        assert capture.dump(dumper, 30, 10) == 10


def test_waiting_with_the_last_block_held_uses_no_processor(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(10)
        block = _next(capture)
        spent = time.process_time()
        assert capture.next_block(1.0) is None
        assert time.process_time() - spent < 0.2
        sender.send(10)
        assert _numbers(_next(capture)) == list(range(10, 20))
        assert _numbers(block) == list(range(10))
        block.release()


def test_parts_of_a_block(net: Lab, sender: traffic.Sender) -> None:
    """A count that ends in the middle of a block loses nothing, and a part holds the whole."""
    with _open(net, timeout_ms=200) as capture:
        sender.send(100)
        first = list(capture.blocks(5, count=30))
        assert sum(len(block) for block in first) == 30
        assert all(block.released for block in first)
        part = _next(capture)
        for block in capture.blocks(1, count=0):
            pytest.fail(f"{block}")
        assert _numbers(part) == list(range(30, 100))
        assert part.headers.shape == (70,)  # type: ignore[union-attr]
        assert capture._source.held == 1
        del part
        assert capture._source.held == 0
        sender.send(10)
        assert [frames.sequence_of(data) for _, (_, data) in zip(range(10), capture, strict=False)] == list(
            range(100, 110)
        )


def test_close_keeps_the_memory_and_stops_the_capture(net: Lab, sender: traffic.Sender) -> None:
    capture = _open(net)
    sender.send(20)
    until_received(capture, 20)
    block = _next(capture)
    view, headers = block[7], block.headers
    number = os.readlink(f"/proc/self/fd/{capture.fileno()}")
    assert "promiscuity 1" in net.ip("-details", "link", "show", net.capture_device)
    capture.close()
    assert number not in {
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open_fd(fd)
    }
    assert "promiscuity 0" in net.ip("-details", "link", "show", net.capture_device)
    sender.send(3000)  # more than the ring: nothing of this is captured
    assert frames.check(view) == 7
    assert list(headers["caplen"]) == [1000] * 20
    assert _numbers(block) == list(range(20))
    del view, headers
    block.release()
    with pytest.raises(BlockReleasedError):
        block[0]


def _open_fd(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def test_a_child_gives_nothing_back(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(10)
        block = _next(capture)
        view = block[3]
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert frames.check(view) == 3
                block.retire()
                del view, block
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        sender.send(4000)  # round the ring, and into this block if it had been given back
        assert frames.check(view) == 3
        assert _numbers(block) == list(range(10))
        assert capture._source.held == 1


@simulated.linux_only
def test_as_the_copied_way_delivers(net: Lab) -> None:
    """The same traffic through both: stamps, bytes, lengths."""
    for options in ({}, {"snaplen": 64}, {"filter": "len > 500"}, {"snaplen": 96, "filter": "udp"}):
        lent = _open(net, buffer_size=32 * MIB, **options)
        copied = _open(net, buffer_size=32 * MIB, mode="buffered", **options)
        with lent, copied, net.inside(), traffic.Sender(net.send_device, (60, 1500)) as sender:
            sender.send(20_000)
            wanted = list(_packets(copied))
            assert list(_packets(lent)) == wanted
            assert len(wanted) == lent.stats().received == copied.stats().received
            assert lent.stats().dropped == copied.stats().dropped == 0


def _packets(capture: pypcapzc.Capture) -> Iterator[tuple[int, bytes, int]]:
    while (block := capture.next_block(0.3)) is not None:
        headers: Any = block.headers
        for (ts_ns, view), wirelen in zip(block, headers["wirelen"].tolist(), strict=True):
            yield ts_ns, bytes(view), wirelen


def test_immediate_mode_lends_too(net: Lab, sender: traffic.Sender) -> None:
    with _open(net, immediate=True) as capture:
        for n in range(5):
            sender.send(1)
            began = time.monotonic()
            assert _numbers(_next(capture)) == [n]
            assert time.monotonic() - began < 0.2
