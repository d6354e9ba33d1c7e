"""The demo: real packets, captured live, and a plain statement of how they reached Python.

As root it makes a private network namespace with a veth pair and sends there; as a user who may capture
it sends to itself over loopback; for anybody else it says what is missing, and reads a savefile.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

import pypcapzc
from pypcapzc import companion
from pypcapzc.cli.terminal import packet_line, progress, size
from pypcapzc.leases import RECORD

from . import frames, netns, savefiles, traffic

RATE = 40_000
"""Packets a second: the ring below holds all that are sent, also where the machine is busy."""
SECONDS = 4
LOOPBACK_RATE = 20_000
SIZES = "60-1500"

console = Console(highlight=False)


@dataclass
class Seen:
    """What was captured."""

    packets: int = 0
    nbytes: int = 0
    last: int = -1
    as_sent: bool = True
    first: list[str] = field(default_factory=list)

    def take(self, block: pypcapzc.Block, check: bool) -> None:
        """Count a block; ``check`` compares every byte with what was sent, and the order."""
        for i in range(min(5 - len(self.first), len(block))):
            header = pypcapzc.Header(*RECORD.unpack_from(block.index, i * RECORD.size))
            self.first.append(packet_line(header.ts_ns, block[i], header.wirelen))
        if check:
            headers = block.headers
            numbers = frames.check_many(block.data, headers["offset"], headers["caplen"], headers["wirelen"])
            self.as_sent &= bool(numbers[0] > self.last and (numbers[1:] > numbers[:-1]).all())
            self.last = int(numbers[-1])
        self.packets += len(block)
        self.nbytes += block.packet_bytes


def _capture(device: str, sender: list[str], expected: int, filter_: str | None, check: bool) -> None:
    """Start the sender in another process, capture what it sends, and say what came of it."""
    with pypcapzc.open_live(device, buffer_size=256 << 20, filter=filter_) as capture:
        console.print(f"capturing on {device}: {capture.zero_copy.reason}\n", soft_wrap=True)
        seen = Seen()
        process = traffic.start(*sender)
        with progress(True) as line:
            while seen.packets < expected and (block := capture.next_block(3.0)) is not None:
                with block:
                    seen.take(block, check)
                if line.due():
                    line.update(seen.packets, seen.nbytes, capture.stats().dropped)
        sent = traffic.finish(process)
        stats = capture.stats()
        for text in seen.first:
            console.print(f"  {text} ...", soft_wrap=True)
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_row("sent", f"{sent.packets:,}", f"in {sent.seconds:.1f} s, by another process")
        table.add_row("captured", f"{seen.packets:,}", size(seen.nbytes))
        table.add_row("dropped", f"{stats.dropped:,}", "by the kernel, exactly counted")
        if check:
            verdict = "every byte as sent, in order" if seen.as_sent else "NOT in order"
            table.add_row("checked", f"{seen.packets:,}", verdict)
        console.print()
        console.print(table)
        used = capture.zero_copy
        how = "lent: no copy between the kernel's ring and Python" if used.lent else "copied once, in C"
        console.print(f"\n[bold]mechanism {used.mechanism}; blocks {how}[/bold]")
    if seen.packets + stats.dropped != expected:
        raise SystemExit(f"captured + dropped is {seen.packets + stats.dropped}, sent were {expected}")


def _veth() -> None:
    console.print("root: a private network namespace with a veth pair, which nobody else sees")
    count = RATE * SECONDS
    with netns.Lab() as net, net.inside():
        arguments = ["--device", net.send_device, "--count", str(count), "--rate", str(RATE), "--size", SIZES]
        _capture(net.capture_device, arguments, count, None, True)


def _loopback() -> None:
    console.print("no root: traffic to 127.0.0.1 (the exact account on a private veth pair is left out)")
    count, port = LOOPBACK_RATE * SECONDS, _free_port()
    arguments = ["--loopback", "--count", str(count), "--rate", str(LOOPBACK_RATE), "--port", str(port)]
    _capture("lo", arguments, count, f"udp dst port {port}", False)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _savefile() -> None:
    console.print("this user may not capture: a savefile is read instead (live capture is left out)\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.pcap"
        count = 200_000
        savefiles.generate(path, count, (60, 1500))
        seen = Seen()
        with pypcapzc.open_offline(path) as capture:
            for block in capture.blocks():
                seen.take(block, True)
        for text in seen.first:
            console.print(f"  {text} ...", soft_wrap=True)
        console.print(f"\n[bold]{seen.packets:,} packets, {size(seen.nbytes)}, read in blocks[/bold]")


@contextlib.contextmanager
def _titled(title: str) -> Iterator[None]:
    console.rule(f"[bold]{title}", align="left")
    yield
    console.print()


def _build() -> None:
    """The patched libpcap for this machine; from the cache where it was built before."""
    with_companion = companion.current() is not None or companion.VARIABLE in os.environ
    if pypcapzc.zerocopy.status().library.patched and with_companion:
        console.print("a patched libpcap is in use already")
        return
    done = subprocess.run([sys.executable, "-m", "pypcapzc", "build"], check=False)
    if done.returncode:
        console.print("\nIt could not be built; the demo goes on with the libpcap that is here.")
    pypcapzc.libpcap.use(None)  # look again
    companion.forget()


def main() -> None:
    """Run it."""
    with _titled("pypcapzc build: a libpcap that lends its blocks"):
        _build()
    with _titled("pypcapzc doctor"):
        subprocess.run([sys.executable, "-m", "pypcapzc", "doctor"], check=False)
    status = pypcapzc.zerocopy.status()
    with _titled("a live capture"):
        if not status.permissions.allowed:
            console.print(f"{status.permissions.reason}. {status.permissions.fix}", soft_wrap=True)
            _savefile()
        elif reason := netns.why_not():
            console.print(f"no private network: {reason}")
            _loopback()
        else:
            _veth()
    console.print("Next: .venv/bin/pypcapzc devices, .venv/bin/pypcapzc capture -i DEV, README.md")


if __name__ == "__main__":
    main()
