"""The lab, also for a run on the simulated /dev/bpf."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import netns
from support import simulated


@pytest.fixture
def net(net: netns.Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[netns.Lab]:
    """The lab; its devices are interfaces of the simulated kernel too, where the run is on that."""
    if not simulated.ACTIVE:
        yield net
        return
    simulated.attach(net)
    monkeypatch.setenv("BPFSIM_INTERFACES", simulated.interfaces(net))
    yield net
    monkeypatch.delenv("BPFSIM_INTERFACES")
    simulated.control().reset()
