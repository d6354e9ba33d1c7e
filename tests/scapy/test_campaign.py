"""scapy's own tests of sniffing, sending and sockets, as they are, with the backend as without.

PYPCAPZC_PEERS names the folder with its repository.  These are the quick files, 60 seconds of waiting in all;
`python tests/scapy/campaign.py` runs more.
"""

from __future__ import annotations

import os
from pathlib import Path

import campaign
import pytest

from lab.netns import Lab

PEERS = os.environ.get("PYPCAPZC_PEERS")

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not PEERS, reason="PYPCAPZC_PEERS names no folder with the peers' repositories"),
    pytest.mark.timeout(campaign.PATIENCE * 5),
]


@pytest.mark.parametrize("file", campaign.QUICK)
def test_passes_with_the_backend_as_without(net: Lab, file: str) -> None:
    folder = Path(PEERS or "", "scapy").absolute()
    if not (folder / "test" / f"{file}.uts").exists():
        pytest.skip(f"PYPCAPZC_PEERS has no scapy, or none with {file}.uts")
    with net.inside():
        campaign.prepared(net)
        native, _, worse = campaign.compare(folder, file)
    assert worse == []
    assert sum(each == "passed" for each in native.values()) >= len(native) / 2


def test_what_is_left_out_of_a_file() -> None:
    tests = "+ Set\n= One\na\n= Two\n~ keyword\nb\n= Three\nc\n"
    assert campaign.without(tests, ("Two",)) == "+ Set\n= One\na\n= Three\nc\n"
