"""Where the output goes: terminals, pipes, closed descriptors, full disks, readers that leave early."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import savefiles
from support import cli

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="/dev/full, and Linux's terminals"
)
COUNT = 20_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "some.pcap"
    savefiles.generate(path, COUNT)
    return path


def _shell(line: str, *arguments: object) -> cli.Done:
    """A shell command; $P is pypcapzc, $1 the first argument.  Its code is that of pypcapzc."""
    script = f'P() {{ "{sys.executable}" -m pypcapzc "$@"; }}\n{line}'
    return cli.run(*arguments, command=("bash", "-c", script, "sh"))


# --- closed, full, left early ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    ['read "$1" -p', 'read "$1" --json', 'read "$1" -w -', "capture -i lo --json", "capture -i lo -w -"],
)
def test_closed_standard_output(saved: Path, what: str) -> None:
    assert "standard output is closed" in _shell(f"P {what} >&-", saved).complaint(2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_descriptors_do_not_disturb_the_work(saved: Path, tmp_path: Path, closed: str) -> None:
    target = tmp_path / "copy.pcap"
    done = _shell(f'P read "$1" -w "$2" {closed}', saved, target)
    assert (done.code, done.err) == (0, "")
    assert target.read_bytes() == saved.read_bytes()
    assert _shell(f"P doctor {closed}").code in (0, 1)
    assert _shell(f'P read "$1" {closed}', tmp_path / "none").code == 4


@pytest.mark.parametrize(
    "what", ["devices", "devices --json", "doctor", 'read "$1"', 'read "$1" --json', "--help"]
)
def test_standard_output_is_full(saved: Path, what: str) -> None:
    complaint = _shell(f"P {what} >/dev/full", saved).complaint(1)
    assert complaint == "pypcapzc: standard output: No space left on device"


def test_writing_to_a_full_disk(saved: Path) -> None:
    done = cli.run("read", saved, "-w", "/dev/full")
    assert "/dev/full cannot be written: No space left on device" in done.complaint(1)
    assert "No space left on device" in _shell('P read "$1" -w - >/dev/full', saved).complaint(1)


def test_a_file_that_may_grow_no_further(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pcap"
    done = _shell('ulimit -f 100; P read "$1" -w "$2" --json', saved, target)
    assert done.code == 1
    whole = cli.records(target.read_bytes())
    assert done.json["captured"] == len(whole) == (100 * 1024 - 24) // (64 + 16)
    assert done.json["bytes"] == 64 * len(whole)
    assert len(done.err.splitlines()) == 1
    assert "File too large" in done.err
    assert f"{len(whole)} whole packets" in done.err


def test_a_reader_that_leaves_early(saved: Path, tmp_path: Path) -> None:
    early = "| head -c 100 >/dev/null; exit ${PIPESTATUS[0]}"
    printed = _shell(f'P read "$1" -p {early}', saved)
    assert (printed.code, printed.err) == (1, "")
    done = _shell(f'P read "$1" -w - {early}', saved)
    assert done.code == 1
    summary, complaint = done.err.splitlines()
    written = re.search(r"standard output was closed by its reader; (\d+) whole packets", complaint)
    assert written
    assert summary.startswith(f"{int(written[1]):,} packets, ")
    assert int(written[1]) < COUNT


def test_a_reader_that_leaves_early_loses_nothing_of_the_file(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pcap"
    done = _shell('P read "$1" -p -w "$2" | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}', saved, target)
    assert done.code == 1
    summary, complaint = done.err.splitlines()
    assert complaint == "pypcapzc: standard output: Broken pipe"
    assert summary.startswith(f"{len(cli.records(target.read_bytes())):,} packets, ")


def test_every_line_that_head_takes_is_whole(saved: Path) -> None:
    done = _shell('P read "$1" -p 2>/dev/null | head -n 3', saved)
    assert [len(line.split()) for line in done.text.splitlines()] == [10] * 3


# --- terminals -------------------------------------------------------------------------------------------


def _on_terminal(columns: int, *arguments: object) -> str:
    terminal = cli.Terminal(columns)
    process = cli.start(*arguments, stdout=terminal.side, stderr=terminal.side)
    shown = terminal.read_all()
    process.wait(20)
    assert "Traceback" not in shown
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["devices", "doctor", "--help", "capture --help"])
def test_lines_fit_the_terminal(command: str, columns: int) -> None:
    shown = _on_terminal(columns, *command.split()).partition("What changes it")[0]  # those are to be copied
    assert shown.strip()
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert all(line == line.rstrip() or command == "doctor" for line in shown.splitlines())


def test_devices_on_a_terminal_has_all_addresses() -> None:
    shown = _on_terminal(80, "devices")
    for device in cli.run("devices", "--json").json:
        assert device["name"] in shown
        for address in device["addresses"]:
            assert (address["address"] or "") in shown


@pytest.mark.parametrize("columns", [80, 200])
def test_addresses_are_no_emojis_and_names_no_markup(columns: int) -> None:
    code = (
        "import sys, pypcapzc.cli.devices\n"
        "d, command = sys.modules['pypcapzc.devices'], sys.modules['pypcapzc.cli.devices']\n"
        "address = d.Address('link', '02:ab:cd:on:00:a:')\n"
        "flags = False, True, True, False, None\n"
        "device = d.Device('[red]zc\\x1b[5m', ':smile: [/b] \\n', (address,), *flags)\n"
        "command.list_devices = lambda: [device]\n"
        "from pypcapzc.cli import main; main()\n"
    )
    terminal = cli.Terminal(columns)
    process = cli.start("devices", command=(sys.executable, "-c", code), stdout=terminal.side)
    shown = terminal.read_all()
    cli.finish(process)
    assert r"[red]zc\x1b[5m  up     02:ab:cd:on:00:a:" in shown
    assert r":smile: [/b] \n" in shown


def _feed_slowly(saved: Path, write_end: int, seconds: float) -> Callable[[], None]:
    """Writes the file into a pipe in pieces."""
    data = saved.read_bytes()

    def feed() -> None:
        pieces = 20
        size = len(data) // pieces + 1
        for start in range(0, len(data), size):
            os.write(write_end, data[start : start + size])
            time.sleep(seconds / pieces)
        os.close(write_end)

    thread = threading.Thread(target=feed)
    thread.start()
    return thread.join


def test_progress_on_a_terminal(saved: Path) -> None:
    terminal = cli.Terminal()
    read_end, write_end = os.pipe()
    process = cli.start("read", "-", "--json", stdin=read_end, stderr=terminal.side)
    os.close(read_end)
    join = _feed_slowly(saved, write_end, 1.2)
    shown = terminal.read_all()
    join()
    done = cli.finish(process)
    assert done.json["captured"] == COUNT  # and nothing else on standard output
    totals = [
        int(figure.replace(",", ""))
        for figure in re.findall(r"([\d,]+) packets   [\d,]+/s   [\d.]+ [kM]?B", shown)
    ]
    assert len(set(totals)) >= 2
    assert totals == sorted(totals)
    assert totals[-1] <= COUNT
    assert shown.endswith("\x1b[2K")  # the line is taken away, and the cursor is back
    assert "\x1b[?25h" in shown
    assert "dropped" not in shown  # a file drops nothing


def test_no_progress_and_no_escapes_in_a_pipe(saved: Path) -> None:
    read_end, write_end = os.pipe()
    process = cli.start("read", "-", stdin=read_end)
    os.close(read_end)
    join = _feed_slowly(saved, write_end, 0.6)
    done = cli.finish(process)
    join()
    assert done.err == ""
    assert done.text.startswith(f"{COUNT:,} packets, ")
    assert "\x1b" not in done.text
    for command in ("doctor", "devices", "--help"):
        shown = cli.run(command)
        assert b"\x1b" not in shown.out
        assert shown.err == ""


def test_no_progress_beside_printed_packets(saved: Path) -> None:
    terminal = cli.Terminal()
    process = cli.start("read", saved, "-p", stdout=subprocess.DEVNULL, stderr=terminal.side)
    assert terminal.read_all().startswith(f"{COUNT:,} packets, ")
    assert process.wait(20) == 0
