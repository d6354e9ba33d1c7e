"""Savefiles: any order of opening, reading, looking, letting go, forking and closing."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from lab import frames, savefiles
from pypcapzc import Capture, companion, open_offline
from support.lives import SETTINGS, Lives

PACKETS = 5000


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    """Several blocks of 1 MiB, which is what a savefile is read in."""
    gc.freeze()  # what is there already need not be looked through each time
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "saved"
        savefiles.generate(found, PACKETS, (60, 1500))
        yield found
    gc.unfreeze()


@pytest.mark.parametrize("mode", ["auto", "buffered"])
@pytest.mark.parametrize("fast", [True, False], ids=["companion", "python"])
def test_savefiles(path: Path, mode: Any, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(companion, "current", lambda: None)

    class Savefiles(Lives):
        def open_one(self) -> Capture:
            return open_offline(path, mode=mode)

    run_state_machine_as_test(Savefiles, settings=SETTINGS)


@pytest.mark.parametrize("mode", ["auto", "buffered"])
@pytest.mark.parametrize("fast", [True, False], ids=["companion", "python"])
def test_a_block_in_a_garbage_cycle(
    path: Path, mode: Any, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector finalizes all that is in a cycle, the block's memory included, in any order."""
    if not fast:
        monkeypatch.setattr(companion, "current", lambda: None)
    with open_offline(path, mode=mode) as capture:
        numbers: list[int] = []
        while (block := capture.next_block()) is not None:
            numbers += [frames.check(view) for _, view in block]
            ring: list[Any] = [block]
            ring.append(ring)
            del ring, block
            gc.collect()
    assert numbers == list(range(PACKETS))
