"""The distribution of packaging/drop-ins: built without a network, used in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from lab import savefiles
from pypcapzc import compat
from support import cli

SOURCE = cli.ROOT / "packaging" / "drop-ins"
USES = """
import json, sys
import pcap, pcapy, pylibpcap, pylibpcap.base
from importlib.metadata import requires
from pylibpcap.base import LibPcap
from pylibpcap.exception import LibpcapError
assert LibPcap is pylibpcap.LibPcap and LibpcapError is pylibpcap.base.LibpcapError
found = []
pcapy.open_offline(sys.argv[1]).loop(-1, lambda header, data: found.append(data))
packets = [[data for _, data in pcap.pcap(sys.argv[1])], [data for *_, data in pylibpcap.rpcap(sys.argv[1])]]
assert packets == [found, found]
names = [each.__name__ for each in (pcap, pcapy, pylibpcap, pylibpcap.base)]
print(json.dumps([names, len(found), requires("pypcapzc-drop-ins"), "scapy" in sys.modules]))
"""


def _checked(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_program_finds_the_modules(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    _checked(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", tmp_path, SOURCE)
    (wheel,) = tmp_path.glob("pypcapzc_drop_ins-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    _checked(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel)
    savefiles.write_pcap(tmp_path / "saved", savefiles.numbered(30))
    script = tmp_path / "script.py"
    script.write_text(USES)
    said = _checked(python, "-W", "error", script, tmp_path / "saved", PYTHONPATH=str(cli.ROOT))
    package = compat.__name__
    names = [f"{package}.{each}" for each in (*compat.STAND_INS, "pylibpcap.base")]
    assert json.loads(said) == [names, 30, ["pypcapzc>=0.1"], False]
