"""Threads that borrow, give back, ask, wake up and close at once, under ThreadSanitizer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab import netns, savefiles
from support.patches import Built

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(300)]

FIGURES = re.compile(r"(\d+) packets in (\d+) blocks, (\d+) held, (\d+) woken, (\d+) late")


def race(built: Built, *arguments: str | Path) -> list[int]:
    """Packets, blocks, how often all was lent, wake-ups, blocks that came back beside or after closing."""
    program = built.program("zcrace", str(built.archive), "-lpthread")
    done = subprocess.run(
        # Addresses that are too random are beyond what gcc 12's TSan can map.
        ["setarch", "-R", program, *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        env=built.environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = FIGURES.fullmatch(done.stdout.strip())
    assert found, done.stdout
    return [int(figure) for figure in found.groups()]


@pytest.mark.netns
def test_no_race_while_capturing(net: netns.Lab, threaded: Built) -> None:
    with net.inside():
        figures = race(threaded, "live", net.capture_device, net.send_device, "60")
    assert all(figures), figures


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_no_race_while_reading_a_file(threaded: Built, tmp_path: Path, form: str) -> None:
    path = tmp_path / "file"
    write = savefiles.write_pcap if form == "pcap" else savefiles.write_pcapng
    write(path, [*savefiles.numbered(10_000, (60, 1500))] * 5)
    packets, blocks, _, woken, late = race(threaded, "file", path, "10")
    assert packets == 10 * 50_000
    assert blocks > 10
    assert woken
    assert late
