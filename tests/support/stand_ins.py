"""What a program does on a peer, in the peer's own virtual environment, and on the stand-in for it."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers
from lab import savefiles
from pypcapzc.capture import Capture

ROOT = Path(__file__).resolve().parent.parent.parent


def on_both(
    peer: str, actions: Path, *arguments: Path, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each action of a program gave on the peer, and here, by `pypcapzc run`.

    ``actions`` prints a JSON object; it gets ``arguments`` and a folder of its own.
    """
    (contestant,) = (each for each in peers.CONTESTANTS if each.name == peer)
    try:
        python = peers.interpreter(contestant, peers.default_folder(), install=True)
    except peers.PeerError as error:
        if "cc" in os.environ.get("PYPCAPZC_REQUIRE", "").split(","):
            pytest.fail(f"PYPCAPZC_REQUIRE names 'cc', but {error}", pytrace=False)
        pytest.skip(str(error))
    ours = [sys.executable, "-m", "pypcapzc", "run"]
    return (
        _did([python], actions, *arguments, folder / "peer"),
        _did(ours, actions, *arguments, folder / "ours"),
    )


def _did(command: list[str], *arguments: Path) -> dict[str, Any]:
    arguments[-1].mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def interrupt_when_it_waits() -> threading.Thread:
    """SIGINT for this process, once its main thread waits for packets."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            frame = sys._current_frames()[main]
            while frame.f_back is not None and frame.f_code is not Capture.next_block.__code__:
                frame = frame.f_back
            if frame.f_code is Capture.next_block.__code__:
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def packets(count: int) -> list[savefiles.Packet]:
    """UDP and TCP over IPv4, and what is no IP, of many lengths; some were cut."""
    rng = random.Random(8)
    found = []
    for number in range(count):
        ports = struct.pack("!HH", rng.choice((53, 80, 443)), rng.randrange(1024, 65536))
        protocol, rest = rng.choice(((17, bytes(4)), (6, bytes(8) + b"\x50\x18" + bytes(6))))
        body = ports + rest + rng.randbytes(rng.randrange(200))
        addresses = bytes([10, 0, 0, rng.randrange(9), 10, 0, 0, rng.choice((7, 255))])
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + addresses + body
        frame = bytes(12) + rng.choice((b"\x08\0" + ip, b"\x08\0" + ip, b"\x08\x06" + bytes(46)))
        time = savefiles.EPOCH + number * 1_000_123_457
        found.append(savefiles.Packet(time, frame, len(frame) + rng.choice((0, 0, 17))))
    return found


def _tagged(rng: random.Random) -> bytes:
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


def tagged_packets(count: int) -> list[savefiles.Packet]:
    """Such packets, with times that have nanoseconds."""
    rng = random.Random(8)
    found = []
    for number in range(count):
        data = _tagged(rng)
        time = savefiles.EPOCH + number * 1_000_123
        found.append(savefiles.Packet(time, data, len(data) + rng.choice((0, 0, 17))))
    return found


def without_text(value: Any) -> Any:
    """Messages may say more than the peer's; the kind of exception is the same."""
    if isinstance(value, dict) and "raised" in value:
        return value["raised"]
    if isinstance(value, list):
        return [without_text(each) for each in value]
    return value
