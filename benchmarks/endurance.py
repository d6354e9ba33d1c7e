"""Whether memory stays flat over many packets: ``python -m benchmarks.endurance``, as root.

A ring is filled and drained again and again, in turns by whole blocks, by iterating over (ts_ns, bytes) and
over views; every packet is counted.  After a tenth of it the process's own memory must not grow any more.
Then some blocks are held while others pass: they may cost what they hold, and no more.

With --through it is a drop-in module that does so, by `pypcapzc run`, in turns by each of its calls; with
--savefile from a savefile that is read again and again.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypcapzc
from benchmarks import compat, peers, report
from benchmarks.consumers.common import iterate, own_memory
from benchmarks.scenarios import SCENARIOS, Run, Settings, staged
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
    parser.add_argument("--through", choices=list(compat.CALLS), help="the drop-in module for this library")
    parser.add_argument("--savefile", action="store_true", help="its packets come from a savefile")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args(arguments)
    if not ROUND <= options.count <= 10_000_000_000:
        parser.error(f"--count is {ROUND} to 10000000000")
    if options.savefile and not options.through:
        parser.error("--savefile is for --through")
    return options


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
    before = own_memory()
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
        "grown": own_memory() - before,
    }
    for block in held:
        block.release()
    return found


def _grown(memory: list[int]) -> int:
    """Bytes since the first tenth."""
    settled = memory[len(memory) // 10 :]
    return max(settled) - settled[0]


def through(name: str, count: int, kind: str) -> dict[str, Any]:
    """The same by a drop-in module: each of its calls in turns, in one process on one handle."""
    (peer,) = (each for each in peers.CONTESTANTS if each.name == name)
    (scenario,) = (each for each in SCENARIOS if each.name == kind)
    calls = [call.way.name for call in compat.CALLS[name] if kind in call.way.kinds]
    way = peers.Way(",".join(calls), peers.BYTES, laps=max(2, -(-count // ROUND)))
    here = compat.stand_in(peer)
    here = replace(here, runner=(*here.runner, "--buffer-size", str(_RING)))
    with tempfile.TemporaryDirectory(prefix="pypcapzc-endurance-") as scratch:
        settings = Settings(ROUND, _RING, _RING, 65535, 20, 0, Path(scratch))
        with staged(scenario, settings) as stage:
            found = stage.run(Run(here, way, sys.executable))
    grown = _grown(found["memory"])
    return {
        "environment": report.environment(),
        "through": name,
        "from": kind,
        "calls": calls,
        **{key: found[key] for key in ("packets", "seconds", "cpu", "memory", "libpcap", "version")},
        "grown": grown,
        "flat": grown <= _ALLOWED,
    }


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
            memory.append(own_memory())
            if number % max(1, passes // 20) == 0:
                print(f"{(number + 1) * ROUND:,} packets, {memory[-1] / 2**20:.1f} MiB", file=sys.stderr)
        stats, used = capture.stats(), capture.zero_copy
        held = _held(capture, sender)
    grown = _grown(memory)
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
    if not options.savefile and (why_not := netns.why_not()):
        raise SystemExit(why_not)
    if options.through:
        found = through(options.through, options.count, "savefile" if options.savefile else "drain")
    else:
        found = measure(options.count)
    print(json.dumps(found, indent=1) if options.json else _told(found))
    return 0 if found["flat"] else 1


def _told(found: dict[str, Any]) -> str:
    mebi = 1 << 20
    if "through" in found:
        how = f"through {found['through']}'s calls ({', '.join(found['calls'])}), {found['from']}"
    else:
        how = f"{'lent' if found['lent'] else 'copied'}, {found['dropped']} dropped"
    text = f"{found['packets']:,} packets, {how}, in {found['seconds']:.0f} s: "
    text += f"memory {found['memory'][-1] / mebi:.1f} MiB, "
    text += f"grown by {found['grown'] / mebi:.2f} MiB since the first tenth"
    if held := found.get("held"):
        text += f"; {held['blocks']} held blocks of {held['bytes'] / mebi:.1f} MiB cost "
        text += f"{held['grown'] / mebi:.2f} MiB"
    return f"{text}: {'flat' if found['flat'] else 'NOT FLAT'}"


if __name__ == "__main__":
    sys.exit(main())
