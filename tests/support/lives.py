"""Captures, blocks and views in any order of calls, as a state machine of hypothesis.

What must hold all the time: the bytes of a view never change, no packet comes twice, and each call either
does what it says or raises what it says.
"""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lab import frames
from pypcapzc import Block, BlockInUseError, BlockReleasedError, Capture, CaptureClosedError

SETTINGS = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
_MOST = 6
"""Captures, and blocks, at a time."""
N = st.integers(0, 10**6)


@dataclass
class Held:
    """A block, what is in it, and the views of it that are out."""

    block: Block
    numbers: list[int]
    views: list[tuple[Any, bytes]] = field(default_factory=list)
    retired: bool = False


@dataclass
class Opened:
    """A capture and the packets that came from it."""

    capture: Capture
    seen: set[int] = field(default_factory=set)


class Lives(RuleBasedStateMachine):
    """A subclass says how to open a capture, and may bring packets on their way.

    No rule has a precondition: what there is depends on the kernel's clock, and hypothesis wants the same
    again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.captures: list[Opened] = []
        self.held: list[Held] = []
        self.orphans: list[tuple[Any, bytes]] = []
        """Views whose block was dropped."""

    def open_one(self) -> Capture:
        raise NotImplementedError

    # --- captures --------------------------------------------------------------------------------

    @rule()
    def open(self) -> None:
        if len(self.captures) == _MOST:
            return
        self.captures.append(Opened(self.open_one()))

    def _see(self, opened: Opened, numbers: list[int]) -> None:
        assert len(set(numbers)) == len(numbers)
        assert not opened.seen & set(numbers)
        opened.seen.update(numbers)

    @rule(n=N, most=st.one_of(st.none(), st.integers(1, 700)))
    def next(self, n: int, most: int | None) -> None:
        if not self.captures or len(self.held) == _MOST:
            return
        opened = self.captures[n % len(self.captures)]
        if opened.capture.closed:
            with pytest.raises(CaptureClosedError):
                opened.capture.next_block(0)
            return
        if most is not None:
            for part in opened.capture.blocks(0, most):
                assert len(part) <= most
                self._see(opened, [frames.sequence_of(view) for _, view in part])
                break
            return
        block = opened.capture.next_block(0)
        if block is not None:
            held = Held(block, [frames.sequence_of(view) for _, view in block])
            self._see(opened, held.numbers)
            self.held.append(held)

    def iterates(self, opened: Opened) -> bool:
        """Whether an iteration cannot wait for ever."""
        return not opened.capture.live

    @rule(n=N, count=st.integers(1, 500))
    def iterate(self, n: int, count: int) -> None:
        if not self.captures:
            return
        opened = self.captures[n % len(self.captures)]
        if opened.capture.closed or not self.iterates(opened):
            return
        self._see(opened, [frames.sequence_of(data) for _, data in islice(opened.capture, count)])

    @rule(n=N, drop=st.booleans())
    def close(self, n: int, drop: bool) -> None:
        if not self.captures:
            return
        opened = self.captures[n % len(self.captures)]
        opened.capture.close()
        if drop:
            self.captures.remove(opened)

    # --- blocks and views ------------------------------------------------------------------------

    @rule(n=N, how=st.sampled_from(["packet", "slice", "part", "data", "index", "array"]))
    def view(self, n: int, how: str) -> None:
        if not self.held:
            return
        held = self.held[n % len(self.held)]
        if held.retired:
            with pytest.raises(BlockReleasedError):
                _ = held.block.data
            return
        block, at = held.block, n % len(held.numbers)
        taken: list[Any] = {
            "packet": lambda: [block[at]],
            "slice": lambda: block[at : at + 3],
            "part": lambda: [block[at][n % 50 :]],
            "data": lambda: [block.data[-100:]],
            "index": lambda: [block.index[24 * at :]],
            "array": lambda: [memoryview(pytest.importorskip("numpy").frombuffer(block[at], "u1")[3:])],
        }[how]()
        for view in taken:
            assert view.readonly
            with pytest.raises(TypeError):
                view[0] = 0
        held.views += [(view, bytes(view)) for view in taken]

    @rule(n=N, all_of_it=st.booleans())
    def drop_view(self, n: int, all_of_it: bool) -> None:
        looked_at = [held for held in self.held if held.views]
        if not looked_at:
            return
        views = looked_at[n % len(looked_at)].views
        del views[n % len(views) :: 1 if all_of_it else len(views)]

    @rule(n=N)
    def drop_orphan(self, n: int) -> None:
        if not self.orphans:
            return
        del self.orphans[n % len(self.orphans)]

    @rule(n=N, elsewhere=st.booleans())
    def release(self, n: int, elsewhere: bool) -> None:
        if not self.held:
            return
        held = self.held[n % len(self.held)]
        wanted = BlockReleasedError if held.retired else BlockInUseError if held.views else None
        raised: list[type[BaseException]] = []

        def attempt() -> None:
            try:
                held.block.release()
            except (BlockReleasedError, BlockInUseError) as error:
                raised.append(type(error))

        if elsewhere:
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
        else:
            attempt()
        assert raised == ([wanted] if wanted else [])
        held.retired = held.retired or wanted is None

    @rule(n=N)
    def leave_with(self, n: int) -> None:
        if not self.held:
            return
        held = self.held[n % len(self.held)]
        with held.block:
            pass
        held.retired = True

    @rule(n=N, in_a_cycle=st.booleans())
    def drop_block(self, n: int, in_a_cycle: bool) -> None:
        if not self.held:
            return
        held = self.held.pop(n % len(self.held))
        self.orphans += held.views
        if in_a_cycle:
            ring: list[Any] = [held.block]
            ring.append(ring)

    @rule(n=N)
    def copies(self, n: int) -> None:
        if not self.held:
            return
        held = self.held[n % len(self.held)]
        if held.retired:
            with pytest.raises(BlockReleasedError):
                held.block.packets()
            with pytest.raises(BlockReleasedError):
                held.block.copy()
        else:
            assert list(map(frames.sequence_of, held.block.packets())) == held.numbers
            assert frames.check(held.block.copy()[n % len(held.numbers)]) in held.numbers

    @rule()
    def collect(self) -> None:
        gc.collect()

    @rule()
    def fork(self) -> None:
        child = os.fork()
        if not child:
            os._exit(self._in_child())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def _in_child(self) -> int:
        """All is closed there, and dropping it takes nothing from the parent."""
        try:
            for held in self.held:
                for use in (held.block.release, held.block.packets, held.block.copy):
                    try:
                        use()
                    except BlockReleasedError:
                        continue
                    return 1
            if not all(opened.capture.closed for opened in self.captures):
                return 2
            self.held.clear()
            gc.collect()
        except BaseException:
            return 3
        return 0

    @invariant()
    def no_view_has_changed(self) -> None:
        for view, wanted in self.orphans:
            assert bytes(view) == wanted
        for held in self.held:
            assert held.block.released == held.retired
            for view, wanted in held.views:
                assert bytes(view) == wanted

    def teardown(self) -> None:
        for opened in self.captures:
            opened.capture.close()
        self.no_view_has_changed()
        self.held.clear()
        self.orphans.clear()
        gc.collect()
