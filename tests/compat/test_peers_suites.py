"""The peers' own tests, as they are, on the stand-ins; PYPCAPZC_PEERS names their repositories' folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import cli

PEERS = os.environ.get("PYPCAPZC_PEERS")

pytestmark = [
    pytest.mark.skipif(not PEERS, reason="PYPCAPZC_PEERS names no folder with the peers' repositories"),
    pytest.mark.timeout(320),  # pypcap's opens files 6,000 times
]

SUITES = {
    "pypcap": ("-m", "pytest", "-q", "tests/test.py"),
    "pcap-ct": ("-m", "unittest", "-v", "tests.test_main"),
    "python-libpcap": ("-m", "pytest", "-q", "tests/test_pylibpcap.py"),
    "pcapy-ng": ("-m", "unittest", "-v", "tests.test_fast"),
}
"""From a folder that has nothing but the peer's tests: its sources would go before the stand-in."""


@pytest.mark.parametrize("peer", SUITES)
def test_passes(peer: str, tmp_path: Path) -> None:
    assert PEERS is not None
    found = Path(PEERS) / peer / "tests"
    if not found.is_dir():
        pytest.skip(f"PYPCAPZC_PEERS has no {peer}")
    shutil.copytree(found, tmp_path / "tests")
    done = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "run", *SUITES[peer]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout or "\nOK" in done.stderr


def test_pcapys_older_suite(tmp_path: Path) -> None:
    """It exits when it is imported.  Two of its tests count references: docs/migrating.md says whose."""
    assert PEERS is not None
    found = Path(PEERS) / "pcapy-ng" / "tests"
    if not found.is_dir():
        pytest.skip("PYPCAPZC_PEERS has no pcapy-ng")
    shutil.copytree(found, tmp_path / "tests")
    done = subprocess.run(
        [sys.executable, "-m", "pypcapzc", "run", "pcapytests.py"],
        cwd=tmp_path / "tests",
        env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    failed = re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE)
    # That of None comes out right now and then.
    assert set(failed) <= {"testEOFValue", "testPacketHeaderRefCount"}, done.stderr
    assert "Ran 7 tests" in done.stderr
