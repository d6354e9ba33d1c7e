"""`pypcapzc capture` on real traffic: exact counts, files that hold what was counted, every way to end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lab import frames, traffic
from lab.netns import Lab
from support import cli, simulated

pytestmark = pytest.mark.netns


def _start(net: Lab, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """A capture that has begun."""
    with net.inside():
        process = cli.start("capture", "-i", net.capture_device, *arguments, **options)
    cli.wait_until_capturing(process)
    return process


def _send(net: Lab, count: int, size: frames.Size = 64) -> list[bytes]:
    """Sends so many frames at full speed; all of them."""
    with net.inside(), traffic.Sender(net.send_device, size) as sender:
        assert sender.send(count).packets == count
    sizes = frames.size_table(size)
    return [frames.expected(n, sizes[n % frames.PERIOD]) for n in range(count)]


class _Stream:
    """Traffic until it is stopped."""

    def __init__(self, net: Lab, rate: int = 20_000) -> None:
        self._net, self._rate, self._on = net, rate, True
        self.sent = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._net.inside(), traffic.Sender(self._net.send_device) as sender:
            while self._on:
                try:
                    self.sent += sender.pace(self._rate, 0.02).packets
                except OSError:  # the device was taken away
                    return

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._on = False
        self._thread.join()


def _check_account(found: dict[str, Any]) -> None:
    assert set(found) >= cli.CAPTURE_KEYS
    assert found["captured"] + found["dropped"] == found["matched"]
    assert (
        found["matched"] <= found["received"] if simulated.ACTIVE else found["matched"] == found["received"]
    )


# --- counts ----------------------------------------------------------------------------------------------


def test_all_that_was_sent_in_time_is_captured_and_written(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "all.pcap"
    duration = 3 if simulated.ACTIVE else 1  # a simulated kernel has the packets of a device a little later
    process = _start(net, "--duration", duration, "--buffer-size", "32M", "-w", target, "--json")
    # BPF's buffers have a limit: 2 times 2 MiB, or 2 times 512 KiB that are not shared.
    count = 30_000 if not simulated.ACTIVE else 2000 if simulated.SHARING else 1000
    sent = _send(net, count, (60, 1500))
    done = cli.finish(process)
    assert (done.code, done.err) == (0, "")
    found = done.json
    _check_account(found)
    assert found["captured"] == found["received"] == len(sent)
    assert found["bytes"] == sum(map(len, sent))
    assert duration <= found["seconds"] < duration + 4
    assert found["device"] == net.capture_device
    assert found["mode"] == ("zerocopy" if found["lent"] else "buffered")
    bpf = "bpf_zbuf" if simulated.SHARING else "none"
    assert found["mechanism"] == (bpf if simulated.ACTIVE else "tpacket_v3")
    assert found["dropped_by_interface"] == 0
    assert cli.records(target.read_bytes()) == sent


def test_packets_that_found_no_room_are_counted(net: Lab) -> None:
    process = _start(net, "--buffer-size", "512K", "--json")
    os.kill(process.pid, signal.SIGSTOP)
    sent = _send(net, 20_000, 1500)
    os.kill(process.pid, signal.SIGCONT)
    os.kill(process.pid, signal.SIGINT)
    found = cli.finish(process).json
    _check_account(found)
    assert found["received"] == len(sent) or simulated.ACTIVE  # there some are still under way to the device
    if not simulated.ACTIVE:  # there the simulated kernel was stopped with the program
        assert found["dropped"] > 0
        assert found["captured"] > 0


@cli.needs_tcpdump
@cli.needs_tshark
def test_exactly_so_many_packets_and_others_read_them(net: Lab, tmp_path: Path) -> None:
    target, copy = tmp_path / "some.pcap", tmp_path / "copy.pcap"
    process = _start(net, "-c", 777, "-w", target, "--json")
    sent = _send(net, 2000, (60, 300))
    done = cli.finish(process)
    assert (done.code, done.json["captured"]) == (0, 777)
    assert cli.records(target.read_bytes()) == sent[:777]
    assert cli.tcpdump_count(target) == (777, "")
    command: list[str | Path] = ["tcpdump", "--time-stamp-precision=nano", "-r", target, "-w", copy]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    assert copy.read_bytes() == target.read_bytes()
    assert cli.tshark_packets(target) == sent[:777]


def test_a_filter(net: Lab) -> None:
    process = _start(net, "-f", "greater 301", "--duration", 0.5, "--json")
    sent = _send(net, 1000, (250, 350))
    found = cli.finish(process).json
    assert found["captured"] == found["matched"] == sum(len(frame) >= 301 for frame in sent)
    with net.inside():
        complaint = cli.run("capture", "-i", net.capture_device, "-f", "udp prot 7").complaint(2)
    assert "syntax error" in complaint


def test_snaplen(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "cut.pcap"
    process = _start(net, "-c", 10, "--snaplen", 60, "-w", target, "--json")
    sent = _send(net, 10, 200)
    assert cli.finish(process).json["bytes"] == 600
    assert cli.records(target.read_bytes()) == [frame[:60] for frame in sent]


def test_a_duration_without_traffic(net: Lab) -> None:
    began = time.monotonic()
    done = cli.finish(_start(net, "--duration", 0.3))
    assert 0.3 <= time.monotonic() - began < 10
    assert done.code == 0
    assert done.text.splitlines()[0].startswith("0 packets captured")


def test_text_and_printed_packets(net: Lab) -> None:
    process = _start(net, "-c", 5, "--print", "--immediate")
    sent = _send(net, 5)
    done = cli.finish(process)
    assert done.code == 0
    for line, frame in zip(done.text.splitlines(), sent, strict=True):
        assert frame.startswith(bytes.fromhex(line.split(maxsplit=2)[2]))
    lines = done.err.splitlines()
    assert lines[0].startswith(f"pypcapzc: capturing on {net.capture_device}; ")
    assert lines[1].startswith("5 packets captured")
    assert re.match(r"\d+ received (by|before) the filter, 0 dropped by the kernel", lines[2])


# --- pipes -----------------------------------------------------------------------------------------------


@cli.needs_tcpdump
@pytest.mark.parametrize("reader", ["pypcapzc", "tcpdump"])
def test_written_into_a_pipe(net: Lab, reader: str) -> None:
    readers = {
        "pypcapzc": [*cli.COMMAND, "read", "-", "--json"],
        "tcpdump": ["tcpdump", "-nn", "-q", "-t", "-r", "-"],
    }
    process = _start(net, "-c", 3000, "-w", "-")
    second = cli.start(command=readers[reader], stdin=process.stdout)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _send(net, 3000)
    read = cli.finish(second)
    done = cli.finish(process)
    assert done.code == read.code == 0
    assert "3,000 packets captured" in done.err
    count = read.json["captured"] if reader == "pypcapzc" else len(read.out.splitlines())
    assert count == 3000


@pytest.mark.parametrize("what", [["-w", "-"], ["--print"]])
def test_a_reader_that_leaves_early(net: Lab, what: list[str]) -> None:
    process = _start(net, *what)
    assert process.stdout is not None
    with _Stream(net):
        process.stdout.read(100)
        process.stdout.close()
        process.stdout = None
        done = cli.finish(process)
    assert done.code == 1
    if what[0] == "-w":
        assert "standard output was closed by its reader" in done.err.splitlines()[-1]


# --- signals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_under_traffic_loses_nothing(net: Lab, tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "some.pcap"
    process = _start(net, "-w", target, "--json")
    with _Stream(net) as stream:
        while stream.sent < 5000:
            time.sleep(0.02)
        process.send_signal(number)
        done = cli.finish(process)
    assert (done.code, done.err) == (130, "")
    _check_account(done.json)
    assert 1000 < done.json["captured"] <= stream.sent
    assert done.json["interrupted"] is True
    written = cli.records(target.read_bytes())
    assert len(written) == done.json["captured"]
    assert [frames.check(frame) for frame in written] == list(range(len(written)))  # in order, none missing


def test_an_interrupt_after_all_was_sent(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "some.pcap"
    process = _start(net, "-w", target)
    sent = _send(net, 1000)
    process.send_signal(signal.SIGINT)  # most packets are still in the kernel's ring
    done = cli.finish(process)
    assert done.code == 130
    assert done.text.startswith("1,000 packets captured")
    assert f"written to {target}" in done.text
    assert cli.records(target.read_bytes()) == sent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_without_traffic_is_quick(net: Lab, number: signal.Signals) -> None:
    seconds: list[float] = []
    while len(seconds) < 3 and min(seconds, default=9) >= 1:  # a busy machine may be slow once
        process = _start(net, "--json")
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(number)
        done = cli.finish(process)
        seconds.append(time.monotonic() - began)
        assert (done.code, done.json["captured"]) == (130, 0)
    assert min(seconds) < 1, seconds


@cli.needs_tcpdump
def test_killed(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "some.pcap"
    process = _start(net, "-w", target)
    with _Stream(net):
        while target.stat().st_size < 200_000:
            time.sleep(0.01)
        written = target.stat().st_size
        process.kill()
        cli.finish(process)
    data = target.read_bytes()
    whole = (len(data) - 24) // 80  # only the last packet may be cut
    assert len(data) >= written
    assert [frames.check(frame) for frame in cli.records(data[: 24 + whole * 80])] == list(range(whole))
    assert cli.tcpdump_count(target)[0] == whole


# --- what goes wrong -------------------------------------------------------------------------------------


def test_the_device_is_removed(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "some.pcap"
    process = _start(net, "-w", target, "--json")
    sent = _send(net, 1000)
    net.remove_devices()
    done = cli.finish(process)
    assert done.code == 1
    assert done.json["captured"] == len(sent)
    assert cli.records(target.read_bytes()) == sent
    assert len(done.err.splitlines()) == 1
    assert "The interface disappeared" in done.err


@simulated.linux_only
def test_the_device_is_not_up(net: Lab) -> None:
    net.ip("link", "set", "dev", net.capture_device, "down")
    with net.inside():
        done = cli.run("capture", "-i", net.capture_device, "--duration", 5)
    assert done.code == 1
    assert f"{net.capture_device} is not up" in done.complaint(1)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_the_disk_is_full(net: Lab, tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy.pcap"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=128k none "$1" || exit 99\n'
        '"$3" -m pypcapzc capture -i "$4" --json -w "$1/some.pcap"; code=$?\n'
        'cp "$1/some.pcap" "$2"; exit $code\n'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", disk, copy, sys.executable, net.capture_device]
    with net.inside():
        process = cli.start(command=[str(word) for word in command])
    with _Stream(net):
        done = cli.finish(process)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "No space left on device" in done.err
    written = cli.records(copy.read_bytes())
    assert done.json["captured"] == len(written) == (128 * 1024 - 24) // 80


@simulated.linux_only
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_without_the_capability(net: Lab, tmp_path: Path) -> None:
    target = tmp_path / "some.pcap"
    drop = "-net_raw,-net_admin"
    command = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *cli.COMMAND]
    with net.inside():
        done = cli.run("capture", "-i", net.capture_device, "-w", target, command=command)
        doctor = cli.run("doctor", "--json", command=command)
    complaint = done.complaint(3)
    assert "no permission to capture" in complaint
    assert "`pypcapzc doctor` says what to do" in complaint
    assert not target.exists()
    assert doctor.code == 1
    permissions = doctor.json["permissions"]
    assert permissions["allowed"] is False
    assert "CAP_NET_RAW" in permissions["reason"]
    assert permissions["fix"] in doctor.json["fixes"]


@simulated.linux_only
def test_as_an_ordinary_user(net: Lab) -> None:
    # The change of user comes after the imports: this Python may lie where others cannot read.
    code = (
        "import ctypes.util, difflib, os, subprocess, rich.console\n"
        "import pypcapzc.cli.app, pypcapzc.cli.capture, pypcapzc.cli.doctor, pypcapzc.libpcap.binaries\n"
        "os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        "from pypcapzc.cli import main; main()\n"
    )
    with net.inside():
        complaint = cli.run_python(code, "capture", "-i", net.capture_device).complaint(3)
        text = cli.run_python(code, "doctor")
    assert "`pypcapzc doctor` says what to do" in complaint
    assert text.code == 1
    assert "this user may not capture" in text.text.splitlines()[0]
    assert "run as root" in text.text


def test_zero_copy_that_cannot_be_had(net: Lab) -> None:
    with net.inside():
        if cli.run("doctor").code == 0:
            pytest.skip("zero-copy is available here")
        complaint = cli.run("capture", "-i", net.capture_device, "--mode", "zerocopy").complaint(1)
    assert ("sysctl net.bpf.zerocopy_enable=1" if simulated.ACTIVE else "pypcapzc build") in complaint


# --- terminals -------------------------------------------------------------------------------------------


def test_live_progress_on_a_terminal_only(net: Lab) -> None:
    terminal = cli.Terminal()
    process = _start(net, "--duration", 1.2, "--json", stderr=terminal.side)
    with _Stream(net, 5000):
        shown = terminal.read_all()
        done = cli.finish(process)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown)
    totals = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) packets   [\d,]+/s", plain)]
    assert len(set(totals)) >= 3
    assert totals == sorted(totals)
    assert totals[-1] <= done.json["captured"]
    assert "0 dropped" in plain


def test_ctrl_c_on_a_terminal(net: Lab) -> None:
    terminal = cli.Terminal()
    process = _start(net, stderr=terminal.side, start_new_session=True)
    with _Stream(net, 2000):
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        shown = terminal.read_all()
        done = cli.finish(process)
    assert done.code == 130
    assert re.match(r"[\d,]+ packets captured", done.text)
    assert "Traceback" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back
