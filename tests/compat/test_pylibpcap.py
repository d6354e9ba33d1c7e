"""The stand-in for python-libpcap against python-libpcap itself, in a virtual environment of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab import savefiles
from support import stand_ins

pytestmark = pytest.mark.cc  # pip compiles python-libpcap

ACTIONS = Path(__file__).parent / "pylibpcap_actions.py"
Both = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """What each action gave on python-libpcap, and here."""
    folder = tmp_path_factory.mktemp("actions")
    packets = stand_ins.packets(200)
    savefiles.write_pcap(folder / "micro", packets, nano=False)
    savefiles.write_pcap(folder / "nano", packets)
    return stand_ins.on_both("python-libpcap", ACTIONS, folder / "micro", folder / "nano", folder=folder)


@pytest.mark.parametrize("action", re.findall(r'^    "([\w ,\'-]+)":', ACTIONS.read_text(), re.MULTILINE))
def test_the_same_as_python_libpcap(action: str, both: Both) -> None:
    wanted, found = both
    assert list(found) == list(wanted)
    assert stand_ins.without_text(found[action]) == stand_ins.without_text(wanted[action])
