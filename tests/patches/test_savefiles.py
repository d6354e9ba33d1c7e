"""Blocks lent from savefiles: what is in the file, and libpcap's own errors where it is bad."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab import savefiles
from lab.savefiles import ByteOrder, Interface, Packet
from support.patches import Built

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(600)]

SEEDS = int(os.environ.get("PYPCAPZC_SEEDS", "60"))
ORDERS: tuple[ByteOrder, ...] = ("little", "big")
Write = Callable[[Path, list[Packet]], object]


def _pcap(byteorder: ByteOrder, nano: bool) -> Write:
    return lambda path, packets: savefiles.write_pcap(path, packets, byteorder=byteorder, nano=nano)


def _pcapng(byteorder: ByteOrder, *interfaces: Interface) -> Write:
    return lambda path, packets: savefiles.write_pcapng(
        path, packets, byteorder=byteorder, interfaces=interfaces
    )


FORMATS: dict[str, tuple[Write, int]] = {
    **{
        f"pcap-{order}-{'nano' if nano else 'micro'}": (_pcap(order, nano), 1 if nano else 1000)
        for order, nano in itertools.product(ORDERS, (True, False))
    },
    "pcapng-little": (_pcapng("little", Interface()), 1),
    "pcapng-big-micro": (_pcapng("big", Interface(resolution=6)), 1000),
}


def truth(packets: Iterable[Packet], unit: int) -> list[str]:
    """The lines that zcread prints for these packets, whose times the file keeps in multiples of ``unit``."""
    return [
        f"{packet.ts_ns // unit * unit} {len(packet.data)} {packet.original_length} {packet.data.hex()}"
        for packet in packets
    ]


def some(count: int, seed: int = 1) -> list[Packet]:
    made = savefiles.numbered(count, (60, 1500), seed=seed)
    return [
        packet._replace(wirelen=len(packet.data) + 7, data=packet.data[: number % 100])
        if number % 10 == 3
        else packet
        for number, packet in enumerate(made)
    ]


def read(
    built: Built, *arguments: str, how: str = "lent", stdin: Path | None = None, pipe: bool = False
) -> list[str]:
    """What zcread prints."""
    program = built.program("zcread", str(built.archive))
    content = stdin.read_bytes() if stdin is not None and pipe else None
    file = os.open(stdin, os.O_RDONLY) if stdin is not None and not pipe else None
    try:
        done = subprocess.run(
            [program, arguments[0], how, *arguments[1:]],
            input=content,
            stdin=file if content is None else None,
            capture_output=True,
            timeout=60,
            env=built.environment(),
            check=False,
        )
    finally:
        if file is not None:
            os.close(file)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_lent_as_it_was_written(sanitized: Built, name: str, tmp_path: Path) -> None:
    write, unit = FORMATS[name]
    packets = some(1500)
    path = tmp_path / name
    write(path, packets)
    expected = [*truth(packets, unit), "end"]
    assert read(sanitized, str(path)) == expected
    assert read(sanitized, str(path), how="callback") == expected
    assert read(sanitized, "-", stdin=path) == expected
    assert read(sanitized, "-", stdin=path, pipe=True) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_so_it_is_in_every_version(patched: Built, name: str, tmp_path: Path) -> None:
    write, unit = FORMATS[name]
    packets = some(1500, seed=2)
    path = tmp_path / name
    write(path, packets)
    assert read(patched, str(path)) == [*truth(packets, unit), "end"]


@pytest.mark.parametrize("name", ["pcap-little-nano", "pcap-big-micro", "pcapng-little", "pcapng-big-micro"])
def test_a_cut_file_ends_as_with_stock(
    newest_stock: Built, sanitized: Built, name: str, tmp_path: Path
) -> None:
    write, _ = FORMATS[name]
    path = tmp_path / "whole"
    write(path, some(40))
    whole = path.read_bytes()
    cut = tmp_path / "cut"
    lengths = {*range(0, 60, 7), *range(len(whole) - 40, len(whole), 5), *range(100, len(whole), 4999)}
    errors = 0
    for length in sorted(lengths):
        cut.write_bytes(whole[:length])
        expected = read(newest_stock, str(cut), how="callback")
        assert read(sanitized, str(cut)) == expected
        assert read(sanitized, "-", stdin=cut, pipe=True)[:-1] == expected[:-1]
        errors += expected[-1].startswith("error")
    assert errors


@pytest.mark.parametrize("name", ["pcap-little-nano", "pcapng-little"])
def test_a_file_that_shrinks_gives_what_was_there_and_an_error_at_most(
    sanitized: Built, name: str, tmp_path: Path
) -> None:
    write, unit = FORMATS[name]
    packets = some(6000)
    path = tmp_path / name
    expected = truth(packets, unit)
    seen = set()
    for left in (0, 10, 30, 100_000, 2_000_001):
        write(path, packets)
        assert path.stat().st_size > 3_000_000
        *lines, last = read(sanitized, str(path), f"shrink={left}")
        assert 0 < len(lines) < len(packets)
        assert lines == expected[: len(lines)]
        assert last == "end" or "truncated" in last
        seen.add(last.split()[0])
    assert "error" in seen


def test_a_compressed_file_is_refused_as_ever(newest_stock: Built, sanitized: Built, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(bytes.fromhex("1f8b0800") + bytes(500))
    answer = read(sanitized, str(path))
    assert answer == read(newest_stock, str(path), how="callback")
    assert answer[0].startswith("not opened: unknown file format")


@pytest.mark.parametrize("name", ["pcap-little-micro", "pcap-big-nano", "pcapng-little", "pcapng-big-micro"])
def test_damaged_files_end_as_with_stock(
    newest_stock: Built, sanitized: Built, name: str, tmp_path: Path
) -> None:
    write, _ = FORMATS[name]
    path = tmp_path / "whole"
    write(path, some(60))
    whole = path.read_bytes()
    damaged = tmp_path / "damaged"
    dice = random.Random(name)
    for _ in range(SEEDS // 4):
        content = bytearray(whole)
        for _ in range(dice.randrange(1, 5)):
            # The lengths that matter are in the first packets' headers more often than not.
            place = dice.randrange(len(content) if dice.random() < 0.5 else 200)
            content[place] = dice.choice((0, 1, 127, 255))
        damaged.write_bytes(content)
        assert read(sanitized, str(damaged)) == read(newest_stock, str(damaged), how="callback")


def made_up(stock: Built, built: Built, count: int) -> tuple[int, int]:
    """Files, packets."""
    program = built.program("zcsave", "-ldl")
    command: list[str | Path] = [program, stock.library, built.library, "1", str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=built.environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) files, (\d+) packets, (\d+) of the files end with an error; (\d+)", done.stdout)
    assert found, done.stdout
    assert all(int(figure) for figure in found.groups())
    return int(found[1]), int(found[2])


def test_made_up_files_are_read_as_with_stock(stock: Built, patched: Built) -> None:
    """From files, pipes and memory; lent, mixed with dispatch and next_ex; some of them held."""
    files, packets = made_up(stock, patched, SEEDS)
    assert files == SEEDS
    assert packets > SEEDS


def test_nothing_is_read_beyond_the_end_of_made_up_files(newest_stock: Built, sanitized: Built) -> None:
    made_up(newest_stock, sanitized, SEEDS)
