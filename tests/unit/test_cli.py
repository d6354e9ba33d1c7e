"""The command line without privileges: what it answers, its exit codes, and what it says of bad input."""

from __future__ import annotations

import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import savefiles
from lab.savefiles import Packet
from support import cli, headers

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's devices and /proc")
COUNT = 250

OTHER_LIBRARY = "int answer(void) { return 42; }"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "some.pcap"
    savefiles.generate(path, COUNT, (60, 1500))
    return path


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    return list(savefiles.numbered(COUNT, (60, 1500)))


# --- help, entry points ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "doctor", "devices", "capture", "read"])
def test_help_names_the_options(command: str) -> None:
    done = cli.run(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.text.startswith(f"Usage: pypcapzc {command}".rstrip())
    expected = {
        "": ["doctor", "devices", "capture", "read", "Exit codes", "130 interrupted"],
        "doctor": ["--json"],
        "devices": ["--json"],
        "capture": [
            "-i",
            "-f",
            "-w",
            "-c",
            "--duration",
            "--mode",
            "--buffer-size",
            "--snaplen",
            "--json",
            "--print",
        ],
        "read": ["FILE", "-f", "-w", "-c", "--json", "--print"],
    }
    for word in expected[command]:
        assert word in done.text, word
    assert "..." not in done.text.replace("[ARGS]...", "")  # no description is cut off
    assert max(map(len, done.text.splitlines())) <= 80


def test_version() -> None:
    done = cli.run("--version")
    assert re.fullmatch(r"pypcapzc, version \d+\.\d+\S*\n", done.text)


def test_no_command_shows_the_help_as_an_error() -> None:
    done = cli.run()
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("Usage: pypcapzc")


def test_the_console_script_is_the_same_command() -> None:
    configured = (cli.ROOT / "pyproject.toml").read_text()
    entry = re.search(r'^\[project\.scripts\]\npypcapzc = "([\w.]+):(\w+)"$', configured, re.MULTILINE)
    assert entry
    code = f"from {entry[1]} import {entry[2]} as command; import sys; sys.exit(command())"
    assert cli.run_python(code, "--version").out == cli.run("--version").out
    assert cli.run_python(code, "no-such-command").code == 2


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from pypcapzc.cli import main; main()"
    complaint = cli.run_python(code, "doctor").complaint(1)
    assert "pip install 'pypcapzc[cli]'" in complaint
    assert missing in complaint


def test_ctrl_c_while_it_is_still_importing() -> None:
    code = (
        "import sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pypcapzc.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from pypcapzc.cli import main; main()\n"
    )
    done = cli.run_python(code, "doctor")
    assert (done.code, done.out, done.err) == (130, b"", "")


# --- doctor ----------------------------------------------------------------------------------------------


def test_doctor_json_has_all_keys_and_agrees_with_its_exit_code() -> None:
    done = cli.run("doctor", "--json")
    found = done.json
    keys = {"library", "platform", "mechanism", "lent", "zero_copy", "reasons", "fixes", "permissions"}
    assert keys <= set(found)
    assert {"path", "version", "patched", "abi"} <= set(found["library"])
    assert found["mechanism"] in ("bpf_zbuf", "tpacket_v3", "none")
    assert (found["library"]["abi"] is not None) == found["library"]["patched"]
    assert all(type(found[key]) is bool for key in ("lent", "zero_copy"))
    assert found["zero_copy"] or not found["lent"]
    assert found["reasons"]
    assert type(found["permissions"]["allowed"]) is bool
    assert os.path.isabs(found["library"]["path"])
    assert done.code == (0 if found["lent"] else 1)
    assert done.err == ""


def test_doctor_text_says_the_same_as_the_json() -> None:
    found = cli.run("doctor", "--json").json
    done = cli.run("doctor")
    assert done.code == (0 if found["lent"] else 1)
    lines = done.text.splitlines()
    assert lines[0].startswith("Zero-copy ")
    assert f"libpcap     {found['library']['path']}" in lines
    assert f"mechanism   {found['mechanism']}" in lines
    for reason in found["reasons"]:
        assert f"  - {reason}" in lines
    for fix in found["fixes"]:
        assert f"  {fix}" in lines
    assert done.err == ""


def test_doctor_exits_with_0_where_blocks_are_lent() -> None:
    code = (
        "import dataclasses\n"
        "from pypcapzc import zerocopy\n"
        "before = zerocopy.status()\n"
        "zerocopy.status = lambda device=None: dataclasses.replace(before, lent=True, zero_copy=True)\n"
        "from pypcapzc.cli import main; main()\n"
    )
    done = cli.run_python(code, "doctor")
    assert done.code == 0
    assert done.text.startswith("Zero-copy is available")
    assert cli.run_python(code, "doctor", "--json").json["lent"] is True


@pytest.fixture(params=["missing", "text", pytest.param("other", marks=pytest.mark.cc)])
def bad_library(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    # As a name that a terminal library might take for markup or an emoji.
    folder = tmp_path / "[/bold] :smile:"
    folder.mkdir(parents=True)
    path = folder / f"{request.param}.so"
    if request.param == "text":
        path.write_text("not a library\n")
    elif request.param == "other":
        headers.shared_library(folder, path.name, OTHER_LIBRARY)
    return path


def test_a_libpcap_that_is_none(bad_library: Path) -> None:
    env = cli.environment(PYPCAPZC_LIBPCAP=str(bad_library))
    done = cli.run("doctor", "--json", env=env)
    assert done.code == 1
    assert done.json["library"] == {"path": None, "version": None, "patched": False, "abi": None}
    assert any(str(bad_library) in reason for reason in done.json["reasons"])
    assert not done.json["lent"]
    text = cli.run("doctor", env=env)
    assert text.code == 1
    assert str(bad_library) in text.text
    assert "nothing can be captured" in text.text.splitlines()[0]
    assert text.err == ""
    assert str(bad_library) in cli.run("capture", "-i", "lo", env=env).complaint(1)
    assert str(bad_library) in cli.run("devices", env=env).complaint(1)
    assert str(bad_library) in cli.run("read", "-", feed=bytes(100), env=env).complaint(1)


# --- devices ---------------------------------------------------------------------------------------------


@linux_only
def test_devices_json() -> None:
    done = cli.run("devices", "--json")
    assert (done.code, done.err) == (0, "")
    by_name = {device["name"]: device for device in done.json}
    assert by_name["any"]["description"]
    keys = ["name", "description", "addresses", "loopback", "up", "running", "wireless", "connected"]
    assert all(list(device) == keys for device in done.json)
    for device in done.json:
        for address in device["addresses"]:
            assert list(address) == ["family", "address", "netmask", "broadcast", "peer"]


@linux_only
def test_devices_in_a_pipe_is_one_line_a_device() -> None:
    listed = cli.run("devices", "--json").json
    done = cli.run("devices", env=cli.environment(COLUMNS="40"))
    assert (done.code, done.err) == (0, "")
    heading, *lines = done.text.splitlines()
    assert heading.split()[:2] == ["device", "state"]
    assert [line.split()[0] for line in lines] == [device["name"] for device in listed]
    for line, device in zip(lines, listed, strict=True):
        assert line == line.rstrip()
        assert (device["description"] or "") in line
        for address in device["addresses"]:
            assert (address["address"] or "") in line


# --- wrong usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("capture", "Missing option '-i'"),
        ("capture -i lo --snaplen 0", "--snaplen"),
        ("capture -i lo --snaplen 262145", "--snaplen"),
        ("capture -i lo --snaplen x", "--snaplen"),
        ("capture -i lo --buffer-size 0", "--buffer-size"),
        ("capture -i lo --buffer-size 2G", "out of range"),
        ("capture -i lo --buffer-size -1", "--buffer-size"),
        ("capture -i lo --buffer-size 4X", "'4X' is not a size"),
        ("capture -i lo --buffer-size " + "9" * 5000, "is not a size"),
        ("capture -i lo --duration -1", "--duration"),
        ("capture -i lo --duration nan", "--duration"),
        ("capture -i lo --duration soon", "--duration"),
        ("capture -i lo -c 0", "--count"),
        ("capture -i lo -c -5", "--count"),
        ("capture -i lo --mode fast", "--mode"),
        ("capture -i lo --nonsense", "--nonsense"),
        ("capture -i lo -w - --json", "write to standard output"),
        ("capture -i lo --json --print", "--json and --print"),
        ("capture -i lo -w - --print", "write to standard output"),
        ("read", "Missing argument 'FILE'"),
        ("read x -w - --json", "write to standard output"),
        ("read x -c 0", "--count"),
        ("read x y", "unexpected extra argument"),
        ("doctor --nonsense", "--nonsense"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: str, words: str) -> None:
    complaint = cli.run(*arguments.split()).complaint(2)
    assert words in complaint
    assert "--help`" in complaint


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4096", 4096), ("64k", 65536), ("4M", 4 << 20), ("1G", 1 << 30), ("8MiB", 8 << 20), ("8mb", 8 << 20)],
)
def test_sizes(text: str, expected: int) -> None:
    pytest.importorskip("click")
    from pypcapzc.cli.options import buffer_size

    assert buffer_size(text) == expected


@linux_only
def test_there_is_no_such_device() -> None:
    assert "no such device: zc-none" in cli.run("capture", "-i", "zc-none").complaint(4)
    assert "no such device" in cli.run("capture", "-i", "").complaint(4)


# --- read ------------------------------------------------------------------------------------------------


def _with_damage(saved: Path, folder: Path, kind: str) -> tuple[Path, int]:
    """A damaged copy of the file, and how many whole packets it begins with."""
    path, data = folder / f"{kind}.pcap", bytearray(saved.read_bytes())
    before = 7
    position = 24
    for _ in range(before):
        position += 16 + struct.unpack_from("<8xI", data, position)[0]
    if kind == "cut":
        del data[position + 20 :]
    elif kind == "cut in a header":
        del data[position + 5 :]
    else:
        struct.pack_into("<I", data, position + 8, 0x7FFFFFFF)
    path.write_bytes(data)
    return path, before


def test_read_counts(saved: Path, packets: list[Packet]) -> None:
    done = cli.run("read", saved, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert set(found) >= cli.CAPTURE_KEYS
    assert (found["captured"], found["bytes"]) == (COUNT, sum(len(p.data) for p in packets))
    assert (found["first_ns"], found["last_ns"]) == (packets[0].ts_ns, packets[-1].ts_ns)
    assert (found["datalink"], found["snaplen"], found["device"]) == ("EN10MB", 262144, str(saved))
    text = cli.run("read", saved)
    assert (text.code, text.err) == (0, "")
    assert text.text.startswith(f"{COUNT} packets, ")
    assert cli.run("read", saved, "-c", "1").text.startswith("1 packet, ")


@pytest.mark.parametrize("count", [1, 100, COUNT, COUNT + 1])
def test_read_stops_after_count_packets(saved: Path, count: int) -> None:
    assert cli.run("read", saved, "-c", count, "--json").json["captured"] == min(count, COUNT)


def test_read_filters(saved: Path, packets: list[Packet]) -> None:
    long = sum(len(p.data) > 800 for p in packets)
    assert 0 < long < COUNT
    assert cli.run("read", saved, "-f", "greater 801", "--json").json["captured"] == long
    assert cli.run("read", saved, "-f", "tcp", "--json").json["captured"] == 0
    complaint = cli.run("read", saved, "-f", "udp prot 7").complaint(2)
    assert "syntax error" in complaint


def test_read_prints_a_line_for_each_packet(saved: Path, packets: list[Packet]) -> None:
    done = cli.run("read", saved, "--print", env=cli.environment(TZ="UTC"))
    lines = done.text.splitlines()
    assert len(lines) == COUNT
    assert done.err.startswith(f"{COUNT} packets, ")
    for line, packet in zip(lines, packets, strict=True):
        clock, lengths, shown = line.split(maxsplit=2)
        assert clock.endswith(f".{packet.ts_ns % 10**9:09d}")
        assert lengths == f"{len(packet.data)}/{len(packet.data)}"
        beginning = bytes.fromhex(shown)
        assert len(beginning) >= 16
        assert packet.data.startswith(beginning)
    assert lines[0].startswith("22:13:20.")  # 1_700_000_000 seconds


@pytest.mark.parametrize("pcapng", [False, True])
def test_read_converts(tmp_path: Path, packets: list[Packet], pcapng: bool) -> None:
    source, target = tmp_path / "from", tmp_path / "to.pcap"
    if pcapng:
        savefiles.write_pcapng(source, packets, byteorder="big")
    else:
        savefiles.write_pcap(source, packets, byteorder="big", nano=False)
    done = cli.run("read", source, "-w", target)
    assert (done.code, done.err) == (0, "")
    assert f"written to {target}" in done.text
    again = cli.run("read", target, "--json").json
    unit = 1 if pcapng else 1000
    assert (again["captured"], again["last_ns"]) == (COUNT, packets[-1].ts_ns // unit * unit)
    assert cli.records(target.read_bytes()) == [p.data for p in packets]


def test_read_standard_input_and_write_standard_output(saved: Path) -> None:
    data = saved.read_bytes()
    done = cli.run("read", "-", "-w", "-", feed=data)
    assert done.code == 0
    assert done.out == data
    assert done.err.startswith(f"{COUNT} packets")
    counted = cli.run("read", "-", "--json", feed=done.out)
    assert counted.json["captured"] == COUNT


@cli.needs_tcpdump
def test_tcpdump_reads_what_read_writes(saved: Path) -> None:
    done = cli.run("read", saved, "-w", "-", "-c", 99)
    assert cli.tcpdump_count("-", done.out) == (99, "")


@pytest.mark.parametrize("kind", ["cut", "cut in a header", "corrupt"])
def test_packets_before_the_damage_count(saved: Path, tmp_path: Path, kind: str) -> None:
    path, before = _with_damage(saved, tmp_path, kind)
    done = cli.run("read", path, "--json")
    assert done.code == 1
    assert done.json["captured"] == before
    assert len(done.err.splitlines()) == 1
    assert str(path) in done.err
    converted = tmp_path / "whole.pcap"
    assert cli.run("read", path, "-w", converted).code == 1
    assert len(cli.records(converted.read_bytes())) == before
    text = cli.run("read", "-", feed=path.read_bytes())
    assert text.code == 1
    assert text.text.startswith(f"{before} packets")


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3", b"#!/bin/sh\n" * 10, bytes(100)])
def test_what_is_no_savefile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "what"
    path.write_bytes(content)
    assert str(path) in cli.run("read", path, "--json").complaint(1)
    assert "standard input" in cli.run("read", "-", feed=content).complaint(1)


def test_files_that_cannot_be_opened(saved: Path, tmp_path: Path) -> None:
    assert "No such file" in cli.run("read", tmp_path / "none").complaint(4)
    assert "is a directory" in cli.run("read", tmp_path).complaint(1)
    assert "No such file" in cli.run("read", saved, "-w", tmp_path / "none" / "x").complaint(4)
    odd = tmp_path / "two\nlines \x1b[31m"
    assert r"two\nlines \x1b[31m" in cli.run("read", odd).complaint(4)


def test_names_that_are_not_utf8(saved: Path, tmp_path: Path) -> None:
    target = os.path.join(os.fsencode(tmp_path), b"\xff.pcap")
    name: Any = os.fsdecode(target)
    done = cli.run("read", saved, "-w", name)
    assert (done.code, done.err) == (0, "")
    assert done.text.startswith(f"{COUNT} packets")
    assert os.path.getsize(target) == saved.stat().st_size


def test_a_savefile_is_not_overwritten_while_it_is_read(saved: Path, tmp_path: Path) -> None:
    path, link = tmp_path / "a.pcap", tmp_path / "b.pcap"
    path.write_bytes(saved.read_bytes())
    link.hardlink_to(path)
    for target in (path, link):
        assert "overwritten" in cli.run("read", path, "-w", target).complaint(2)
    assert path.read_bytes() == saved.read_bytes()
