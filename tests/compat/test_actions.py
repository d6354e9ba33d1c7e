"""The stand-ins against the libraries themselves, each in a virtual environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import savefiles
from support import stand_ins

HERE = Path(__file__).parent


@pytest.mark.cc  # pip compiles them
@pytest.mark.parametrize(
    ("peer", "program"), [("pypcap", "pcap_actions.py"), ("python-libpcap", "pylibpcap_actions.py")]
)
def test_the_same(peer: str, program: str, tmp_path: Path) -> None:
    packets = stand_ins.packets(200)
    savefiles.write_pcap(tmp_path / "micro", packets, nano=False)
    savefiles.write_pcap(tmp_path / "nano", packets)
    _compare(peer, program, tmp_path / "micro", tmp_path / "nano")


def test_the_same_as_pcapy_ng(tmp_path: Path) -> None:
    savefiles.write_pcap(tmp_path / "saved", stand_ins.tagged_packets(600))
    _compare("pcapy-ng", "pcapy_actions.py", tmp_path / "saved")


def _compare(peer: str, program: str, *files: Path) -> None:
    """Each action of a program gives the same, in the same order."""
    wanted, found = stand_ins.on_both(peer, HERE / program, *files, folder=files[0].parent)
    assert len(wanted) > 20
    assert list(found) == list(wanted)
    differing = {
        name: (wanted[name], found[name])
        for name in wanted
        if stand_ins.without_text(wanted[name]) != stand_ins.without_text(found[name])
    }
    assert differing == {}
