"""Live capture: every packet is accounted for, byte for byte, and every wait ends."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

import pypcapzc
from lab import frames, traffic
from lab.netns import Lab
from pypcapzc.errors import FilterError, PcapError
from support import simulated
from support.captures import accepted, until_received
from support.captures import numbers as _numbers
from support.captures import opened as _open

pytestmark = pytest.mark.netns

MIB = 1 << 20


def _drain(capture: pypcapzc.Capture, quiet: float = 0.3) -> list[tuple[int, bytes, int]]:
    """(ts_ns, bytes, wirelen) of all that comes until nothing does for ``quiet`` seconds."""
    found: list[tuple[int, bytes, int]] = []
    while (block := capture.next_block(quiet)) is not None:
        for (ts_ns, view), header in zip(block, block.headers, strict=True):
            found.append((ts_ns, bytes(view), int(header[3])))
    return found


# --- exact accounts --------------------------------------------------------------------------------------

MILLION = 1_000_000


def test_a_million_packets_by_blocks_while_they_are_sent(net: Lab) -> None:
    numpy = pytest.importorskip("numpy")
    captured: list[Any] = []
    with _open(net, buffer_size=256 * MIB) as capture:
        with net.inside():
            sender = traffic.start("--device", net.send_device, "--count", str(MILLION))
        while True:
            block = capture.next_block(0.5)
            if block is None:
                if sender.poll() is not None:
                    break
                continue
            with block:
                headers: Any = block.headers
                assert not (headers["caplen"] != 64).any()
                captured.append(
                    frames.check_many(block.data, headers["offset"], headers["caplen"], headers["wirelen"])
                )
        sent = traffic.finish(sender)
        stats = capture.stats()
    numbers = numpy.concatenate(captured)
    assert sent.packets == MILLION
    assert (numpy.diff(numbers.astype(numpy.int64)) > 0).all()  # in order, none twice
    assert len(numbers) + stats.dropped == stats.received == sent.packets
    assert len(numbers) > MILLION // 10


def test_a_million_packets_by_iteration_while_they_are_sent(net: Lab) -> None:
    captured = [0] * MILLION
    times = [0] * MILLION
    count = 0
    with _open(net, buffer_size=256 * MIB) as capture:
        with net.inside():
            sender = traffic.start("--device", net.send_device, "--count", str(MILLION))

        def watch() -> None:
            sender.wait()
            time.sleep(0.5)
            capture.breakloop()

        watcher = threading.Thread(target=watch)
        watcher.start()
        expected, sequence_of = frames.expected, frames.sequence_of
        patterns = [expected(n, 64) for n in range(frames.PERIOD)]
        for ts_ns, data in capture:
            number = sequence_of(data)
            pattern = patterns[number % frames.PERIOD]
            if data[:42] != pattern[:42] or data[50:] != pattern[50:]:
                frames.check(data)
            captured[count], times[count] = number, ts_ns
            count += 1
        watcher.join()
        count += len(_drain(capture))  # what a slow machine had left to read at the break
        sent = traffic.finish(sender)
        stats = capture.stats()
    seen = min(count, MILLION)
    numbers = (
        [n for n in captured[:seen] if n] if captured[0] else captured[:1] + [n for n in captured[1:] if n]
    )
    assert all(a < b for a, b in itertools.pairwise(numbers))
    assert all(a <= b for a, b in itertools.pairwise(times[: len(numbers)]))
    assert count + stats.dropped == stats.received == sent.packets == MILLION


def test_a_small_ring_drops_and_says_how_many(net: Lab, sender: traffic.Sender) -> None:
    with _open(net, buffer_size=MIB) as capture:
        sender.send(100_000)
        until_received(capture, 100_000)
        first = _numbers(capture)
        stats = capture.stats()
        assert stats.dropped > 0
        assert len(first) + stats.dropped == stats.received == 100_000
        assert first == list(range(len(first)))
        sender.send(500)
        assert _numbers(capture) == list(range(100_000, 100_500))
        after = capture.stats()
    assert (after.received, after.dropped) == (100_500, stats.dropped)
    assert "found no room" in after.meanings.dropped


@pytest.mark.parametrize("size", [(60, 1500), 1514, frames.MIN_SIZE])
def test_sizes(net: Lab, size: frames.Size) -> None:
    with (
        net.inside(),
        traffic.Sender(net.send_device, size, seed=5) as sender,
        _open(net, buffer_size=16 * MIB) as capture,
    ):
        found = []
        for _ in range(5):
            sender.send(600)  # fits into BPF's buffers, which have a limit
            found += _drain(capture, 0.1)
    sizes = frames.size_table(size, 5)
    assert [frames.check(data) for _, data, _ in found] == list(range(3000))
    assert [wirelen for _, _, wirelen in found] == [sizes[n % frames.PERIOD] for n in range(3000)]
    assert [len(data) for _, data, _ in found] == [sizes[n % frames.PERIOD] for n in range(3000)]


@pytest.mark.parametrize(("expression", "snaplen"), [(None, 20), ("udp", 60)])
def test_snaplen_cuts_and_wirelen_tells(net: Lab, expression: str | None, snaplen: int) -> None:
    """With a filter the snaplen has to cover what it looks at: libpcap runs it on cut packets too."""
    with (
        net.inside(),
        traffic.Sender(net.send_device, (60, 1500)) as sender,
        _open(net, snaplen=snaplen, filter=expression) as capture,
    ):
        assert capture.snapshot == snaplen
        sender.send(50)
        block = capture.next_block(2)
        assert block is not None
        headers: Any = block.headers
        sizes = frames.size_table((60, 1500))[:50]
        assert headers["caplen"].tolist() == [snaplen] * 50
        assert headers["wirelen"].tolist() == sizes
        assert [bytes(view) for _, view in block] == [
            frames.expected(n, size)[:snaplen] for n, size in enumerate(sizes)
        ]


def test_nanosecond_stamps(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        before = time.time_ns()
        for _ in range(20):
            sender.send(5)
            time.sleep(0.001)
        after = time.time_ns()
        stamps = [ts_ns for ts_ns, _, _ in _drain(capture)]
    assert len(stamps) == 100
    assert stamps == sorted(stamps)
    assert before - 50_000_000 <= stamps[0] <= stamps[-1] <= after + 50_000_000
    assert any(stamp % 1000 for stamp in stamps)
    with _open(net, tstamp_precision="micro") as capture:
        before = time.time_ns()
        sender.send(100)
        stamps = [ts_ns for ts_ns, _, _ in _drain(capture)]
    assert len(stamps) == 100
    assert not any(stamp % 1000 for stamp in stamps)
    assert abs(stamps[0] - before) < 1_000_000_000


def test_a_count_is_exact_and_loses_nothing(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(5000)
        for wanted, first in ((1, 0), (7, 1), (0, 8), (3000, 8), (1000, 3008)):
            numbers = [frames.check(view) for block in capture.blocks(2, count=wanted) for _, view in block]
            assert numbers == list(range(first, first + wanted))
        assert _numbers(capture) == list(range(4008, 5000))
        with pytest.raises(ValueError, match="-1"):
            capture.blocks(count=-1)


def test_iteration_goes_on_where_it_was_left(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        sender.send(2000)
        numbers: list[int] = []
        for take in (1, 700, 1299):
            numbers += [frames.check(data) for _, data in itertools.islice(capture, take)]
        assert numbers == list(range(2000))


# --- filters ---------------------------------------------------------------------------------------------


def test_filters(net: Lab, sender: traffic.Sender) -> None:
    with _open(net, filter="tcp") as capture:
        sender.send(10)
        assert _numbers(capture, 0.1) == []
        capture.set_filter("udp and dst port 40002")
        sender.send(10)
        assert _numbers(capture, 0.1) == list(range(10, 20))
        capture.set_filter("len > 64")
        sender.send(10)
        assert _numbers(capture, 0.1) == []
        capture.set_filter("")
        sender.send(10)
        assert _numbers(capture, 0.1) == list(range(30, 40))


def test_set_filter_while_packets_wait(net: Lab, sender: traffic.Sender) -> None:
    """Packets that are in the ring already are filtered by the new filter."""
    with _open(net) as capture:
        sender.send(100)
        capture.set_filter("udp[14:2] >= 50 and udp[8:4] = 0")  # the low half of the sequence number
        sender.send(100)
        found = _numbers(capture)
    assert found == list(range(50, 200))


def test_set_filter_from_another_thread_under_traffic(net: Lab) -> None:
    with _open(net, buffer_size=64 * MIB) as capture:
        with net.inside():
            process = traffic.start("--device", net.send_device, "--rate", "50000", "--duration", "1")
        thread_errors: list[BaseException] = []

        def switch() -> None:
            try:
                for n in range(100):
                    capture.set_filter(("tcp", "udp", "")[n % 3])
                capture.set_filter("udp")
            except BaseException as error:
                thread_errors.append(error)

        thread = threading.Thread(target=switch)
        thread.start()
        found: list[int] = []
        while process.poll() is None or thread.is_alive():
            found += _numbers(capture, 0.05)
        thread.join()
        traffic.finish(process)
    assert not thread_errors
    assert all(a < b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("nonsense here", "syntax error"),
        ("host", "syntax error"),
        ("udp port 99999", "illegal port number 99999 > 65535"),
        ("(udp", "syntax error"),
        ("ip\0udp", "NUL"),
        ("wlan type mgt", "802.11 link-layer types supported only on 802.11"),
    ],
)
def test_a_bad_filter(net: Lab, sender: traffic.Sender, expression: str, text: str) -> None:
    with pytest.raises(FilterError, match=text) as caught:
        _open(net, filter=expression)
    assert isinstance(caught.value, ValueError)
    with _open(net, filter="udp") as capture:
        with pytest.raises(FilterError, match=text):
            capture.set_filter(expression)
        sender.send(3)  # the one before still holds
        assert _numbers(capture, 0.1) == [0, 1, 2]


# --- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_modes(net: Lab, sender: traffic.Sender, mode: Any, immediate: bool, patched: bool) -> None:
    with _open(net, mode=mode, immediate=immediate, buffer_size=4 * MIB) as capture:
        sender.send(60)  # TPACKET_V2 keeps room for 64 frames of the largest size here
        assert _numbers(capture) == list(range(60))
        found = capture.zero_copy
        lent = patched and mode == "auto" and simulated.SHARING
        assert found.lent is lent
        if simulated.ACTIVE:
            shared = lent and simulated.SHARING
            assert found.mechanism == ("bpf_zbuf" if shared else "none")
            assert found.ring_bytes == (4 * MIB if shared else None)
        else:
            shared = lent
            assert found.mechanism == ("tpacket_v2" if immediate and not lent else "tpacket_v3")
            assert found.ring_bytes is not None
            assert 2 * MIB <= found.ring_bytes <= 8 * MIB  # libpcap rounds in its own ways
        assert found.shared is shared
        why = "not patched" if not patched else "sysctl net.bpf.zerocopy_enable=1"
        if mode == "buffered" or shared:
            why = "buffered" if mode == "buffered" else "lent from the kernel's own ring"
        assert why in found.reason
        assert (capture.name, capture.live, capture.closed) == (net.capture_device, True, False)


def test_directions(net: Lab, sender: traffic.Sender) -> None:
    other = bytes(12) + b"\x88\xb5" + bytes(46)
    with _open(net) as capture, net.inside():
        for direction, wanted in (("in", [1]), ("out", [0]), ("inout", [0, 1])):
            capture.set_direction(direction)  # type: ignore[arg-type]
            traffic.send_frames(net.capture_device, [other])  # a socket does not see what it sends itself
            sender.send(1)
            found = [data for _, data, _ in _drain(capture, 0.1)]
            assert sorted(data != other for data in found) == wanted, direction
        with pytest.raises(ValueError, match="sideways"):
            capture.set_direction("sideways")  # type: ignore[arg-type]


def test_injected_packets_arrive(net: Lab) -> None:
    packets = [frames.expected(n, 60 + n) for n in range(200)]
    with net.inside(), pypcapzc.open_live(net.send_device, timeout_ms=10) as peer, _open(net) as capture:
        kinds = itertools.cycle((bytes, bytearray, memoryview))
        assert [capture.inject(kind(p)) for kind, p in zip(kinds, packets, strict=False)] == [
            len(packet) for packet in packets
        ]
        assert [data for _, data, _ in _drain(peer)] == packets
        for wrong in (b"", bytes(100_000)):
            with pytest.raises(PcapError, match=net.capture_device):
                capture.inject(wrong)


def test_datalinks(net: Lab, sender: traffic.Sender) -> None:
    with _open(net) as capture:
        assert (capture.datalink, capture.datalink_name) == (1, "EN10MB")
        assert 1 in capture.datalinks()
        for name in ("DOCSIS", "DLT_DOCSIS", 143):
            capture.set_datalink(name)
            assert (capture.datalink, capture.datalink_name) == (143, "DOCSIS")
            capture.set_datalink(1)
        capture.set_datalink("EN10MB")
        with pytest.raises(ValueError, match="nonsense"):
            capture.set_datalink("nonsense")
        with pytest.raises(PcapError):
            capture.set_datalink(105)
        sender.send(2)
        assert _numbers(capture, 0.1) == [0, 1]


def test_a_dump_of_a_live_capture_is_what_came(net: Lab, tmp_path: Any) -> None:
    path = tmp_path / "live.pcap"
    with (
        net.inside(),
        traffic.Sender(net.send_device, (60, 1500)) as sender,
        _open(net, buffer_size=4 * MIB) as capture,
    ):
        taken: list[tuple[int, bytes]] = []
        with capture.dump_open(path) as dumper:
            for _ in range(2):
                sender.send(1000)
                for block in capture.blocks(0.25):
                    dumper.write(block)
                    taken += [(ts_ns, bytes(view)) for ts_ns, view in block]
            assert dumper.packets == len(taken) == 2000
    with pypcapzc.open_offline(path) as written:
        assert list(written) == taken


def test_stopping_the_inflow_makes_an_exact_account(net: Lab) -> None:
    """While packets keep coming: what was captured and dropped is what was received, and no more comes."""
    with net.inside():
        process = traffic.start("--device", net.send_device, "--count", "100000000")
    try:
        with _open(net, buffer_size=2 * MIB) as capture:
            until_received(capture, 1)
            captured = 0
            for block in capture.blocks(0.5):
                captured += len(block)
            assert captured > 0
            assert capture.stop() is True
            captured += sum(len(block) for block in capture.blocks(0.5))
            stats = capture.stats()
            assert captured + stats.dropped == accepted(capture)
            time.sleep(0.1)
            assert capture.next_block(0.1) is None
            assert captured + stats.dropped == accepted(capture)
            assert capture.stats().dropped == stats.dropped
    finally:
        process.kill()
        process.communicate()
