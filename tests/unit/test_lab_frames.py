"""The test frames and the savefile writers, read back by a library that is not ours."""

from __future__ import annotations

import io
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import dpkt
import pytest

from lab import frames, savefiles, traffic
from lab.savefiles import Interface, Packet

np = pytest.importorskip("numpy")

PACKETS = [
    *savefiles.numbered(5, (60, 1500)),
    Packet(1, b"\x01" * 61, 900),
    Packet(2**32 * 10**9 - 1, b"", 0),
]


@pytest.mark.parametrize("size", [50, 64, 1500, 9014])
def test_frames_are_valid_udp(size: int) -> None:
    frame = frames.expected(2**40 + 5, size)
    assert len(frame) == size
    ip = dpkt.ethernet.Ethernet(frame).data
    assert ip.len == size - 14
    assert ip.data.ulen == size - 34 == len(ip.data)
    assert ip.sum == dpkt.in_cksum(bytes(ip)[:10] + b"\0\0" + bytes(ip)[12:20])
    assert socket.inet_ntoa(ip.src).startswith("198.18.")
    assert frame[0] & 2  # locally administered
    assert not frame[0] & 1
    assert frames.check(frame) == 2**40 + 5
    assert frames.check(frame[:60], size) == 2**40 + 5


def test_check_finds_one_wrong_byte() -> None:
    good = frames.expected(77, 300)
    for position in (0, 17, 41, 49, 50, 299):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(ValueError, match="not what was sent"):
            frames.check(bytes(bad))


def _together(packets: list[bytes], gap: int = 5) -> tuple[bytearray, list[int]]:
    data, offsets = bytearray(), []
    for packet in packets:
        offsets.append(len(data) + gap)
        data += bytes(gap) + packet
    return data, offsets


def test_check_many_finds_what_check_finds() -> None:
    sizes = frames.size_table((60, 1500), seed=9)
    packets = [frames.expected(n, sizes[n % frames.PERIOD]) for n in range(1000, 1400)]
    wire = [len(packet) for packet in packets]
    cut = [packet[:200] for packet in packets]
    data, offsets = _together(cut)
    caps = [len(packet) for packet in cut]
    assert frames.check_many(data, offsets, caps, wire).tolist() == list(range(1000, 1400))
    assert not len(frames.check_many(b"", [], [], []))
    for position in (0, 30, 49, 50, 59):
        bad = data.copy()
        bad[offsets[123] + position] ^= 1
        with pytest.raises(ValueError, match="frame 123 of these"):
            frames.check_many(bad, offsets, caps, wire)
    with pytest.raises(ValueError, match="outside"):
        frames.check_many(data[:-1], offsets, caps, wire)


def test_sizes_come_from_the_seed() -> None:
    assert frames.size_table((60, 1500), 4) == frames.size_table((60, 1500), 4)
    assert frames.size_table((60, 1500), 4) != frames.size_table((60, 1500), 5)
    table = frames.size_table((60, 90))
    assert frames.total_bytes(table, 2500, 300) == sum(table[n % 1024] for n in range(300, 2800))
    assert frames.parse_size("64") == 64
    assert frames.parse_size("60-1500") == (60, 1500)
    for wrong in (49, 70000, (100, 60)):
        with pytest.raises(ValueError, match="a frame has"):
            frames.size_table(wrong)


@pytest.mark.parametrize("nano", [True, False])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_pcap_is_read_back(byteorder: savefiles.ByteOrder, nano: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    count = savefiles.write_pcap(path, PACKETS, byteorder=byteorder, nano=nano, linktype=1)
    assert count == len(PACKETS)
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == 1
        read = list(reader)
    unit = 1 if nano else 1000
    assert [data for _, data in read] == [packet.data for packet in PACKETS]
    for (stamp, _), packet in zip(read, PACKETS, strict=True):
        assert abs(Decimal(stamp) * 10**9 - packet.ts_ns // unit * unit) < 1000


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("resolution", [6, 9, 0x80 + 20])
def test_pcapng_is_read_back(byteorder: savefiles.ByteOrder, resolution: int) -> None:
    file = io.BytesIO()
    interface = Interface(resolution=resolution)
    assert savefiles.write_pcapng(file, PACKETS, byteorder=byteorder, interfaces=(interface,)) == len(PACKETS)
    file.seek(0)
    read: list[Any] = list(dpkt.pcapng.Reader(file))
    assert [bytes(data) for _, data in read] == [packet.data for packet in PACKETS]
    for (stamp, _), packet in zip(read, PACKETS, strict=True):
        assert abs(Decimal(stamp) * 10**9 - packet.ts_ns) < 2000


def test_generate_writes_the_numbered_frames(tmp_path: Path) -> None:
    total = savefiles.generate(tmp_path / "g.pcap", 1500, (60, 400), seed=2)
    with (tmp_path / "g.pcap").open("rb") as file:
        packets = [data for _, data in dpkt.pcap.Reader(file)]
    assert [frames.check(packet) for packet in packets] == list(range(1500))
    assert sum(map(len, packets)) == total


def test_datagrams_to_loopback() -> None:
    sent = traffic.send_loopback(200, (60, 300), rate=20_000)
    assert sent.packets == 200
    assert sent.bytes == frames.total_bytes(frames.size_table((60, 300)), 200)
    assert sent.seconds >= 199 / 20_000
