"""Choosing packets: against plain Python, packet by packet."""

# ruff: noqa: E402 - what needs numpy is imported once it is known to be there

from __future__ import annotations

import random
import struct
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'pypcapzc[numpy]'")

from pypcapzc import companion, decode, selection
from pypcapzc import datalinks as dlt
from pypcapzc.selection.flows import _grouped
from support.packets import BY_LINK, block_of

Address = IPv4Address | IPv6Address
# Few, so that packets meet members; with those that are all zeros, and that share a half.
FOUR = [IPv4Address(n) for n in (0, 1, 0x0A000001, 0x0A000002, 0xFFFFFFFF)]
SIX = [IPv6Address(n) for n in (0, 1, 1 << 64, (1 << 64) + 1, 0x0A000001, (1 << 128) - 1)]


def packet(src: Address, dst: Address, protocol: int = 17, ports: tuple[int, int] = (1, 2)) -> bytes:
    """A raw IP packet with ports."""
    body = struct.pack(">HHHH", *ports, 8, 0) + bytes(20)
    if src.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, len(body), protocol, 64)
    return head + src.packed + dst.packed + body


def decoded(packets: list[bytes]) -> Any:
    return decode.fields(block_of(packets), dlt.DLT_RAW)


PAIRS = st.one_of(
    st.tuples(st.sampled_from(FOUR), st.sampled_from(FOUR)),
    st.tuples(st.sampled_from(SIX), st.sampled_from(SIX)),
)
PORT = st.sampled_from([0, 1, 53, 443, 65535])
PACKETS = st.tuples(PAIRS, st.sampled_from([6, 17, 132, 1, 47]), st.tuples(PORT, PORT))
MEMBERS = st.sets(st.sampled_from([*FOUR, *SIX]))


@given(st.lists(PAIRS, max_size=30), MEMBERS)
def test_address_sets(pairs: list[tuple[Address, Address]], members: set[Address]) -> None:
    found = decoded([packet(pair[0], pair[1]) for pair in pairs])
    made = selection.AddressSet([str(member) for member in members])
    assert selection.src(made).mask(found).tolist() == [src in members for src, _ in pairs]
    assert selection.dst(members).mask(found).tolist() == [dst in members for _, dst in pairs]
    either = [src in members or dst in members for src, dst in pairs]
    assert selection.host([member.packed for member in members]).mask(found).tolist() == either
    assert selection.host(made).indices(found).tolist() == [n for n, ok in enumerate(either) if ok]


@pytest.mark.parametrize("count", [1, 10, 1000, 100_000])
def test_large_sets(count: int) -> None:
    chooser = random.Random(count)
    four = chooser.sample(range(1 << 32), count)
    six = [chooser.getrandbits(128) for _ in range(count // 10)]
    members: list[Address] = [*map(IPv4Address, four), *map(IPv6Address, six)]
    made = selection.AddressSet(members)
    asked: list[Address] = chooser.choices(members, k=300)
    asked += [IPv4Address(chooser.getrandbits(32)) for _ in range(300)]
    asked += [IPv6Address(chooser.getrandbits(128)) for _ in range(300)]
    known = set(members)
    found = decoded([packet(address, address) for address in asked])
    assert made.holds(found, "src").tolist() == [address in known for address in asked]
    only_four = selection.AddressSet(np.array(four, "u4"))
    wanted = [address in known and address.version == 4 for address in asked]
    assert only_four.holds(found, "dst").tolist() == wanted


@pytest.mark.parametrize("bad", ["192.0.2.256", "example.org", "1:2", b"abc", "10.0.0.0/8"])
def test_what_is_no_address(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"address"):
        selection.AddressSet([bad])


def test_an_array_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="u4"):
        selection.AddressSet(np.zeros(3, "i8"))


@given(st.lists(PACKETS, max_size=30), st.sets(PORT), st.sets(st.sampled_from([1, 6, 17])))
def test_ports_and_combinations(made: list[Any], ports: set[int], protocols: set[int]) -> None:
    found = decoded([packet(pair[0], pair[1], protocol, ends) for pair, protocol, ends in made])
    src, dst = selection.src_port(*ports), selection.dst_port(*ports)
    either, kind = selection.port(*ports), selection.protocol(*protocols)
    for number, (_, protocol, (one, other)) in enumerate(made):
        has = protocol in (6, 17, 132)
        from_one, to_other, right = has and one in ports, has and other in ports, protocol in protocols
        row = found[number : number + 1]
        wanted = {
            src: from_one,
            dst: to_other,
            either: from_one or to_other,
            kind: right,
            src & kind: from_one and right,
            dst | kind: to_other or right,
            ~either: not (from_one or to_other),
            (src | dst) & ~kind: (from_one or to_other) and not right,
        }
        for condition, expected in wanted.items():
            assert condition.mask(row).tolist() == [expected]
            assert condition.mask(found)[number] == expected


def test_ranges_of_ports() -> None:
    found = decoded([packet(FOUR[1], FOUR[2], 17, (n, 9)) for n in (79, 80, 89, 90)])
    assert selection.port(range(80, 90)).mask(found).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="70000"):
        selection.port(70000)


def test_a_condition_of_ones_own() -> None:
    found = decoded([packet(FOUR[1], FOUR[2]), packet(SIX[1], SIX[2])])
    six = selection.where(lambda some: some["ip_version"] == 6)
    assert six.indices(found).tolist() == [1]
    assert selection.has(decode.IPV4 | decode.UDP).indices(found).tolist() == [0]
    with pytest.raises(ValueError, match="one bool each"):
        selection.where(lambda some: [True]).mask(found)


