"""The tests of scapy's sniff(), once more on the simulated /dev/bpf."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import cli, simulated

pytestmark = [pytest.mark.bpfsim, pytest.mark.netns]


@pytest.mark.skipif(simulated.ACTIVE, reason="this run is on it as a whole")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("sharing", [True, False], ids=["zerocopy", "read"])
def test_sniff_on_the_simulated_device(patched: Callable[[str], Path], tmp_path: Path, sharing: bool) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=150"]
    done = subprocess.run(
        [
            *command,
            f"--basetemp={tmp_path / 'run'}",
            *(str(cli.ROOT / "tests" / "scapy" / f"test_sniff_{part}.py") for part in ("live", "wrong")),
        ],
        cwd=cli.ROOT,
        env={
            **os.environ,
            "PYPCAPZC_LIBPCAP": str(patched("plain")),
            "PYPCAPZC_PLATFORM": simulated.NAME,
            "BPFSIM_OUTSIDE_POLLER": "1",
            "BPFSIM_ZEROCOPY": str(int(sharing)),
        },
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 25
