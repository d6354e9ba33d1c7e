"""Blocks: what they show of packets, and who owns their memory when."""

from __future__ import annotations

import ctypes
import gc
import itertools
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pypcapzc
from lab import frames, savefiles
from pypcapzc import block as block_module
from pypcapzc.block import Block, Header, Headers
from pypcapzc.errors import BlockInUseError, BlockReleasedError
from support.leases import Ledger

COUNT = 12_000  # several blocks, copied or lent


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("block") / "mixed.pcap"
    savefiles.generate(made, COUNT, (60, 400))
    return made


@pytest.fixture(scope="module")
def truth() -> list[savefiles.Packet]:
    return list(savefiles.numbered(COUNT, (60, 400)))


@pytest.fixture
def capture(path: Path) -> Iterator[pypcapzc.Capture]:
    with pypcapzc.open_offline(path) as opened:
        yield opened


@pytest.fixture
def block(capture: pypcapzc.Capture) -> Block:
    found = capture.next_block()
    assert found is not None
    assert len(found) > 100
    return found


@pytest.fixture(params=["numpy", "plain"])
def with_and_without_numpy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "numpy", None)  # importing it is now an ImportError
    else:
        pytest.importorskip("numpy")
    block_module._numpy.cache_clear()
    yield request.param
    block_module._numpy.cache_clear()


# --- what a block shows ----------------------------------------------------------------------------------


def test_packets_are_those_of_the_file(block: Block, truth: list[savefiles.Packet], patched: bool) -> None:
    wanted = truth[: len(block)]
    assert [bytes(view) for view in block[:]] == [packet.data for packet in wanted]
    assert [(ts_ns, bytes(view)) for ts_ns, view in block] == [(p.ts_ns, p.data) for p in wanted]
    assert block.packet_bytes == sum(len(packet.data) for packet in wanted)
    assert block.data.nbytes == block.nbytes >= block.packet_bytes
    assert (block.lent, block.released) == (patched, False)
    assert f"{len(block)} packets" in repr(block)
    assert ("lent" if patched else "copied") in repr(block)


def test_headers(block: Block, truth: list[savefiles.Packet], with_and_without_numpy: str) -> None:
    headers: Any = block.headers
    assert type(headers).__module__.split(".")[0] == (
        "numpy" if with_and_without_numpy == "numpy" else "pypcapzc"
    )
    wanted = truth[: len(block)]
    assert len(headers) == len(wanted)
    assert headers["ts_ns"].tolist() == [packet.ts_ns for packet in wanted]
    assert headers["caplen"].tolist() == [len(packet.data) for packet in wanted]
    assert headers["wirelen"].tolist() == [packet.original_length for packet in wanted]
    assert set(headers["flags"].tolist()) == {0}
    data = block.data
    for (ts_ns, offset, caplen, wirelen, flags), packet in zip(headers, wanted, strict=True):
        assert (ts_ns, caplen, wirelen, flags) == (packet.ts_ns, len(packet.data), len(packet.data), 0)
        assert data[offset : offset + caplen] == packet.data
    assert headers["ts_ns"][-1] == wanted[-1].ts_ns
    with pytest.raises(IndexError):
        headers[len(wanted)]


def test_headers_cannot_be_written(block: Block, with_and_without_numpy: str) -> None:
    headers: Any = block.headers
    with pytest.raises((ValueError, TypeError)):
        headers["ts_ns"][0] = 1
    with pytest.raises(TypeError):
        block.index[0] = 1


