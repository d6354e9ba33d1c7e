"""libpcaps that capture on the simulated /dev/bpf, each built when the first test asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import bpfsim, patches
from support.patches import NEWEST, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    bpfsim.require()
    return Workshop(tmp_path_factory.mktemp("bpfsim"))


@pytest.fixture(scope="session")
def patched(workshop: Workshop) -> Callable[[str], Path]:
    """The newest patched libpcap: plain, asan or tsan."""
    return lambda kind: bpfsim.build(workshop.tree(NEWEST, patched=True), workshop.root, bpfsim.FLAGS[kind])


@pytest.fixture(scope="session")
def unpatched(workshop: Workshop) -> Callable[[str], Path]:
    """The newest libpcap with zero-copy BPF compiled in, and nothing more."""
    return lambda kind: bpfsim.build(
        bpfsim.with_zero_copy(workshop, NEWEST), workshop.root, bpfsim.FLAGS[kind]
    )


@pytest.fixture(scope="session")
def tree(workshop: Workshop) -> Path:
    """The sources of the patched one, for headers."""
    return workshop.tree(patches.NEWEST, patched=True)
