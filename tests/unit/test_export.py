"""Packets as Arrow record batches and Parquet files: every value, and files that are whole."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pypcapzc
from lab import savefiles
from lab.savefiles import Packet
from pypcapzc import datalinks
from pypcapzc.errors import BlockInUseError, BlockReleasedError, DumpError
from support import cli, oracle
from support.leases import Ledger
from support.packets import BY_LINK, block_of

np = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from pypcapzc import decode, export  # noqa: E402 - they need numpy
from pypcapzc.block import Block  # noqa: E402
from pypcapzc.export import parquet  # noqa: E402

COUNT = 3000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export") / "in.pcap"
    savefiles.generate(made, COUNT, (60, 700))
    return made


@pytest.fixture(scope="module")
def truth() -> list[tuple[int, bytes]]:
    return [(packet.ts_ns, packet.data) for packet in savefiles.numbered(COUNT, (60, 700))]


def _columns(table: Any) -> list[tuple[int, bytes]]:
    times = table.column("ts").cast(pa.int64()).to_pylist()
    return list(zip(times, table.column("data").to_pylist(), strict=True))


# --- record batches --------------------------------------------------------------------------------------


def test_every_packet_is_a_row(path: Path, truth: list[tuple[int, bytes]]) -> None:
    with pypcapzc.open_offline(path) as capture:
        table = export.reader(capture).read_all()
    assert table.schema == export.schema()
    assert [str(field.type) for field in table.schema] == ["timestamp[ns]", "uint32", "uint32", "binary"]
    assert table.schema.metadata == {b"pypcapzc.data": b"copied"}
    assert _columns(table) == truth
    assert table.column("caplen").to_pylist() == [len(data) for _, data in truth]
    assert table.column("wirelen").to_pylist() == [len(data) for _, data in truth]
    table.validate(full=True)


def test_count_and_wirelen(tmp_path: Path) -> None:
    packets = [Packet(n, bytes(n % 30), n + 100) for n in range(50)]
    savefiles.write_pcap(tmp_path / "in.pcap", packets)
    with pypcapzc.open_offline(tmp_path / "in.pcap") as capture:
        table = export.reader(capture, count=20).read_all()
        rest = export.reader(capture).read_all()
    assert table.column("wirelen").to_pylist() == [packet.wirelen for packet in packets[:20]]
    assert _columns(rest) == [(packet.ts_ns, packet.data) for packet in packets[20:]]


def test_a_copied_batch_keeps_no_block() -> None:
    lease = Ledger([b"first", b"", b"third" * 9])
    block = Block(lease)
    batch = export.record_batch(block)
    block.release()
    assert lease.returned == 1
    assert batch.column("data").to_pylist() == [b"first", b"", b"third" * 9]
    with pytest.raises(BlockReleasedError):
        export.record_batch(block)


LENGTHS = [0, 1, 11, 12, 13, 14, 100]


def test_a_lent_batch_keeps_the_block() -> None:
    packets = [bytes(range(length)) for length in LENGTHS]
    lease = Ledger(packets)
    block = Block(lease)
    batch = export.record_batch(block, lend=True)
    batch.validate(full=True)
    assert batch.schema.metadata == {b"pypcapzc.data": b"lent"}
    assert str(batch.schema.field("data").type) == "binary_view"
    assert batch.column("data").to_pylist() == packets
    # Its bytes are the block's own.
    address = np.frombuffer(block.data, "u1").ctypes.data
    assert batch.column("data").buffers()[2].address == address
    with pytest.raises(BlockInUseError):
        block.release()
    some = batch.slice(5, 2)  # a part of it is enough
    del batch
    block.retire()
    gc.collect()
    assert lease.returned == 0
    assert some.column("data").to_pylist() == packets[5:]
    del some
    gc.collect()
    assert lease.returned == 1


def test_a_lent_batch_of_a_savefile(path: Path, truth: list[tuple[int, bytes]]) -> None:
    with pypcapzc.open_offline(path) as capture:
        batches = [export.record_batch(block, lend=True) for block in capture.blocks(count=500)]
    assert _columns(pa.Table.from_batches(batches)) == truth[:500]  # after the capture was closed


@pytest.mark.parametrize("datalink", list(BY_LINK), ids=datalinks.dlt_name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_header_fields_are_columns(datalink: int, data: st.DataObject) -> None:
    packets = data.draw(st.lists(BY_LINK[datalink], min_size=1, max_size=12))
    columns = [*(decode.FIELDS.names or ()), "src", "dst"]
    rows = export.record_batch(block_of(packets), datalink, columns).select(["data", *columns]).to_pylist()
    for packet, row in zip(packets, rows, strict=True):
        expected = oracle.expected(datalink, packet)
        for side in ("src", "dst"):
            found = row.pop(side)
            assert (found is None) == (not expected["layers"] & decode.ADDRESSES)
            if found is not None:
                (made,) = decode.addresses(decode.fields(block_of([packet]), datalink), side)
                assert found == str(made)
        assert row["data"] == packet
        for name in decode.FIELDS.names or ():
            # What is not there is null, or 0 where another header of the same group is.
            assert (row[name] or 0) == expected.get(name, 0), name
    assert all(row["src_port"] is None for row in rows if not row["layers"] & decode.PORTS)


def test_an_empty_block_and_unknown_names() -> None:
    block = block_of([])
    assert export.record_batch(block, datalinks.DLT_EN10MB).num_rows == 0
    assert export.record_batch(block, lend=True).num_rows == 0
    with pytest.raises(ValueError, match="no header field is called 'port'"):
        export.schema(["port"])
    with pytest.raises(ValueError, match="is not decoded"):
        export.record_batch(block_of([b"x"]), 12345)


# --- Parquet ---------------------------------------------------------------------------------------------


def test_a_parquet_file(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS", 1000)
    target = tmp_path / "x.parquet"
    with (
        pypcapzc.open_offline(path) as capture,
        export.ParquetWriter(str(target), datalink=capture.datalink) as writer,
    ):
        for block in capture.blocks():
            for start in range(0, len(block), 300):
                writer.write(block, start, start + 300)
        assert not target.exists()  # a reader that looks for *.parquet does not find half a file
        assert (tmp_path / "x.parquet.part").exists()
        assert (writer.packets, writer.nbytes) == (COUNT, sum(len(data) for _, data in truth))
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]
    table = pq.read_table(target)
    assert _columns(table) == truth
    assert set(export.COLUMNS) < set(table.column_names)
    assert set(table.column("src").to_pylist()) == {"198.18.0.1"}
    assert pq.ParquetFile(target).metadata.num_row_groups in (3, 4)
    with pytest.raises(DumpError, match="is closed"):
        writer.write(block_of([b"x"]))


_LIMITED = """
import errno, os, resource, signal, sys
import pypcapzc
from pypcapzc import export
from pypcapzc.export import parquet
source, target, limit, reserve = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
parquet.ROWS, parquet._SLACK = 200, 4096
if reserve == "no":
    def refuse(*_): raise OSError(errno.EOPNOTSUPP, "not here")
    os.posix_fallocate = refuse
