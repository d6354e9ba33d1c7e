"""Random operations on the simulated /dev/bpf for a long time::

    cd tests && nice python -m bpfsim.longrun --flags tsan --packets 10_000_000 --operations 100_000 --seed 1

Builds the patched libpcap with these flags (plain, asan for ASan and UBSan, tsan), and goes through captures
of all kinds, some hundred or thousand operations each, until there were so many packets and operations. Ends
with status 1 and what happened at the first thing that is wrong: a packet that is lost, torn, doubled or
late, a call that does not return, a report of a sanitizer. The same seed gives the same operations, though
not the same timing.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bpfsim import driver
from bpfsim.driver import Capture, Settings, Totals
from support import bpfsim
from support.patches import NEWEST, Workshop

BUFFERS = (4096, 8192, 65536, 1 << 20)
OPERATIONS_A_CAPTURE = 2000


def settings(rng: random.Random) -> Settings:
    """Zero-copy mostly."""
    return Settings(
        timeout=rng.choice((0, 1, 10, 20, 50)),
        immediate=rng.random() < 0.2,
        buffer_size=rng.choice(BUFFERS),
        nonblock=rng.random() < 0.3,
        read_mode=rng.random() < 0.2,
    )


class Random:
    """Chooses what to do with a capture."""

    def __init__(self, rng: random.Random, capture: Capture, flood: int, forks: bool) -> None:
        self.rng = rng
        self.capture = capture
        self.flood = flood
        self.sent = 0
        self.done: Counter[str] = Counter()
        self.choices: list[tuple[int, Callable[[], object]]] = [
            (12, self.send),
            (4, self.send_slowly),
            (6, capture.drain),
            (20, self.next),
            (8, self.dispatch),
            (4, capture.one),
            (14, self.release),
            (2, self.filter),
            (3, capture.rotate),
            (1, capture.poll),
            (1, capture.breakloop),
            (1, capture.wakeup),
        ]
        if forks:
            self.choices.append((1, self.fork))

    def step(self) -> None:
        weights, actions = zip(*self.choices, strict=True)
        action = self.rng.choices(actions, weights)[0]
        self.done[getattr(action, "__name__", "?")] += 1
        action()

    def send(self) -> None:
        most = self.flood if self.rng.random() < 0.2 else 12
        self._send(self.rng.randint(1, most), 0)

    def send_slowly(self) -> None:
        self._send(self.rng.randint(1, 20), self.rng.randint(1, 400))

    def _send(self, count: int, gap_us: int) -> None:
        shortest = self.rng.choice((60, 60, 100, 1000, 3900))
        longest = shortest + self.rng.choice((0, 100, 900))
        self.sent += count
        self.capture.send(count, shortest, longest, self.rng.getrandbits(31), gap_us)

    def next(self) -> None:
        if len(self.capture.lent) >= driver.MOST_LENT:
            self.release()
        self.capture.next(self.rng.choice((0, 0, 0, 1, 1, 5, 20, 120)))

    def dispatch(self) -> None:
        self.capture.dispatch(self.rng.choice((-1, -1, 1, 3, 10)))

    def release(self) -> None:
        if self.capture.lent:
            which = self.rng.randrange(len(self.capture.lent))
            self.capture.release(which, self.rng.choice((None, 0, 100, 2000)))

    def filter(self) -> None:
        if self.rng.random() < 0.5:
            self.capture.filter()
        else:
            shortest = self.rng.choice((60, 100, 500))
            self.capture.filter(shortest, shortest + self.rng.choice((50, 500, 5000)))

    def fork(self) -> None:
        self.capture.fork(self.rng.random() < 0.3)


def one_capture(program: Path, rng: random.Random, flood: int, forks: bool) -> tuple[Totals, Counter[str]]:
    """Some thousand operations, and their sums."""
    chosen = settings(rng)
    capture = Capture(program, chosen)
    try:
        chooser = Random(rng, capture, flood, forks)
        for _ in range(rng.randint(OPERATIONS_A_CAPTURE // 10, OPERATIONS_A_CAPTURE)):
            chooser.step()
        if rng.random() < 0.3:
            capture.depart()
            for _ in range(20):
                chooser.next()
                chooser.release()
        totals = capture.settle()
        if rng.random() < 0.5 and not capture.gone:
            capture.send(30, 60, 1000, 1)
            capture.drain()
            capture.next(100)
            capture.next(0)
        capture.close()
    finally:
        capture.end()
    return totals, chooser.done


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flags", choices=list(bpfsim.FLAGS), default="plain")
    parser.add_argument("--packets", type=int, default=100_000)
    parser.add_argument("--operations", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tree", type=Path, help="libpcap's sources (default: the newest version, patched)")
    parser.add_argument("--out", type=Path, default=Path("/tmp/bpfsim-longrun"), help="for what is built")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tree = options.tree or Workshop(options.out).tree(NEWEST, patched=True)
    program = driver.build(tree.absolute(), options.out.absolute(), bpfsim.FLAGS[options.flags])

    packets = operations = delivered = dropped = captures = 0
    flood = max(100, 60 * options.packets // max(1, options.operations))
    done: Counter[str] = Counter()
    began = time.monotonic()
    while packets < options.packets or operations < options.operations:
        seed = options.seed * 1_000_003 + captures
        try:
            # A child's copy would be beyond ThreadSanitizer.
            totals, counted = one_capture(program, random.Random(seed), flood, options.flags != "tsan")
        except driver.WrongError as failed:
            print(f"capture {captures} (seed {options.seed}, of its own {seed}): {failed}", flush=True)
            return 1
        captures += 1
        packets += totals.sent
        delivered += totals.delivered
        dropped += totals.dropped
        done += counted
        operations += counted.total()
        if captures % 10 == 0:
            print(f"{time.monotonic() - began:.0f} s: {operations} operations, {packets} packets", flush=True)
    print(
        f"{options.flags}: {operations} operations ({dict(done)}) in {captures} captures: {packets} packets, "
        f"{delivered} delivered, {dropped} dropped, in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
