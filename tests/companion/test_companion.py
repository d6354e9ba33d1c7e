"""The companion library: it gives what Python gives, whatever the records claim, and is not needed."""

from __future__ import annotations

import gc
import itertools
import json
import operator
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import savefiles
from pypcapzc import companion, open_offline
from pypcapzc.block import Block
from pypcapzc.errors import BlockInUseError
from pypcapzc.kit import companion as building
from pypcapzc.kit import targets
from pypcapzc.leases import RECORD, Copy

CSRC = Path(companion.__file__).parent / "csrc"
EXERCISES = Path(__file__).parent / "csrc"
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as the kit makes it for this machine."""
    path = tmp_path_factory.mktemp("companion") / companion.FILE
    path.write_bytes(building.build(targets.parse("host")))
    return path


@pytest.fixture
def fast(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[companion.Companion]:
    """This process uses it."""
    monkeypatch.setenv(companion.VARIABLE, str(built))
    companion.forget()
    found = companion.current()
    assert found is not None, companion.reason()
    yield found
    monkeypatch.undo()
    companion.forget()


class _Kept(bytes):
    __slots__ = ()
    __hash__ = object.__hash__


U32 = st.integers(0, 2**32 - 1)
RECORDS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 70), st.integers(0, 70), U32, U32))


def _all(block: Block, *span: Any) -> list[Any]:
    """Everything that the library makes of a block."""
    records = list(block.pairs_with_records(_Kept, *span))
    assert {type(record) for record, _ in records} <= {_Kept}
    return [
        *(block.packets(*span), block.times(*span), list(block.pairs(*span))),
        *(list(block.pairs_in_seconds(*span)), list(block.pairs_in_seconds(*span, fine=True))),
        *(list(block.triples_in_seconds(*span)), list(block.triples_in_whole_seconds(*span))),
        [(bytes(record), data) for record, data in records],
        [(ts_ns, bytes(view)) for ts_ns, view in block],
    ]


def _both(block: Block, monkeypatch: pytest.MonkeyPatch, *span: Any) -> list[list[Any]]:
    """What the library gives, then what Python does."""
    found = []
    for current in (companion.current, lambda: None):
        with monkeypatch.context() as patch:
            patch.setattr(companion, "current", current)
            found.append(_all(block, *span))
    return found


@pytest.mark.kit
@settings(max_examples=300)
@given(records=RECORDS, span=st.tuples(st.integers(-9, 9), st.one_of(st.none(), st.integers(-9, 9))))
def test_the_same_as_python(
    fast_forever: None, records: list[tuple[int, ...]], span: tuple[int, int | None]
) -> None:
    data = bytes(range(64))
    index = b"".join(
        RECORD.pack(ts, min(at, 64), min(n, 64 - min(at, 64)), wire, 0) for ts, at, n, wire, _ in records
    )
    block = Block(Copy(memoryview(data), memoryview(index)))
    with pytest.MonkeyPatch.context() as patch:
        by_c, by_python = _both(block, patch, *span)
    assert by_c == by_python


@pytest.fixture(scope="module")
def fast_forever(built: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(companion.VARIABLE, str(built))
        companion.forget()
        assert companion.current() is not None, companion.reason()
        yield
    companion.forget()


@pytest.mark.kit
@given(records=st.lists(st.tuples(U32, U32), max_size=20))
def test_records_that_lie(fast_forever: None, records: list[tuple[int, int]]) -> None:
    data = bytes(range(100))
    index = b"".join(RECORD.pack(0, offset, caplen, 0, 0) for offset, caplen in records)
    block = Block(Copy(memoryview(data), memoryview(index)))
    assert block.packets() == [data[offset : offset + caplen] for offset, caplen in records]


@pytest.mark.kit
@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_savefiles_are_read_alike(
    fast: companion.Companion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    path = tmp_path / "saved"
    savefiles.generate(path, 20_000, (60, 1500))
    found = []
    for current in (companion.current, lambda: None):
        monkeypatch.setattr(companion, "current", current)
        with open_offline(path, mode=mode) as capture:
            packets = list(capture)
        with open_offline(path, mode=mode) as capture:
            blocks = [(ts_ns, bytes(view)) for block in capture.blocks() for ts_ns, view in block]
        with open_offline(path, mode=mode) as capture:
            wirelens = [header.wirelen for block in capture.blocks() for header in _headers(block)]
        assert packets == blocks
        found.append((packets, wirelens))
    assert found[0] == found[1]


BEGAN = 1_790_000_000_000_000_000


def _block(sizes: list[int]) -> Block:
    """Packets of these sizes, whose bytes tell the number of each."""
    data = b"".join(bytes([i % 251]) * size for i, size in enumerate(sizes))
    starts = [0, *itertools.accumulate(sizes)]
    index = b"".join(RECORD.pack(BEGAN + i, starts[i], size, size, 0) for i, size in enumerate(sizes))
    return Block(Copy(memoryview(data), memoryview(index)))


SIZES = st.lists(st.one_of(st.integers(0, 3), st.integers(500, 1600), st.integers(0, 10_000)), max_size=60)
TRIPLES = ("triples_in_seconds", "triples_in_whole_seconds")
MAKERS = ("pairs", "pairs_in_seconds", *TRIPLES, "records", "packets")


@pytest.mark.kit
@settings(max_examples=300)
@given(sizes=SIZES, keep=st.sets(st.integers(0, 59)), maker=st.sampled_from(MAKERS))
def test_what_is_kept_does_not_change(
    fast_forever: None, sizes: list[int], keep: set[int], maker: str
) -> None:
    """The library fills objects anew that a program has let go of, and only those."""
    block = _block(sizes)
    found: Any = block.pairs_with_records(_Kept) if maker == "records" else getattr(block, maker)()
    kept, hashes = {}, {}
    for i, each in enumerate(found):
        packet = each if maker == "packets" else each[-1]
        assert hash(packet) == hash(bytes(bytearray(packet)))
        if i in keep:
            kept[i] = each
            hashes[packet] = i
        del packet, each
    for i, each in kept.items():
        packet = each if maker == "packets" else each[-1]
        assert packet == bytes([i % 251]) * sizes[i]
        assert sys.getsizeof(packet) == sys.getsizeof(b"") + sizes[i]
        assert sizes[hashes[packet]] == sizes[i]
        if maker == "records":
            assert RECORD.unpack(each[0])[0] == BEGAN + i
        elif maker == "pairs":
            assert (each[0], str(each[0])) == (BEGAN + i, f"179{i:016}")
        elif maker == "pairs_in_seconds":
            assert each[0] == 1_790_000_000
        elif maker in TRIPLES:
            assert each[:2] == (sizes[i], 1_790_000_000)


@pytest.mark.kit
def test_a_view_of_a_packet_keeps_it(fast: companion.Companion) -> None:
    views = [memoryview(data) for _, data in _block([800] * 50).pairs()]
    assert [bytes(view) for view in views] == [bytes([i]) * 800 for i in range(50)]


@pytest.mark.kit
@pytest.mark.parametrize("how", ["pairs", "pairs_in_seconds", *TRIPLES, "__iter__"])
def test_an_iterator_keeps_its_block_until_the_end(fast: companion.Companion, how: str) -> None:
    block = _block([700] * 3)
    pairs = getattr(block, how)()
    assert operator.length_hint(pairs) == 3
    next(pairs)
    assert operator.length_hint(pairs) == 2
    with pytest.raises(BlockInUseError):
        block.release()
    assert len(list(pairs)) == 2
    assert operator.length_hint(pairs) == 0
    assert list(pairs) == []
    block.release()
    again = _block([700] * 3)
    pairs = getattr(again, how)()
    del pairs
    again.release()


@pytest.mark.kit
def test_no_reference_is_lost(fast: companion.Companion) -> None:
    block, everywhere = _block([60, 600] * 100), (None, _Kept, type(_block([60]).pairs()))
    _all(block)
    gc.collect()
    before = [sys.getrefcount(o) for o in everywhere]
    for _ in range(20):
        assert len(_all(block)) == 9
    gc.collect()
    after = [sys.getrefcount(o) for o in everywhere]
    assert all(abs(a - b) < 15 for a, b in zip(after, before, strict=True)), (before, after)


@pytest.mark.kit
def test_its_type_makes_only_empty_ones(fast: companion.Companion) -> None:
    kind: Any = type(_block([60]).pairs())
    assert list(kind()) == []
    assert operator.length_hint(kind()) == 0


@pytest.mark.kit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_child_finds_the_end(fast: companion.Companion) -> None:
    pairs = _block([600] * 5).pairs()
    assert next(pairs) == (BEGAN, bytes(600))
    child = os.fork()
    if child == 0:
        os._exit(len(list(pairs)) + operator.length_hint(pairs))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(pairs)) == 4


def _headers(block: Block) -> Iterator[Any]:
    for record in RECORD.iter_unpack(block.index):
        yield type("Header", (), dict(zip(("ts", "at", "caplen", "wirelen", "flags"), record, strict=True)))


@pytest.mark.kit
def test_a_batch_outlives_its_source(fast: companion.Companion, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    savefiles.generate(path, 5000, 64)
    with open_offline(path, mode="buffered") as capture:
        held = list(iter(capture.next_block, None))
        views = [block[0] for block in held]
        wanted = [bytes(view) for view in views]
    del held
    assert [bytes(view) for view in views] == wanted


@pytest.mark.kit
@pytest.mark.parametrize("name", ["linux-musl-amd64", "freebsd-arm64"])
def test_it_compiles_for_other_systems(name: str) -> None:
    assert building.build(targets.parse(name))[:4] == b"\x7fELF"


@pytest.mark.cc
@pytest.mark.parametrize("name", ["exercise", "exercise_iterate", "exercise_profiles"])
def test_under_sanitizers(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    sources = [str(EXERCISES / f"{name}.c"), *map(str, sorted(CSRC.glob("*.c")))]
    command = ["cc", *building.WARNINGS, *SANITIZERS, "-I", str(CSRC), "-o", str(program), *sources]
    subprocess.run(command, check=True)
    done = subprocess.run([str(program), "7", "3000"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3000 rounds\n"), done.stderr


ASK = "from pypcapzc import companion; print(companion.current() is not None, companion.reason())"


def _asked(**variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class TestWithout:
    def test_none_was_built(self, tmp_path: Path) -> None:
        said = _asked(PYPCAPZC_HOME=str(tmp_path))
        assert said == "False it has not been built; `pypcapzc build` makes one\n"

    def test_none_is_wanted(self) -> None:
        assert _asked(PYPCAPZC_COMPANION="none") == "False PYPCAPZC_COMPANION is none\n"

    def test_it_is_no_library(self, tmp_path: Path) -> None:
        (tmp_path / "x.so").write_text("no library")
        said = _asked(PYPCAPZC_COMPANION=str(tmp_path / "x.so"))
        assert said.startswith("False ")
        assert "cannot be used" in said
        assert "`pypcapzc build` makes a new one" in said

    @pytest.mark.cc
    def test_it_is_of_another_version(self, tmp_path: Path) -> None:
        (tmp_path / "old.c").write_text("int pczc_abi(void) { return 0; }\n")
        subprocess.run(["cc", "-shared", "-o", "old.so", "old.c"], cwd=tmp_path, check=True)
        assert "cannot be used" in _asked(PYPCAPZC_COMPANION=str(tmp_path / "old.so"))


@pytest.mark.kit
def test_it_is_found_where_it_was_built(built: Path, tmp_path: Path) -> None:
    where = tmp_path / "data" / "lib" / "host"
    where.mkdir(parents=True)
    shutil.copyfile(built, where / companion.FILE)
    assert _asked(PYPCAPZC_HOME=str(tmp_path)) == f"True {where / companion.FILE}\n"


@pytest.mark.kit
def test_doctor_tells_of_it(built: Path, tmp_path: Path) -> None:
    pytest.importorskip("click")
    for value, path in ((str(built), str(built)), ("none", None)):
        done = subprocess.run(
            [sys.executable, "-m", "pypcapzc", "doctor", "--json"],
            env={**os.environ, "PYPCAPZC_HOME": str(tmp_path), companion.VARIABLE: value},
            capture_output=True,
            text=True,
            check=False,
        )
        said = json.loads(done.stdout)["companion"]
        assert said["path"] == path
        assert (said["reason"] is None) == (path is not None)