@pytest.mark.parametrize("link", list(BY_LINK), ids=dlt.dlt_name)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_packets_can_be_asked_about(link: int, data: st.DataObject) -> None:
    packets = data.draw(st.lists(st.one_of(BY_LINK[link], st.binary(max_size=60)), max_size=10))
    found = decode.fields(block_of(packets), link)
    addresses = [address for address in decode.addresses(found) if address is not None]
    mask = selection.src(addresses).mask(found)
    assert mask.tolist() == (found["layers"] & decode.ADDRESSES != 0).tolist()
    heads = selection.FlowHeads(1000).mask(found)
    assert heads.tolist() == (found["ip_version"] != 0).tolist()


# --- the first packets of each flow ----------------------------------------------------------------------


def flow_of(made: Any, directed: bool) -> Any:
    (src, dst), protocol, (one, other) = made
    if protocol not in (6, 17, 132):
        one = other = 0
    ends = [(src.packed, one), (dst.packed, other)]
    return src.version, protocol, tuple(ends if directed else sorted(ends))


# So few that most packets meet others of their flow, of either direction.
ENDS = st.sampled_from([*((a, b) for a in FOUR[1:3] for b in FOUR[1:3]), (SIX[0], SIX[3]), (SIX[3], SIX[0])])
CROWDED = st.tuples(ENDS, st.sampled_from([17, 1]), st.sampled_from([(1, 2), (2, 1), (1, 1)]))


@given(st.lists(st.lists(CROWDED, max_size=40), max_size=6), st.integers(1, 4), st.booleans())
@settings(deadline=None)
def test_flow_heads(blocks: list[list[Any]], limit: int, directed: bool) -> None:
    heads = selection.FlowHeads(limit, directed=directed)
    seen: Counter[Any] = Counter()
    for made in blocks:
        wanted = []
        for one in made:
            flow = flow_of(one, directed)
            wanted.append(seen[flow] < limit)
            seen[flow] += 1
        found = decoded([packet(pair[0], pair[1], protocol, ports) for pair, protocol, ports in made])
        assert heads.mask(found).tolist() == wanted
    assert heads.forgotten == 0


HALF = st.sampled_from([1, 2, 3, 1 << 40, (1 << 40) + 1, (1 << 64) - 1, (1 << 64) - 2])


@given(st.lists(st.tuples(HALF, HALF), min_size=1, max_size=60))
def test_equal_keys_are_grouped_in_order(made: list[tuple[int, int]]) -> None:
    keys = np.array(made, [("a", "u8"), ("b", "u8")])
    order = _grouped(keys).tolist()
    assert sorted(order) == list(range(len(made)))
    groups = [[made[n], n] for n in order]
    for (one, n), (other, m) in pairwise(groups):
        assert one != other or n < m
    assert len(list(groupby(made[n] for n in order))) == len(set(made))


def flows(numbers: Any) -> Any:
    return decoded([packet(FOUR[1], FOUR[2], 17, (n, 0)) for n in numbers])


def test_flow_heads_count_what_they_are_asked_about() -> None:
    found = flows([1, 1, 2, 1, 2])
    even = selection.where(lambda some: some["src_port"] % 2 == 0)
    heads = selection.FlowHeads(1)
    assert (even & heads).indices(found).tolist() == [2]
    assert (even | heads).indices(found).tolist() == [0, 2, 4]
    fresh = selection.FlowHeads(1)
    assert (even | fresh).indices(found).tolist() == [0, 2, 4]
    assert fresh.mask(flows([1, 2])).tolist() == [False, True]  # it was never asked about 2
    assert (~heads).mask(flows([1, 2, 3])).tolist() == [True, True, False]


def test_the_flow_that_is_longest_ago_is_forgotten() -> None:
    heads = selection.FlowHeads(1, flows=8)
    assert heads.capacity == 8
    for n in range(8):
        assert heads.mask(flows([n])).tolist() == [True]
    assert heads.mask(flows([0])).tolist() == [False]  # and is now the most recent
    assert heads.forgotten == 0
    assert heads.mask(flows([100])).tolist() == [True]  # in the place of flow 1
    assert heads.forgotten == 1
    assert heads.mask(flows([0, 2, 3, 4, 5, 6, 7, 100])).tolist() == [False] * 8
    assert heads.mask(flows([1])).tolist() == [True]
    assert heads.forgotten == 2


def test_more_new_flows_at_once_than_there_is_room_for() -> None:
    heads = selection.FlowHeads(2, flows=8)
    assert heads.mask(flows([*range(20), *range(20)])).all()
    if companion.current() is None:
        # Counted within the call all the same; then the first eight had room.
        assert heads.mask(flows([*range(20), 3])).tolist() == [False] * 8 + [True] * 12 + [False]
        assert heads.forgotten >= 12
    else:
        # Packet by packet: those from 12 on are known, once each.
        assert heads.forgotten == 32
        again = [*range(12, 20), *range(12, 20), 3, 13, 12]
        assert heads.mask(flows(again)).tolist() == [True] * 8 + [False] * 8 + [True, False, True]
        assert heads.forgotten == 34


def test_memory_of_flow_heads_is_bounded() -> None:
    heads = selection.FlowHeads(3, flows=1000)
    assert heads.capacity == 1024
    for begin in range(0, 20_000, 1000):
        assert heads.mask(flows(range(begin, begin + 1000))).all()
    assert heads.capacity == 1024
    assert heads.forgotten >= 20_000 - 1024
    with pytest.raises(ValueError, match="at least 1"):
        selection.FlowHeads(0)


def test_addresses_are_shown() -> None:
    assert decode.addresses(decoded([packet(SIX[1], SIX[2])]), "dst") == [ip_address("0:0:0:1::")]
