"""The stand-in for pypcap against pypcap itself, in a virtual environment of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab import savefiles
from support import stand_ins

pytestmark = pytest.mark.cc  # pip compiles pypcap

ACTIONS = Path(__file__).parent / "pcap_actions.py"
Both = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """What each action gave on pypcap, and here."""
    folder = tmp_path_factory.mktemp("actions")
    packets = stand_ins.packets(200)
    savefiles.write_pcap(folder / "micro", packets, nano=False)
    savefiles.write_pcap(folder / "nano", packets)
    return stand_ins.on_both("pypcap", ACTIONS, folder / "micro", folder / "nano", folder=folder)


@pytest.mark.parametrize("action", re.findall(r'^    "([\w ,-]+)":', ACTIONS.read_text(), re.MULTILINE))
def test_the_same_as_pypcap(action: str, both: Both) -> None:
    wanted, found = both
    assert list(found) == list(wanted)
    assert stand_ins.without_text(found[action]) == stand_ins.without_text(wanted[action])
