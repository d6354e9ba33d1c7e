"""Whatever is done with a capture, in whatever order: each packet that the kernel accepted comes once.

Hypothesis chooses the operations, csrc/zcops.c does them on the simulated device and checks what comes,
packet by packet (driver.py). A failure is shown with what the program was told. The operations are the same
in every run; with PYPCAPZC_EXAMPLES=1000, so many captures of each kind, they are others each time, or those
of the ``--hypothesis-seed`` given. What other threads do meanwhile is never the same.

For longer runs there is longrun.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bpfsim import driver
from bpfsim.driver import Capture, Settings
from support import bpfsim

pytestmark = [pytest.mark.bpfsim]

EXAMPLES = int(os.environ.get("PYPCAPZC_EXAMPLES", "15"))
STEPS = 40

LENGTHS = st.sampled_from((60, 61, 100, 500, 1300, 3900))
SPREADS = st.sampled_from((0, 1, 60, 900))
DEADLINES = st.sampled_from((0, 0, 1, 5, 25, 100))


class Captures(RuleBasedStateMachine):
    """One capture from activation to the end, which may come early."""

    program: Path
    read_mode = False
    forks = True

    def __init__(self) -> None:
        super().__init__()
        self.capture: Capture | None = None

    @property
    def open(self) -> Capture:
        assert self.capture is not None
        return self.capture

    @property
    def lent(self) -> list[int]:
        return self.capture.lent if self.capture else []

    @initialize(
        timeout=st.sampled_from((0, 1, 10, 20)),
        immediate=st.booleans(),
        buffer_size=st.sampled_from((4096, 8192, 65536)),
        nonblock=st.booleans(),
    )
    def activate(self, timeout: int, immediate: bool, buffer_size: int, nonblock: bool) -> None:
        self.capture = Capture(
            self.program, Settings(timeout, immediate, buffer_size, nonblock, self.read_mode)
        )

    @precondition(lambda self: not self.open.gone)
    @rule(
        count=st.integers(1, 60),
        shortest=LENGTHS,
        spread=SPREADS,
        seed=st.integers(0, 1 << 20),
        gap_us=st.sampled_from((0, 0, 20, 500)),
    )
    def send(self, count: int, shortest: int, spread: int, seed: int, gap_us: int) -> None:
        self.open.send(count, shortest, shortest + spread, seed, gap_us)

    @rule()
    def drain(self) -> None:
        self.open.drain()

    # Whether there is a block depends on the time as well, so that no rule may have it for a condition.
    @rule(timeout_ms=DEADLINES)
    def borrow(self, timeout_ms: int) -> None:
        if len(self.lent) == driver.MOST_LENT:
            self.open.release(0)
        self.open.next(timeout_ms)

    @rule(count=st.sampled_from((-1, 1, 3)))
    def dispatch(self, count: int) -> None:
        self.open.dispatch(count)

    @rule()
    def one(self) -> None:
        self.open.one()

    @rule(which=st.integers(0, driver.MOST_LENT), delay_us=st.sampled_from((None, 0, 300, 3000)))
    def release(self, which: int, delay_us: int | None) -> None:
        if self.lent:
            self.open.release(which, delay_us)

    @rule(shortest=LENGTHS, spread=SPREADS)
    def narrow(self, shortest: int, spread: int) -> None:
        self.open.filter(shortest, shortest + spread)

    @rule()
    def widen(self) -> None:
        self.open.filter()

    @rule()
    def rotate(self) -> None:
        self.open.rotate()

    @rule()
    def poll(self) -> None:
        self.open.poll()

    @rule(by_loop=st.booleans())
    def interrupt(self, by_loop: bool) -> None:
        if by_loop:
            self.open.breakloop()
        else:
            self.open.wakeup()

    @precondition(lambda self: self.forks)
    @rule(stays=st.booleans())
    def fork(self, stays: bool) -> None:
        self.open.fork(stays)

    @precondition(lambda self: not self.open.gone)
    @rule(sure=st.integers(0, 7))
    def depart(self, sure: int) -> None:
        if sure == 0:
            self.open.depart()

    @rule()
    def settle(self) -> None:
        totals = self.open.settle()
        assert totals.delivered + totals.dropped <= totals.sent

    def teardown(self) -> None:
        if self.capture is None:
            return
        try:
            if self.capture.alive:
                if not self.lent:
                    self.capture.settle()
                self.capture.close()
        finally:
            self.capture.end()


def _run(program: Path, examples: int, **attributes: Any) -> None:
    machine = type("Captures", (Captures,), {"program": program, **attributes})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="PYPCAPZC_EXAMPLES" not in os.environ,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            # A capture is not the same twice: a smaller failure found by shrinking may be another one.
            phases=(Phase.explicit, Phase.generate),
        ),
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("read_mode", [False, True], ids=["zero-copy", "read"])
@pytest.mark.parametrize("kind", bpfsim.FLAGS)
def test_every_packet_comes_once(
    kind: str, read_mode: bool, patched: Callable[[str], Path], tree: Path, workshop: Any
) -> None:
    patched(kind)
    program = driver.build(tree, workshop.root, bpfsim.FLAGS[kind])
    # ThreadSanitizer cannot follow a child.
    _run(program, EXAMPLES, read_mode=read_mode, forks=kind != "tsan")


def test_finds_what_is_wrong(tmp_path: Path, tree: Path) -> None:
    """A library that takes an old buffer for a new one is found out."""
    broken = tmp_path / "libpcap"
    driver.copy_with(tree, broken, "zc_load(&((bpf_record *)store)->bh_hdrlen) == 0", "0")
    program = driver.build(broken, tmp_path, bpfsim.PLAIN)
    with pytest.raises(driver.WrongError, match="FAILED"):
        _run(program, 500)
