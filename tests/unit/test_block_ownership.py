"""Who owns a block's memory when: views, release, retirement, threads and the garbage collector."""

from __future__ import annotations

import gc
import random
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypcapzc.block import Block
from pypcapzc.errors import BlockInUseError, BlockReleasedError
from support.leases import PACKETS, Ledger

USES: dict[str, Any] = {
    "data": lambda block: block.data,
    "item": lambda block: block[0],
    "slice": lambda block: block[1:3],
    "headers": lambda block: block.headers,
    "index": lambda block: block.index,
    "iteration": lambda block: next(iter(block)),
    "copy": lambda block: block.copy(),
}


@pytest.mark.parametrize("use", USES)
def test_a_released_block_gives_no_views(use: str) -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    block.release()
    assert (lease.returned, block.released) == (1, True)
    with pytest.raises(BlockReleasedError, match="released"):
        USES[use](block)
    assert len(block) == len(PACKETS)
    assert "released" in repr(block)


def test_release_twice() -> None:
    block = Block(Ledger(PACKETS))
    block.release()
    with pytest.raises(BlockReleasedError, match="already"):
        block.release()
    block.retire()  # never raises
    with block:
        pass


def _numpy_view(block: Block) -> Any:
    numpy = pytest.importorskip("numpy")
    return numpy.frombuffer(block.data, numpy.uint8)[3:9].reshape(2, 3)


