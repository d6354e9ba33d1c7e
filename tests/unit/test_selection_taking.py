"""Taking chosen packets out of a block: as a block, as bytes, into a buffer, to a savefile."""

# ruff: noqa: E402 - what needs numpy is imported once it is known to be there

from __future__ import annotations

import struct
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'pypcapzc[numpy]'")

import pypcapzc
from lab import savefiles
from pypcapzc import decode, selection
from pypcapzc.block import Block
from pypcapzc.dumper import Dumper
from pypcapzc.errors import BlockReleasedError
from support.leases import PACKETS, Ledger
from support.packets import block_of

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 1500, 4095, 4096]))


@st.composite
def chosen(draw: st.DrawFn) -> tuple[list[bytes], list[int]]:
    """Packets, and positions in any order, some of them more than once."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=12))
    packets = [bytes((7 * number + at) % 256 for at in range(size)) for number, size in enumerate(sizes)]
    return packets, draw(st.lists(st.integers(0, len(packets) - 1), max_size=20))


@given(chosen())
@settings(deadline=None)
def test_take(made: tuple[list[bytes], list[int]]) -> None:
    packets, places = made
    block = block_of(packets, snaplen=1500, gap=b"\xff" * 5)
    wanted = [(place, packets[place][:1500]) for place in places]  # the time is the position
    taken = selection.take(block, places)
    assert [(ts_ns, bytes(view)) for ts_ns, view in taken] == wanted
    assert selection.packets(block, places) == list(selection.each(block, places)) == wanted
    assert taken.packet_bytes == sum(len(data) for _, data in wanted)
    assert [header[3] for header in taken.headers.tolist()] == [len(packets[place]) for place in places]  # type: ignore[union-attr]
    assert not taken.lent


@given(chosen(), st.integers(0, 3000))
@settings(deadline=None)
def test_copy_into(made: tuple[list[bytes], list[int]], room: int) -> None:
    packets, places = made
    buffer = bytearray(b"\xee" * (room + 1))
    view = memoryview(buffer)
    headers = selection.copy_into(block_of(packets, gap=b"\xff" * 5), places, view[:room])
    fit, total = 0, 0
    for place in places:
        total += len(packets[place])
        if total > room:
            break
        fit += 1
    assert len(headers) == fit
    wanted = b"".join(packets[place] for place in places[:fit])
    assert bytes(buffer) == wanted + b"\xee" * (room + 1 - len(wanted))
    for place, (ts_ns, offset, caplen, wirelen, _) in zip(places, headers.tolist(), strict=False):
        assert (ts_ns, wirelen) == (place, len(packets[place]))
        assert buffer[offset : offset + caplen] == packets[place]
    view.release()  # what kept a view of the buffer would not let it be resized
    buffer.append(0)


def test_masks_and_other_positions() -> None:
    block = block_of(PACKETS)
    mask = np.arange(len(PACKETS)) % 3 == 0
    assert [data for _, data in selection.packets(block, mask)] == PACKETS[::3]
    nothing: Any
    for nothing in ([], np.zeros(len(PACKETS), bool), np.array([], "i8")):
        assert selection.packets(block, nothing) == []
        assert len(selection.take(block, nothing)) == 0
        assert selection.copy_into(block, nothing, bytearray(1)).size == 0
    with pytest.raises(IndexError, match="block of 10"):
        selection.take(block, [10])
    with pytest.raises(IndexError, match="positions -1"):
        selection.take(block, [-1])
    with pytest.raises(ValueError, match="mask"):
        selection.take(block, mask[1:])
    with pytest.raises(TypeError, match="whole numbers"):
        selection.take(block, [0.5])
    with pytest.raises(TypeError, match="read-only"):
        selection.copy_into(block, [0], bytes(10))


def test_into_shared_memory() -> None:
    memory = shared_memory.SharedMemory(create=True, size=4096)
    try:
        assert memory.buf is not None
        headers = selection.copy_into(block_of(PACKETS), [3, 5], memory.buf)
        assert bytes(memory.buf[:10]) == PACKETS[3] + PACKETS[5]
        assert headers["offset"].tolist() == [0, 4]
    finally:
        memory.close()  # BufferError if a view were left
        memory.unlink()


def test_nothing_keeps_the_block() -> None:
    ledger = Ledger(PACKETS)
    block = Block(ledger)
    taken = selection.take(block, [1, 2])
    buffer = bytearray(10)
    headers = selection.copy_into(block, [0, 1], buffer)
    block.release()  # raises BlockInUseError if anything kept a view
    assert ledger.returned == 1
    assert [bytes(view) for view in taken[:]] == PACKETS[1:3]
    assert buffer[:3] == PACKETS[0] + PACKETS[1]
    assert headers["caplen"].tolist() == [1, 2]
    with pytest.raises(BlockReleasedError):
        selection.take(block, [1])
    taken.release()
    with pytest.raises(BlockReleasedError):
        _ = taken.data


@pytest.mark.parametrize(("magic", "unit"), [(0xA1B23C4D, 1), (0xA1B2C3D4, 1000)])
def test_to_a_savefile(tmp_path: Path, magic: int, unit: int) -> None:
    source, target = tmp_path / "all.pcap", tmp_path / "some.pcap"
    savefiles.generate(source, 5000, (60, 1500))
    wanted: list[Any] = []
    rare = selection.where(lambda found: found["payload_length"] % 7 == 0)
    file_header = struct.pack("=IHHiIII", magic, 2, 4, 0, 0, 262144, 1)  # pcap-savefile(5)
    with pypcapzc.open_offline(source) as capture, Dumper(target, file_header) as dumper:
        for block in capture.blocks():
            indices = rare.indices(decode.fields(block, capture.datalink))
            assert 0 < len(indices) < len(block)
            dumper.write(selection.take(block, indices))
            wanted += [(ts_ns // unit * unit, data) for ts_ns, data in selection.packets(block, indices)]
        assert dumper.packets == len(wanted)
    with pypcapzc.open_offline(target) as capture:
        assert list(capture) == wanted
