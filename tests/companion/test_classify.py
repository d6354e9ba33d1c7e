"""Decoding and choosing by the companion library: what numpy gives, and dpkt, whatever the packets are."""

# ruff: noqa: E402 - what needs numpy is imported once it is known to be there

from __future__ import annotations

import functools
import operator
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'pypcapzc[numpy]'")

from pypcapzc import companion, decode, selection
from pypcapzc import datalinks as dlt
from pypcapzc.block import Block
from pypcapzc.kit import companion as building
from pypcapzc.kit import targets
from pypcapzc.leases import RECORD, Copy
from support import oracle
from support.packets import BY_LINK, block_of, mutated

CSRC = Path(companion.__file__).parent / "csrc"
EXERCISE = Path(__file__).parent / "csrc" / "exercise_classify.c"

pytestmark = pytest.mark.kit


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[companion.Companion]:
    """As the kit makes it for this machine; this process uses it."""
    path = tmp_path_factory.mktemp("companion") / companion.FILE
    path.write_bytes(building.build(targets.parse("host")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(companion.VARIABLE, str(path))
        companion.forget()
        found = companion.current()
        assert found is not None, companion.reason()
        yield found
    companion.forget()


@contextmanager
def only_numpy() -> Iterator[None]:
    """As if there were no companion library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(companion, "current", lambda: None)
        yield


def both(ask: Callable[[], Any]) -> tuple[Any, Any]:
    """What the library gives, then what numpy does."""
    by_c = ask()
    with only_numpy():
        return by_c, ask()


def packets_of(link: int) -> st.SearchStrategy[list[bytes]]:
    one = st.one_of(BY_LINK[link], mutated(BY_LINK[link]), st.binary(max_size=100))
    return st.lists(one, max_size=12)


LINK_AND_PACKETS = st.sampled_from(list(BY_LINK)).flatmap(
    lambda link: st.tuples(st.just(link), packets_of(link))
)
SNAPLENS = st.sampled_from([1 << 20] * 6 + [0, 1, 13, 14, 20, 34, 38, 54, 74])


@given(LINK_AND_PACKETS, SNAPLENS)
@settings(max_examples=250, deadline=None)
def test_the_same_fields_as_numpy(made: tuple[int, list[bytes]], snaplen: int) -> None:
    link, packets = made
    block = block_of(packets, snaplen=snaplen, gap=b"\x45\x00\x81\x00\xff")
    by_c, by_numpy = both(lambda: decode.fields(block, link))
    assert by_c.dtype == by_numpy.dtype == decode.FIELDS
    assert by_c.tolist() == by_numpy.tolist()


@given(
    st.sampled_from(list(BY_LINK)).flatmap(lambda n: st.tuples(st.just(n), st.lists(BY_LINK[n], max_size=8)))
)
@settings(max_examples=100, deadline=None)
def test_the_same_fields_as_dpkt(made: tuple[int, list[bytes]]) -> None:
    link, packets = made
    found = decode.fields(block_of(packets, gap=b"\xa5" * 3), link)
    for packet, row in zip(packets, found.tolist(), strict=True):
        named = zip(found.dtype.names or (), row, strict=True)
        assert {name: value for name, value in named if value} == oracle.expected(link, packet)


def test_every_protocol_number_as_numpy() -> None:
    """As what IPv4 and IPv6 carry, and as an extension header, with UDP behind it."""
    four, six = bytes.fromhex("4500003000000000400000000102030405060708"), bytes.fromhex("6000000000300040")
    body = bytes.fromhex("1101000812345678") + bytes(8) + bytes.fromhex("0035003500200000") + bytes(24)
    packets = [four[:9] + bytes([n]) + four[10:] + body for n in range(256)]
    packets += [six[:6] + bytes([n]) + six[7:] + bytes(range(32)) + body for n in range(256)]
    by_c, by_numpy = both(lambda: decode.fields(block_of(packets), dlt.DLT_RAW))
    assert by_c.tolist() == by_numpy.tolist()
    assert len(set(by_c["layers"].tolist())) > 8


# --- conditions: a recipe is made into one twice, for the library and for numpy -----------------------------

Recipe = Callable[[], selection.Condition]
# Few, so that packets meet members; the packets' addresses are any, so some are taken from those drawn below.
PORTS = st.sets(st.integers(0, 65535), max_size=3)


def _terms(addresses: list[Any], ports: list[int]) -> st.SearchStrategy[Recipe]:
    some = st.sets(st.sampled_from(addresses), max_size=4) if addresses else st.just(set())
    near = st.sets(st.sampled_from(ports), max_size=3) if ports else PORTS
    bits = st.sampled_from([decode.IPV4, decode.IPV6, decode.TCP | decode.IPV4, decode.FRAGMENT, decode.VLAN])
    sides = st.sampled_from([selection.src, selection.dst, selection.host])
    ends = st.sampled_from([selection.src_port, selection.dst_port, selection.port])
    odd = selection.where(lambda found: found["payload_length"] % 2 == 1)
    return st.one_of(
        st.builds(lambda side, members: lambda: side(sorted(members, key=str)), sides, some),
        st.builds(lambda end, members: lambda: end(*sorted(members)), ends, near),
        st.builds(lambda layers: lambda: selection.has(layers), bits),
        st.builds(lambda n: lambda: selection.protocol(*n), st.sets(st.sampled_from([1, 6, 17, 58, 132]))),
        st.builds(
            lambda n, directed: lambda: selection.FlowHeads(n, directed=directed),
            st.integers(1, 3),
            st.booleans(),
        ),
        st.just(lambda: odd),
    )


def _combined(terms: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    def grow(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
        pairs = st.tuples(st.sampled_from([operator.and_, operator.or_]), inner, inner)
        return st.one_of(
            pairs.map(lambda made: lambda: made[0](made[1](), made[2]())),
            inner.map(lambda made: lambda: ~made()),
        )

    return st.recursive(terms, grow, max_leaves=6)


@given(LINK_AND_PACKETS, st.data())
@settings(max_examples=150, deadline=None)
def test_the_same_choice_as_numpy(made: tuple[int, list[bytes]], data: st.DataObject) -> None:
    link, packets = made
    # More than one group of 64, and flows that go on.
    blocks = [block_of(packets * data.draw(st.sampled_from([1, 2, 12])), gap=b"\x55" * 3) for _ in range(2)]
    found = [decode.fields(block, link) for block in blocks]
    rows = found[0]
    addresses = [a for side in ("src", "dst") for a in decode.addresses(rows, side) if a is not None]
    ports = sorted({*rows["src_port"].tolist(), *rows["dst_port"].tolist()})
    recipe = data.draw(_combined(_terms(addresses, ports)))

    def ask(way: Callable[[selection.Condition, int], Any]) -> list[list[int]]:
        condition = recipe()
        return [way(condition, number).tolist() for number in range(len(blocks))]

    with only_numpy():
        wanted = ask(lambda condition, n: condition.indices(found[n]))
    assert ask(lambda condition, n: condition.choose(blocks[n], link)) == wanted
    assert ask(lambda condition, n: condition.indices(found[n])) == wanted
    assert ask(lambda condition, n: np.flatnonzero(condition.mask(found[n]))) == wanted


def _ethernet(number: int) -> bytes:
    """A UDP packet of flow ``number``."""
    head = (
        bytes(12)
        + b"\x08\x00"
        + bytes.fromhex("4500001c000000004011000001020304")
        + number.to_bytes(4, "big")
    )
    return head + bytes.fromhex("0035003500080000")


@given(st.lists(st.integers(0, 12), max_size=80), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_the_same_flows_are_forgotten(numbers: list[int], limit: int) -> None:
    """Packet by packet, since numpy knows what was asked about least recently by calls."""

    def ask() -> tuple[list[bool], int]:
        heads = selection.FlowHeads(limit, flows=8)
        chosen = [bool(heads.choose(block_of([_ethernet(number)])).size) for number in numbers]
        return chosen, heads.forgotten

    by_c, by_numpy = both(ask)
    assert by_c == by_numpy


def test_a_flow_table_that_is_full() -> None:
    """Rows of which the ways are all taken: the least recently asked about is the one that goes."""
    heads = selection.FlowHeads(1, flows=8)
    assert heads.choose(block_of([_ethernet(n) for n in range(8)])).size == 8
    assert heads.choose(block_of([_ethernet(n) for n in (0, 9, 0, 2, 1)])).tolist() == [1, 4]
    assert heads.forgotten == 2


def test_the_same_heads_in_two_places_count_for_both() -> None:
    def ask() -> list[int]:
        heads, even = selection.FlowHeads(2), selection.where(lambda found: found["dst_lo"] % 2 == 0)
        wanted = (even & heads) | (selection.protocol(17) & heads)
        chosen: list[int] = wanted.choose(block_of([_ethernet(n % 5) for n in range(200)])).tolist()
        return chosen

    by_c, by_numpy = both(ask)
    assert by_c == by_numpy


def test_expressions_of_any_depth() -> None:
    ports = [selection.port(n) for n in range(300)]
    block = block_of([_ethernet(1), bytes(60)])
    for depth in (90, 300):
        deep = functools.reduce(operator.or_, ports[:depth])
        assert deep.choose(block).tolist() == [0]
        assert functools.reduce(lambda one, other: other | one, ports[:depth]).choose(block).tolist() == [0]


def test_rows_that_are_not_as_they_were_decoded() -> None:
    found = decode.fields(block_of([_ethernet(n) for n in range(9)]))
    wanted = selection.port(53) & selection.dst([(3).to_bytes(4, "big"), (4).to_bytes(4, "big")])
    some = found[["layers", "ip_version", "protocol", "dst_lo", "dst_port", "src_port"]]
    for rows in (found, found[::-1][::-1], found.copy(), some):
        assert wanted.indices(rows).tolist() == [3, 4]
    assert wanted.indices(found[1::2]).tolist() == [1]
    assert wanted.indices(found[:0]).tolist() == []


@given(packets_of(dlt.DLT_EN10MB), SNAPLENS, st.data())
@settings(max_examples=100, deadline=None)
def test_the_same_packets_are_taken(packets: list[bytes], snaplen: int, data: st.DataObject) -> None:
    block = block_of(packets, snaplen=snaplen, gap=b"\x66" * 3)
    places = data.draw(st.lists(st.integers(0, len(packets) - 1), max_size=20)) if packets else []
    size = data.draw(st.integers(0, 300))

    def ask() -> list[Any]:
        taken, buffer = selection.take(block, places), bytearray(size)
        copied = selection.copy_into(block, places, buffer)
        headers = [bytes(taken.index), copied.tolist()]
        return [
            bytes(taken.data),
            *headers,
            bytes(buffer),
            *(list(take(block, places)) for take in (selection.packets, selection.each)),
        ]

    by_c, by_numpy = both(ask)
    assert by_c == by_numpy


U32 = st.integers(0, 2**32 - 1)


@given(
    st.lists(st.tuples(st.one_of(st.integers(0, 90), U32), st.one_of(st.integers(0, 90), U32)), max_size=9)
)
def test_records_that_lie_are_cut_to_the_block(spans: list[tuple[int, int]]) -> None:
    memory = _ethernet(7) * 2
    index = b"".join(RECORD.pack(0, offset, caplen, 42, 0) for offset, caplen in spans)
    block = Block(Copy(memoryview(memory), memoryview(index)))
    honest = block_of([memory[offset : min(offset + caplen, len(memory))] for offset, caplen in spans])
    assert decode.fields(block).tolist() == decode.fields(honest).tolist()
    wanted = selection.host([(7).to_bytes(4, "big")]) | selection.FlowHeads(2)
    assert wanted.choose(block).tolist() == wanted.indices(decode.fields(honest)).tolist()


def test_sets_are_entered_alike() -> None:
    """Tables that the library filled and those of numpy hold the same, with doubles and zeros."""
    numbers = np.random.default_rng(6).integers(0, 1 << 32, 3000, "u4")
    six = [bytes(8) + int(n).to_bytes(8, "big") for n in numbers[:500]] + [bytes(16)]
    members = [*(int(n).to_bytes(4, "big") for n in [*numbers, *numbers[:10], 0]), *six, *six[:3]]
    made = selection.AddressSet(members)
    with only_numpy():
        other = selection.AddressSet(members)
    rows = np.zeros(8000, decode.FIELDS)
    rows["layers"], rows["ip_version"] = decode.ADDRESSES, 4
    rows["src_lo"][:3000], rows["src_lo"][3000:6000] = numbers, numbers ^ 1
    rows["ip_version"][6000:], rows["src_lo"][6000:6500] = 6, numbers[:500]
    rows["src_lo"][6500:7500] = numbers[:1000] ^ 1
    found = [
        *(each.holds(rows, "src").tolist() for each in (made, other)),
        *(selection.src(each).mask(rows).tolist() for each in (made, other)),
    ]
    known = set(members)
    wanted = [
        int(row["src_lo"]).to_bytes(4 if row["ip_version"] == 4 else 16, "big") in known for row in rows
    ]
    assert found == [wanted] * 4


# --- under sanitizers ------------------------------------------------------------------------------------


@pytest.mark.cc
def test_nothing_is_read_or_written_outside(tmp_path: Path) -> None:
    program = tmp_path / "exercise"
    sanitizers = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = [EXERCISE, *(CSRC / f"{name}.c" for name in ("decode", "classify", "gather"))]
    command = ["cc", *building.WARNINGS, *sanitizers, "-I", str(CSRC), "-o", str(program), *map(str, sources)]
    subprocess.run(command, check=True, timeout=120)
    for seed in range(3):
        done = subprocess.run(
            [program, str(seed), "1500"], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