def test_plain_headers_are_named(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = Headers(block.index)
    first = headers[0]
    assert isinstance(first, Header)
    assert first == next(iter(headers))
    assert headers[-len(block)] == first
    assert first.ts_ns == savefiles.EPOCH
    with pytest.raises(KeyError, match="ts_ns, offset, caplen"):
        headers["length"]
    assert str(len(block)) in repr(headers)


def test_indexing(block: Block, truth: list[savefiles.Packet]) -> None:
    count = len(block)
    assert bytes(block[0]) == truth[0].data
    assert bytes(block[-1]) == bytes(block[count - 1]) == truth[count - 1].data
    assert bytes(block[-count]) == truth[0].data
    for wrong in (count, -count - 1, 2**70):
        with pytest.raises(IndexError, match=f"block of {count}"):
            block[wrong]
    assert [bytes(view) for view in block[5:50:7]] == [packet.data for packet in truth[5:50:7]]
    assert [bytes(view) for view in block[::-1]] == [packet.data for packet in truth[:count][::-1]]
    assert block[7:7] == block[count:] == []


def test_views_are_read_only(block: Block) -> None:
    for view in (block.data, block[0], block[:2][1], next(iter(block))[1]):
        assert view.readonly
        assert view.format == "B"
        with pytest.raises(TypeError):
            view[0] = 0
    numpy = pytest.importorskip("numpy")
    array = numpy.frombuffer(block[0], numpy.uint8)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_empty_packets_and_an_empty_block() -> None:
    block = Block(Ledger([b"", b"x", b""]))
    assert [bytes(view) for _, view in block] == [b"", b"x", b""]
    empty = Block(Ledger([]))
    assert (len(empty), list(empty), empty[:], empty.nbytes, bytes(empty.data)) == (0, [], [], 0, b"")
    assert len(empty.headers) == 0
    with pytest.raises(IndexError):
        empty[0]


def test_a_copy_is_independent(
    block: Block, capture: pypcapzc.Capture, truth: list[savefiles.Packet]
) -> None:
    copy = block.copy()
    wanted = [(p.ts_ns, p.data) for p in truth[: len(block)]]
    block.release()
    for _ in capture.blocks():
        pass
    capture.close()
    assert [(ts_ns, bytes(view)) for ts_ns, view in copy] == wanted
    assert copy.lent is False
    assert copy.packet_bytes == sum(len(data) for _, data in wanted)
    view = copy[0]
    with pytest.raises(BlockInUseError):
        copy.release()
    del view
    copy.release()
    with pytest.raises(BlockReleasedError):
        copy.copy()


# --- with a real source ----------------------------------------------------------------------------------


def test_views_stay_valid_after_close(path: Path, truth: list[savefiles.Packet]) -> None:
    capture = pypcapzc.open_offline(path)
    block = capture.next_block()
    assert block is not None
    view = block[17]
    capture.close()
    assert bytes(view) == truth[17].data
    assert bytes(block[18]) == truth[18].data
    del capture
    gc.collect()
    assert bytes(view) == truth[17].data
    assert [bytes(each) for each in block[:]] == [p.data for p in truth[: len(block)]]
    del view
    block.release()


def test_memory_is_not_used_again_while_a_view_of_it_lives(tmp_path: Path) -> None:
    """Thousands of further blocks, and each kept view still shows its own packet."""
    path = tmp_path / "many.pcap"
    savefiles.generate(path, 40_000, 64)
    kept: list[tuple[int, memoryview]] = []
    seen = blocks = 0
    with pypcapzc.open_offline(path) as capture:
        while seen < 40_000:
            for block in capture.blocks(count=13):
                if blocks % 50 == 0:
                    kept.append((seen, block[0]))
                    kept.append((seen + len(block) - 1, block[:][-1]))
                seen += len(block)
                blocks += 1
    assert seen == 40_000
    assert blocks > 3000
    for number, view in kept:
        assert frames.check(view) == number


@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_memory_comes_back_when_views_die(path: Path, mode: Any) -> None:
    """The same few pieces of memory serve the whole file, though a view of each block outlives it."""
    places, previous = set(), memoryview(b"")
    with pypcapzc.open_offline(path, mode=mode) as capture:
        for block in capture.blocks():
            places.add(ctypes.addressof(cast(Any, block.data.obj)) & -4096)  # its first page
            previous = block[0]
    assert previous
    assert len(places) <= 4


def test_blocks_retires_the_block_before(path: Path) -> None:
    with pypcapzc.open_offline(path) as capture:
        stepping = capture.blocks(count=20)
        first = next(itertools.islice(stepping, 1))
        assert not first.released
        assert next(stepping, None) is None
        assert [first.released] == [True]
        stepping = capture.blocks()
        second = next(stepping)
        stepping.close()  # type: ignore[attr-defined]
        assert [second.released] == [True]


def test_a_dropped_block_is_no_leak(path: Path) -> None:
    with pypcapzc.open_offline(path, mode="buffered") as capture:
        block: Any = capture.next_block()
        arena = weakref.ref(block._custody.lease.arena)
        del block
    del capture
    gc.collect()
    assert arena() is None


_EXIT = """
import sys, threading, gc
import pypcapzc
capture = pypcapzc.open_offline(sys.argv[1])
block = capture.next_block()
views = [block[0], block.data, block[3:9], block.headers, iter(block)]
next(views[-1])
retired = capture.next_block()
view = retired[2]
retired.retire()
stepping = capture.blocks(count=5)
held = next(stepping)
packets = iter(capture)
next(packets)
class Cycle: pass
cycle = Cycle(); cycle.me, cycle.view, cycle.block = cycle, view, block
del cycle
if "thread" in sys.argv:
    def hold(ready, block=block):
        v = block[1]; ready.set()
        threading.Event().wait()
    ready = threading.Event()
    threading.Thread(target=hold, args=(ready,), daemon=True).start()
    ready.wait()
if "close" in sys.argv:
    capture.close()
sys.modules["keep"] = views
"""


@pytest.mark.parametrize("how", [(), ("close",), ("thread",), ("thread", "close")])
def test_interpreter_exit_with_blocks_and_views_held(path: Path, how: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _EXIT, str(path), *how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_close_retire_drop_and_collect_in_any_order(
    path: Path, chance: random.Random, data: st.DataObject
) -> None:
    capture = pypcapzc.open_offline(path)
    stepping = capture.blocks() if chance.random() < 0.5 else None
    held: dict[str, Any] = {"block": next(stepping) if stepping else capture.next_block()}
    first = data.draw(st.integers(0, 20))
    number = frames.sequence_of(held["block"][first])
    held["view"] = held["block"][first]
    other = held["view"][frames.SEQUENCE_OFFSET :]
    steps: list[Any] = [
        capture.close,
        held["block"].retire,
        gc.collect,
        lambda: held.pop("view"),
        lambda: held.pop("block"),
        lambda: capture.closed or next(iter(capture)),
    ]
    chance.shuffle(steps)
    for step in steps:
        step()
        assert int.from_bytes(other[:8], "big") == number
    capture.close()
