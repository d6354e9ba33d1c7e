"""Live captures: any order of opening, sending, reading, looking, letting go, forking and closing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from lab import traffic
from lab.netns import Lab
from pypcapzc import Capture
from support import captures
from support.lives import SETTINGS, Lives

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def _frozen() -> Iterator[None]:
    gc.freeze()  # what is there already need not be looked through each time
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore:.*all blocks of the buffer are held:RuntimeWarning")
@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_live(net: Lab, sender: traffic.Sender, mode: Any) -> None:
    class Live(Lives):
        def open_one(self) -> Capture:
            return captures.opened(net, mode=mode)

        @rule(count=st.integers(1, 2000))
        def send(self, count: int) -> None:
            sender.send(count)

    run_state_machine_as_test(Live, settings=SETTINGS)
