"""The tests of live captures on Linux, run once more on the simulated /dev/bpf: same tests, other system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import cli, rerun, simulated

pytestmark = [pytest.mark.bpfsim, pytest.mark.netns]

FILES = (
    "netns/test_capture_live.py",
    "netns/test_capture_waits.py",
    "netns/test_capture_ends.py",
    "netns/test_capture_lent.py",
    "netns/test_cli_capture.py",
    "compat/test_pcap_live.py",
    "compat/test_pcapy_live.py",
    "compat/test_pylibpcap_live.py",
)
LONG = "not million"


@pytest.mark.skipif(simulated.ACTIVE, reason="this run is on it as a whole")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("sharing", [True, False], ids=["zerocopy", "read"])
@pytest.mark.parametrize("name", FILES)
def test_on_the_simulated_device(
    patched: Callable[[str], Path], tmp_path: Path, name: str, sharing: bool
) -> None:
    if name == "netns/test_capture_lent.py" and not sharing:
        pytest.skip("without zero-copy nothing is lent")
    tests, environment = [str(cli.ROOT / "tests" / name)], simulated.environment(patched("plain"), sharing)
    assert rerun.passed(tests, tmp_path, environment, timeout=380, options=("-k", LONG)) >= 6
