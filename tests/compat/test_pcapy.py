"""The stand-in for pcapy against pcapy-ng itself, in a virtual environment of its own."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers
from lab import savefiles
from pypcapzc.compat import pcapy

ACTIONS = Path(__file__).parent / "pcapy_actions.py"
OURS = """
import runpy, sys
import pypcapzc.compat.pcapy
sys.modules["pcapy"] = pypcapzc.compat.pcapy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _packet(rng: random.Random) -> bytes:
    """Ethernet with up to three VLAN tags; IPv4 with options or not, or something else; cut anywhere."""
    ports = [rng.choice((53, 80, 443, 8080, 1234, 40000 + rng.randrange(3))) for _ in range(2)]
    flags = rng.choice((0x02, 0x10, 0x12, 0x18))
    tcp = struct.pack("!HHIIBBHHH", *ports, 0, 0, rng.choice((5, 5, 6, 4)) << 4, flags, 0, 0, 0)
    udp = struct.pack("!HHHH", *ports, 8, 0)
    protocol, transport = rng.choice(((6, tcp), (17, udp), (1, b"\x08\0\0\0")))
    options = bytes(4 * rng.choice((0, 0, 1, 10)))
    words = rng.choice((5 + len(options) // 4,) * 9 + (3,))
    addresses = [bytes([10, 0, 0, rng.randrange(20)]) for _ in range(2)]
    ip = (
        struct.pack("!BBHHHBBH", 4 << 4 | words, 0, 99, 0, 0, 64, protocol, 0) + b"".join(addresses) + options
    )
    kind = rng.choice((0x0800,) * 8 + (0x86DD, 0x0806))
    network = ip + transport + bytes(rng.randrange(40)) if kind == 0x0800 else rng.randbytes(60)
    tags = b"".join(
        rng.choice((b"\x81\0\0\7", b"\x88\xa8\0\7")) for _ in range(rng.choice((0, 0, 0, 1, 2, 3)))
    )
    frame = bytes(12) + tags + struct.pack("!H", kind) + network
    return frame[: rng.choice((len(frame),) * 9 + (rng.randrange(1, len(frame)),))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(8)
    path = tmp_path_factory.mktemp("saved") / "saved"
    packets = []
    for n in range(600):
        data = _packet(rng)
        time = savefiles.EPOCH + n * 1_000_123
        packets.append(savefiles.Packet(time, data, len(data) + rng.choice((0, 0, 17))))
    savefiles.write_pcap(path, packets)
    return path


def _did(command: list[str], saved: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run(
        [*command, str(ACTIONS), str(saved), str(folder)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def both(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each action gave on pcapy-ng, and here."""
    folder = tmp_path_factory.mktemp("actions")
    (contestant,) = (each for each in peers.CONTESTANTS if each.name == "pcapy-ng")
    try:
        python = peers.interpreter(contestant, peers.default_folder(), install=True)
    except peers.PeerError as error:
        pytest.skip(str(error))
    return _did([python], saved, folder / "peer"), _did([sys.executable, "-c", OURS], saved, folder / "ours")


@pytest.mark.parametrize("action", re.findall(r'^    "([\w ,]+)":', ACTIONS.read_text(), re.MULTILINE))
def test_the_same_as_pcapy_ng(action: str, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    wanted, found = both
    assert list(found) == list(wanted)
    assert _without_text(found[action]) == _without_text(wanted[action])


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


def _without_text(value: Any) -> Any:
    """Messages may say more than pcapy-ng's; the kind of exception is the same."""
    if isinstance(value, dict) and "raised" in value:
        return value["raised"]
    if isinstance(value, list):
        return [_without_text(each) for each in value]
    return value
