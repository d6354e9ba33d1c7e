"""Whether memory stays flat over many packets: ``python -m benchmarks.endurance``, as root.

A ring is filled and drained again and again, in turns by whole blocks, by iterating over (ts_ns, bytes) and
over views; every packet is counted.  After a tenth of it the process's own memory must not grow any more.
Then some blocks are held while others pass: they may cost what they hold, and no more.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pypcapzc
from benchmarks import report
from benchmarks.consumers.common import iterate
from lab import netns
from lab.traffic import Sender

ROUND = 200_000
"""Packets that are in the ring at a time."""
_RING = 128 << 20
"""Bytes: four times what they need, as blocks are retired half empty where the sender is slow."""
_ALLOWED = 4 << 20
"""Bytes by which memory may vary: the allocator's own ways, and what a report takes."""
_HELD = 8


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000_000, help="packets (100000000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args(arguments)
    if not ROUND <= options.count <= 10_000_000_000:
        parser.error(f"--count is {ROUND} to 10000000000")
    return options


def _own_memory() -> int:
    """Bytes of memory of this process's own (proc(5), RssAnon): without the ring, which is the kernel's."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise SystemExit("this kernel does not tell RssAnon (Linux 4.5 and later do)")


def _blocks(capture: pypcapzc.Capture, count: int) -> int:
    seen = 0
    for block in capture.blocks(timeout=60, count=count):
        lengths: Any = block.headers["caplen"]
        seen += int((lengths == 64).sum())
    return seen


def _views(capture: pypcapzc.Capture, count: int) -> int:
    seen = 0
    for block in capture.blocks(timeout=60, count=count):
        for _, view in block:
            seen += len(view) == 64
    return seen


def _packets(capture: pypcapzc.Capture, count: int) -> int:
    packets = ((ts_ns, data) for _, (ts_ns, data) in zip(range(count), capture, strict=False))
    return iterate(packets)[1] // 64


WAYS: tuple[Callable[[pypcapzc.Capture, int], int], ...] = (_blocks, _packets, _views)


def _pass(capture: pypcapzc.Capture, sender: Sender, way: Callable[[pypcapzc.Capture, int], int]) -> None:
    """Fills the ring, drains it, and counts."""
    sender.send(ROUND)
    if (seen := way(capture, ROUND)) != ROUND:
        raise SystemExit(f"{seen} packets instead of {ROUND}; {capture.stats()}")


def _held(capture: pypcapzc.Capture, sender: Sender) -> dict[str, int]:
    """What some held blocks cost while the rest of ROUND packets passes.

    That is less than a lap of the ring: Linux fills a ring in order, and drops all that comes once it has
    arrived at a block that is held (prb_curr_blk_in_use() in its af_packet.c).
    """
    _pass(capture, sender, _blocks)
    before = _own_memory()
    sender.send(ROUND)
    held: list[pypcapzc.Block] = []
    while len(held) < _HELD and (block := capture.next_block(timeout=10)) is not None:
        held.append(block)
    left = ROUND - sum(map(len, held))
    if (seen := _blocks(capture, left)) != left:
        raise SystemExit(f"{seen} packets instead of {left} beside {len(held)} held blocks")
    found = {
        "blocks": len(held),
        "bytes": sum(block.nbytes for block in held),
        "grown": _own_memory() - before,
    }
    for block in held:
        block.release()
    return found


def measure(count: int) -> dict[str, Any]:
    """The run: memory after each pass, and what held blocks cost."""
    memory: list[int] = []
    began, cpu = time.perf_counter(), time.process_time()
    with (
        netns.Lab() as net,
        net.inside(),
        pypcapzc.open_live(net.capture_device, buffer_size=_RING, timeout_ms=100) as capture,
        Sender(net.send_device) as sender,
    ):
        passes = -(-count // ROUND)
        for number in range(passes):
            _pass(capture, sender, WAYS[number % len(WAYS)])
            gc.collect()
            memory.append(_own_memory())
            if number % max(1, passes // 20) == 0:
                print(f"{(number + 1) * ROUND:,} packets, {memory[-1] / 2**20:.1f} MiB", file=sys.stderr)
        stats, used = capture.stats(), capture.zero_copy
        held = _held(capture, sender)
    settled = memory[len(memory) // 10 :]
    grown = max(settled) - settled[0]
    return {
        "environment": report.environment(),
        "packets": passes * ROUND,
        "dropped": stats.dropped,
        "lent": used.lent,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "memory": memory,
        "grown": grown,
        "held": held,
        "flat": grown <= _ALLOWED and held["grown"] <= held["bytes"] + _ALLOWED,
    }


def main(arguments: list[str] | None = None) -> int:
    """0 if memory is flat and held blocks cost no more than themselves, else 1."""
    options = _options(arguments)
    if why_not := netns.why_not():
        raise SystemExit(why_not)
    found = measure(options.count)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        how, held, mebi = "lent" if found["lent"] else "copied", found["held"], 1 << 20
        print(
            f"{found['packets']:,} packets, {how}, {found['dropped']} dropped, in {found['seconds']:.0f} s: "
            f"memory {found['memory'][-1] / mebi:.1f} MiB, grown by {found['grown'] / mebi:.2f} MiB since "
            f"the first tenth; {held['blocks']} held blocks of {held['bytes'] / mebi:.1f} MiB cost "
            f"{held['grown'] / mebi:.2f} MiB: {'flat' if found['flat'] else 'NOT FLAT'}"
        )
    return 0 if found["flat"] else 1


if __name__ == "__main__":
    sys.exit(main())
