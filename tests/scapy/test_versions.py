"""The same tests with other releases of scapy: PYPCAPZC_SCAPY=2.5.0,2.6.1 or the folders that hold them.

Releases are fetched by pip.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import rerun

RELEASES = [each for each in os.environ.get("PYPCAPZC_SCAPY", "").split(",") if each]

pytestmark = [
    pytest.mark.skipif(not RELEASES, reason="PYPCAPZC_SCAPY names no other releases of scapy"),
    pytest.mark.timeout(900),
]


def folder_of(release: str, scratch: Path) -> Path:
    """Where its package lies."""
    if not re.fullmatch(r"\d+(\.\w+)+", release):
        return Path(release).absolute()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={scratch}"]
    subprocess.run([*pip, f"scapy=={release}"], check=True, timeout=300)
    return scratch


@pytest.mark.parametrize("release", RELEASES)
def test_other_release(release: str, tmp_path: Path) -> None:
    folder = folder_of(release, tmp_path / "scapy")
    kept = {name: value for name, value in os.environ.items() if name != "PYPCAPZC_SCAPY"}
    environment = {**kept, "PYTHONPATH": str(folder)}
    which = [sys.executable, "-c", "import scapy; print(scapy.__file__)"]
    found = subprocess.run(which, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert Path(found.stdout.strip()).parent == folder / "scapy"
    here = Path(__file__).parent
    others = (
        f"--ignore={here / 'test_campaign.py'}",
        f"--ignore={__file__}",
    )  # bring their own, or are this one
    assert rerun.passed([str(here)], tmp_path, environment, timeout=800, options=others) >= 100
