"""The system's tcpdump prints the same, whichever of the two libpcaps it runs on."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from lab import netns, savefiles, traffic
from support.patches import Built

TCPDUMP = shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/sbin")

pytestmark = [
    pytest.mark.kit,
    pytest.mark.cc,
    pytest.mark.timeout(120),
    pytest.mark.skipif(TCPDUMP is None, reason="needs tcpdump (Debian: apt-get install tcpdump)"),
]

SO_TIMESTAMPNS = 35
STYLES = [("-nn", "-e", "-tt"), ("-nn", "-v", "-XX", "-tt"), ("-nn", "-A", "-S", "-tttt")]


def tcpdump(*arguments: str) -> list[str]:
    # As root it would change to a user who may not read the test's files.
    return [str(TCPDUMP), *(("-Z", "root") if arguments[0] != "--version" else ()), *arguments]


def run(built: Built, *arguments: str) -> str:
    done = subprocess.run(
        tcpdump(*arguments), capture_output=True, text=True, timeout=60, env=built.environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_on_the_library_that_was_built(stock: Built, patched: Built) -> None:
    """tcpdump has no RPATH of its own, and neither build lies where the system's is."""
    for built in (stock, patched):
        assert f"libpcap version {built.version}" in run(built, "--version")
        done = subprocess.run(
            tcpdump("--version"),
            capture_output=True,
            text=True,
            env=built.environment(LD_DEBUG="libs"),
            check=True,
        )
        assert re.search(rf"calling init: {re.escape(str(built.build))}/names/libpcap\.so", done.stderr)


@pytest.mark.parametrize("style", STYLES, ids=" ".join)
@pytest.mark.parametrize("expression", ["", "greater 200 and udp", "ether proto 0x0800 or vlan"])
def test_saved_traffic(
    stock: Built, patched: Built, tmp_path: Path, style: tuple[str, ...], expression: str
) -> None:
    path = tmp_path / "saved"
    for write in (savefiles.write_pcap, savefiles.write_pcapng):
        write(path, list(savefiles.numbered(300, (60, 1500))))
        said = [run(built, *style, "-r", str(path), expression) for built in (stock, patched)]
        assert said[0] == said[1]
        assert said[0]


def _live(net: netns.Lab, builds: tuple[Built, ...], arguments: list[str], count: int) -> list[str]:
    """What tcpdump prints of the same packets on each of the libraries, at the same time."""
    command = tcpdump("-nn", "-e", "-tt", "--nano", "-c", str(count), *arguments)
    with net.inside():
        # As long as somebody wants stamps of all packets, every capture sees the same one.
        stamped = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        stamped.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        running = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=built.environment()
            )
            for built in builds
        ]
        try:
            for process in running:
                assert process.stderr
                while "listening on" not in (line := process.stderr.readline()):
                    assert line, "tcpdump has ended"
            with traffic.Sender(net.send_device, (60, 1500)) as sender:
                sender.send(count + 500)
            answers = [process.communicate(timeout=60) for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.communicate()
            stamped.close()
    for process, (_, error) in zip(running, answers, strict=True):
        assert process.returncode == 0, error
        assert re.search(rf"^{count} packets captured", error, re.MULTILINE), error
        assert re.search(r"^0 packets dropped by kernel", error, re.MULTILINE), error
    return [out for out, _ in answers]


@pytest.mark.netns
@pytest.mark.parametrize(
    "arguments",
    ["-i zc0", "-i zc0 -s 64 -x", "-i any -Q in", "-i zc0 greater 100"],
)
def test_live_traffic(net: netns.Lab, stock: Built, patched: Built, arguments: str) -> None:
    said = _live(net, (stock, patched), arguments.split(), 1000)
    assert said[0].count("\n") >= 1000
    assert said[0] == said[1]


@pytest.mark.netns
def test_what_it_writes_is_the_same(net: netns.Lab, stock: Built, patched: Built, tmp_path: Path) -> None:
    path = tmp_path / "written.pcap"
    for built in (stock, patched):
        with net.inside():
            process = subprocess.Popen(
                tcpdump("-i", net.capture_device, "-c", "200", "-U", "-w", str(path)),
                stderr=subprocess.PIPE,
                text=True,
                env=built.environment(),
            )
            assert process.stderr
            while "listening on" not in process.stderr.readline():
                assert process.poll() is None
            with traffic.Sender(net.send_device, 64) as sender:
                sender.send(200)
        process.communicate(timeout=60)
        assert process.returncode == 0
        packets = path.read_bytes()[24:]
        # Without the times, which are those of two captures.
        records = [packets[at + 8 : at + 80] for at in range(0, len(packets), 80)]
        assert len(packets) == 200 * 80
        if built is stock:
            before = records
        else:
            assert records == before
