"""Tests that are run once more in a process of their own, where something around them is different."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import cli


def passed(
    tests: list[str],
    scratch: Path,
    environment: dict[str, str],
    *,
    timeout: float,
    options: tuple[str, ...] = (),
) -> int:
    """How many of ``tests`` (files and folders) have passed; fails with their output where one has not."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=150", *options]
    done = subprocess.run(
        [*command, f"--basetemp={scratch / 'run'}", *tests],
        cwd=cli.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    return int(found[1])