VIEWS: dict[str, Any] = {
    "data": lambda block: block.data,
    "packet": lambda block: block[3],
    "slice of a slice": lambda block: block.data[4:30][2:5],
    "cast": lambda block: block.data[:8].cast("I"),
    "list of slices": lambda block: block[2:4],
    "numpy": _numpy_view,
    "ctypes exporter": lambda block: block.data.obj,
    "iterator": lambda block: (lambda steps: (next(steps), steps))(iter(block)),
    "struct iterator": lambda block: struct.iter_unpack("B", block.data),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_no_release_while_a_view_is_alive(kind: str) -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    view = VIEWS[kind](block)
    for _ in range(2):
        with pytest.raises(BlockInUseError, match="alive"):
            block.release()
        assert (lease.returned, block.released) == (0, False)
        assert bytes(block[5]) == PACKETS[5]  # and it is as usable as before
    del view
    block.release()
    assert lease.returned == 1


@pytest.mark.parametrize("kind", VIEWS)
def test_a_retired_block_goes_back_with_its_last_view(kind: str) -> None:
    lease = Ledger(PACKETS)
    with Block(lease) as block:
        view, other = VIEWS[kind](block), block[9]
    assert block.released
    assert lease.returned == 0
    with pytest.raises(BlockReleasedError):
        _ = block.data
    assert bytes(other) == PACKETS[9]
    del other
    assert lease.returned == 0
    del view
    assert lease.returned == 1


def test_releasing_one_memoryview_leaves_its_slices() -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    with block.data as whole:
        part = whole[1:3]
    with pytest.raises(BlockInUseError):
        block.release()
    assert bytes(part) == PACKETS[1]
    part.release()
    block.release()
    assert lease.returned == 1


def test_views_outlive_a_dropped_block() -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    view = block[4]
    del block
    gc.collect()
    assert (bytes(view), lease.returned) == (PACKETS[4], 0)
    del view
    assert lease.returned == 1


def test_a_dropped_block_goes_back_at_once() -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    assert bytes(block[0]) == PACKETS[0]
    del block
    assert lease.returned == 1


@pytest.mark.parametrize("released", ["never", "retired", "dropped"])
def test_a_garbage_cycle_of_views_goes_back(released: str) -> None:
    lease = Ledger(PACKETS)
    block: Block | None = Block(lease)
    assert block is not None
    cycle: list[Any] = [block[3], block.data]
    cycle.append(cycle)
    if released == "never":
        cycle.append(block)
    elif released == "retired":
        block.retire()
    block = None
    assert lease.returned == 0
    del cycle
    gc.collect()
    assert lease.returned == 1


def test_a_new_view_after_the_last_one_died() -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    for number in range(10):
        assert bytes(block[number]) == PACKETS[number]
    view = block[1]
    block.retire()
    assert lease.returned == 0
    del view
    assert lease.returned == 1


def test_release_from_another_thread() -> None:
    lease = Ledger(PACKETS)
    block = Block(lease)
    view = block[0]
    errors: list[type[BaseException]] = []

    def release() -> None:
        try:
            block.release()
        except BlockInUseError as error:
            errors.append(type(error))

    for expected in (0, 1):
        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        assert lease.returned == expected
        view = memoryview(b"")
    assert errors == [BlockInUseError]
    assert not view


ACTIONS = st.sampled_from(
    ["view", "part", "drop", "release", "retire", "with", "delete", "gc", "copy", "cycle"]
)


class _Life:
    """One block, the views of it, and what must be true of them."""

    def __init__(self) -> None:
        self.lease = Ledger(PACKETS)
        self.block: Block | None = Block(self.lease)
        self.views: list[tuple[memoryview, bytes]] = []
        self.cycles = 0
        self.retired = False

    def step(self, action: str, n: int) -> None:
        if action == "gc":
            self.collect()
        elif action == "part" and self.views:
            view, wanted = self.views[n % len(self.views)]
            self.views.append((view[n // 2 :], wanted[n // 2 :]))
        elif action == "drop" and self.views:
            del self.views[n % len(self.views)]
        elif action == "delete":
            self.block = None
        elif self.block is None:
            pass
        elif action in ("view", "copy", "cycle"):
            self.look(self.block, action, n)
        elif action == "release":
            self.collect()
            if self.retired or self.views:
                with pytest.raises(BlockReleasedError if self.retired else BlockInUseError):
                    self.block.release()
            else:
                self.block.release()
                self.retired = True
        elif action == "retire":
            self.block.retire()
            self.retired = True
        elif action == "with":
            with self.block:
                pass
            self.retired = True

    def look(self, block: Block, action: str, n: int) -> None:
        if self.retired:
            with pytest.raises(BlockReleasedError):
                block[n]
        elif action == "copy":
            assert bytes(block.copy()[n]) == PACKETS[n]
        elif action == "cycle":
            ring: list[Any] = [block[n]]
            ring.append(ring)
            self.cycles += 1
        else:
            self.views.append((block[n], PACKETS[n]))

    def collect(self) -> None:
        gc.collect()
        self.cycles = 0

    def check(self) -> None:
        for view, wanted in self.views:
            assert bytes(view) == wanted
        over = self.retired or self.block is None
        if not self.cycles:
            assert self.lease.returned == (over and not self.views)
        elif not over:
            assert self.lease.returned == 0


@given(st.lists(st.tuples(ACTIONS, st.integers(0, 9)), max_size=30))
def test_any_order_of_calls(steps: list[tuple[str, int]]) -> None:
    """A view never changes, and nothing goes back early, twice or, once all is dropped, not at all."""
    life = _Life()
    for action, n in steps:
        life.step(action, n)
        life.check()
    life.views.clear()
    life.block = None
    life.collect()
    assert life.lease.returned == 1


def test_many_threads_with_views_of_one_block() -> None:
    """Each sees its packets unchanged whoever retires the block when; it goes back exactly once."""
    for seed in range(30):
        lease = Ledger(PACKETS * 20)
        block = Block(lease)
        failures: list[BaseException] = []
        start = threading.Barrier(6)

        def work(
            seed: int, block: Block = block, start: threading.Barrier = start, out: list[Any] = failures
        ) -> None:
            chance = random.Random(seed)
            start.wait()
            try:
                for _ in range(100):
                    n = chance.randrange(len(block))
                    view = block[n]
                    part = view[n % 3 :]
                    del view
                    assert bytes(part) == PACKETS[n % 10][n % 3 :]
                    if chance.random() < 0.01:
                        block.retire()
                        assert bytes(part) == PACKETS[n % 10][n % 3 :]
            except BlockReleasedError:
                pass
            except BaseException as error:
                out.append(error)

        threads = [threading.Thread(target=work, args=(seed * 100 + n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        block.retire()
        del block, work, threads, thread
        gc.collect()
        assert lease.returned == 1
