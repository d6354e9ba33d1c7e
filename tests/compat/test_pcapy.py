"""The stand-in for pcapy where pcapy-ng need not be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import savefiles
from pypcapzc.compat import pcapy


def test_a_few_of_many(tmp_path: Path) -> None:
    """The heads of one flow: most packets of a block are not made into objects."""
    savefiles.generate(tmp_path / "saved", 3000, 64)
    first: list[Any] = []
    pcapy.open_offline(str(tmp_path / "saved")).loop(3, lambda hdr, data: first.append((hdr.getts(), data)))
    heads: list[Any] = []
    reader = pcapy.open_offline(str(tmp_path / "saved"))
    counted = reader.loop_filtered(
        -1, lambda hdr, data, kind: heads.append((hdr.getts(), data)), admit_mask=2, flow_cutoff=3
    )
    assert heads == first
    assert counted == reader.filtered_stats() == (3, 2997, 2997, 3, 0)
