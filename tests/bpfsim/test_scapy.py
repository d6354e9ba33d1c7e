"""The tests of scapy's sniff(), once more on the simulated /dev/bpf."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import cli, rerun, simulated

pytestmark = [pytest.mark.bpfsim, pytest.mark.netns]


@pytest.mark.skipif(simulated.ACTIVE, reason="this run is on it as a whole")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("sharing", [True, False], ids=["zerocopy", "read"])
def test_sniff_on_the_simulated_device(patched: Callable[[str], Path], tmp_path: Path, sharing: bool) -> None:
    tests = [str(cli.ROOT / "tests" / "scapy" / f"test_sniff_{part}.py") for part in ("live", "wrong")]
    environment = simulated.environment(patched("plain"), sharing)
    assert rerun.passed(tests, tmp_path, environment, timeout=380) >= 25