with pypcapzc.open_offline(source) as capture:
    writer = export.ParquetWriter(target)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for block in capture.blocks():
            for start in range(0, len(block), 100):
                writer.write(block, start, start + 100)
    except pypcapzc.DumpError as error:
        print(error.errno, writer.packets, error, sep="|")
    writer.close()
"""


def _limited(path: Path, target: Path, limit: int, reserve: str) -> tuple[int, str]:
    command = [sys.executable, "-c", _LIMITED, str(path), str(target), str(limit), reserve]
    done = subprocess.run(command, cwd=cli.ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, packets, message = done.stdout.strip().split("|")
    assert number == "27"  # EFBIG
    assert f"; {packets} whole packets were written before" in message
    return int(packets), message


@pytest.mark.parametrize("limit", [1000, 150_000, 200_000])
def test_no_room_for_the_next_row_group(
    path: Path, truth: list[tuple[int, bytes]], tmp_path: Path, limit: int
) -> None:
    """Room is taken before: the file ends with the groups that are in it, and can be read."""
    target = tmp_path / "x.parquet"
    packets, _ = _limited(path, target, limit, "yes")
    assert _columns(pq.read_table(target)) == truth[:packets]
    assert (packets > 0) == (limit > 1000)
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_no_room_where_none_can_be_taken_before(path: Path, tmp_path: Path) -> None:
    """What cannot be read is not left behind, and not counted."""
    packets, _ = _limited(path, tmp_path / "x.parquet", 8192, "no")
    assert packets == 0
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        export.ParquetWriter(str(tmp_path / "nowhere" / "x.parquet"))
    complaint = cli.run("read", path, "--to", f"parquet:{tmp_path}/nowhere/x.parquet").complaint(4)
    assert "nowhere/x.parquet.part: No such file or directory" in complaint


# --- the command line ------------------------------------------------------------------------------------


def test_read_to_parquet(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    done = cli.run("read", path, "--to", f"parquet:{tmp_path}/x.parquet", "--decode", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["captured"], done.json["files"]) == (COUNT, 1)
    table = pq.read_table(tmp_path / "x.parquet")
    assert _columns(table) == truth
    assert set(table.column("dst_port").to_pylist()) == {40002}


def test_read_to_parquet_in_rotation(path: Path, truth: list[tuple[int, bytes]], tmp_path: Path) -> None:
    done = cli.run("read", path, "--to", f"parquet:{tmp_path}/%s.parquet", "-G", "1", "--json")
    assert (done.code, done.err) == (0, "")
    names = sorted(tmp_path.iterdir())
    assert done.json["files"] == len(names) >= 3
    tables = [pq.read_table(name) for name in names]
    assert _columns(pa.concat_tables(tables)) == truth
    for name, table in zip(names, tables, strict=True):
        seconds = table.column("ts").cast(pa.int64()).to_numpy() // 10**9
        assert set(seconds.tolist()) == {int(name.stem)}


@pytest.mark.parametrize(
    ("missing", "extra"), [("pyarrow", r"pypcapzc[arrow]"), ("numpy", "pypcapzc[numpy]")]
)
def test_what_to_install(path: Path, tmp_path: Path, missing: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom pypcapzc.cli import main; main()\n"
    done = cli.run_python(code, "read", str(path), "--to", f"parquet:{tmp_path}/x.parquet")
    assert f"pip install '{extra}'" in done.complaint(1)
    assert list(tmp_path.iterdir()) == []
