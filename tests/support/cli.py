"""Runs the command line as a user does: as a process of its own, with pipes or a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = (sys.executable, "-m", "pypcapzc")
CAPTURE_KEYS = {
    "captured",
    "received",
    "dropped",
    "dropped_by_interface",
    "bytes",
    "seconds",
    "mode",
    "mechanism",
    "lent",
    "device",
}

needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document and nothing else."""
        return json.loads(self.out)

    def complaint(self, code: int) -> str:
        """The one line on standard error, and nothing on standard output."""
        assert self.code == code, self
        assert self.out == b"", self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("pypcapzc: "), self.err
        return lines[0]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, able to import the package, warnings being errors."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "TERM": "xterm", **changes}


def start(*arguments: Any, command: Sequence[str] = COMMAND, **options: Any) -> subprocess.Popen[bytes]:
    """Starts the command in the namespace of the calling thread; pipes unless ``options`` say otherwise."""
    options = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, "env": environment(), **options}
    return subprocess.Popen([*command, *map(os.fspath, map(str, arguments))], **options)


def finish(process: subprocess.Popen[bytes], timeout: float = 20, feed: bytes | None = None) -> Done:
    """Waits for the command; it must not have shown a traceback, nor escapes for a terminal."""
    try:
        out, err = process.communicate(feed, timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    done = Done(process.returncode, out or b"", (err or b"").decode(errors="replace"))
    assert "Traceback" not in done.err, done.err
    assert "Exception ignored" not in done.err, done.err
    assert "\x1b" not in done.err, done.err
    return done


def run(*arguments: Any, feed: bytes | None = None, timeout: float = 20, **options: Any) -> Done:
    """Starts the command and waits for it; ``feed`` goes to its standard input."""
    if feed is not None:
        options["stdin"] = subprocess.PIPE
    return finish(start(*arguments, **options), timeout, feed)


def run_python(code: str, *arguments: str, **options: Any) -> Done:
    """The same for Python code."""
    return run(*arguments, command=(sys.executable, "-c", code), **options)


def wait_until_capturing(process: subprocess.Popen[bytes], timeout: float = 10) -> None:
    """Until the process handles SIGTERM, which `capture` does once the device is open."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught & 1 << 14:
            return
        time.sleep(0.01)
    raise AssertionError("it does not begin to capture")


class Terminal:
    """A terminal of so many columns; give ``side`` to the process, and read what it shows."""

    def __init__(self, columns: int = 80) -> None:
        self._main, self.side = pty.openpty()
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def read_all(self) -> str:
        """Everything until the last process has closed its side."""
        if self.side >= 0:
            os.close(self.side)
            self.side = -1
        shown = b""
        while True:
            try:
                data = os.read(self._main, 65536)
            except OSError:  # Linux says EIO for the end
                data = b""
            if not data:
                os.close(self._main)
                return shown.decode().replace("\r\n", "\n")
            shown += data


def records(data: bytes) -> list[bytes]:
    """The packets of a little-endian nanosecond pcap file, which must end with a whole one."""
    assert data[:4] == struct.pack("<I", 0xA1B23C4D)
    packets, position = [], 24
    while position < len(data):
        length = struct.unpack_from("<8xI", data, position)[0]
        position += 16 + length
        assert position <= len(data), "the last packet is cut"
        packets.append(data[position - length : position])
    return packets


def tcpdump_count(path: Path | str, feed: bytes | None = None) -> tuple[int, str]:
    """How many packets tcpdump reads, and what it says beside them."""
    command = ["tcpdump", "-nn", "-q", "-t", "-r", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False, input=feed)
    complaints = [line for line in done.stderr.decode().splitlines() if not line.startswith("reading from")]
    return len(done.stdout.splitlines()), "\n".join(complaints)


def tshark_packets(path: Path) -> list[bytes]:
    """The bytes of all packets, as tshark reads them."""
    command = ["tshark", "-n", "-r", str(path), "-T", "jsonraw", "-J", "frame"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    return [bytes.fromhex(p["_source"]["layers"]["frame_raw"][0]) for p in json.loads(done.stdout)]
