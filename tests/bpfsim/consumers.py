"""The last of the probe's actions: consumers under load (zbt's "slow" and "bursts"); and its main()."""

from __future__ import annotations

import ctypes
import json
import struct
import time
from dataclasses import asdict, dataclass

from bpfsim.actions import Departure
from bpfsim.probe import HEADER, main

_LENGTH = 100


@dataclass
class Seen:
    """What a consumer saw, and the kernel's counts at the end."""

    sent: int = 0
    got: int = 0
    lost: int = 0
    """Numbers that never came."""
    twice: int = 0
    corrupt: int = 0
    late: int = 0
    """More than 300 ms after they were captured."""
    peeked: int = 0
    stuck: int = 0
    """Came only when one more packet did, after the end."""
    nudges: int = 0
    loops: int = 0
    without_call: int = 0
    recv: int = 0
    drop: int = 0


class Consumers(Departure):
    """Consumers that take the buffers in turn."""

    def do_consume(self, strategy: str, count: str) -> str:
        """Take ``count`` frames of a flood ("slow") or of bursts of 50 (the others)."""
        self.seen = Seen(sent=int(count))
        self.strategy = strategy
        self.expected, self.turn, self.consumed, self.last = 1, 0, 0, 0
        assert self.do_zopen("2" if strategy == "slow" else "16", "shared") == "0"
        if strategy == "immediate":
            self.do_immediate("1")
        if strategy == "rtimeout":
            self.do_rtimeout("10")
        self.start(int(count))
        idle_since = time.monotonic()
        while self.seen.got < int(count) and time.monotonic() - idle_since < 1.5:
            self.seen.loops += 1
            if self.take() or self.sending():
                idle_since = time.monotonic()
        self.nudge(int(count))
        self.seen.recv, self.seen.drop = self.stats()
        return json.dumps(asdict(self.seen))

    def start(self, count: int) -> None:
        lib, name = self.dev.lib, b"epair0a"
        lib.bpfsim_flood.argtypes = (ctypes.c_char_p, ctypes.c_uint64, *[ctypes.c_int] * 4)
        lib.bpfsim_bursts.argtypes = (ctypes.c_char_p, ctypes.c_uint64, *[ctypes.c_int] * 4)
        lib.bpfsim_sequence.restype = ctypes.c_int64
        self.until = count
        lib.bpfsim_set_sequence(name, 1)
        if self.strategy == "slow":
            lib.bpfsim_flood(name, count, _LENGTH, _LENGTH, 0, 0)
        else:
            lib.bpfsim_bursts(name, count, _LENGTH, 50, 200, 400_000)

    def sending(self) -> bool:
        return bool(self.dev.lib.bpfsim_sequence(b"epair0a") <= self.until)

    def nudge(self, count: int) -> None:
        """Single packets until nothing is left in the kernel: each frees a buffer if one can be freed."""
        before = self.seen.got
        for _ in range(3):
            self.dev.lib.bpfsim_drain(10_000)
            self.sequence = count + 1 + self.seen.nudges
            self.inject(_LENGTH)
            self.seen.nudges += 1
            self.seen.sent += 1
            while self.take(wait=0):
                pass
        drops = self.stats()[1]
        self.seen.stuck = max(0, self.seen.got - before - self.seen.nudges)
        self.seen.lost += self.seen.sent + 1 - self.expected
        assert drops >= 0

    def take(self, wait: int | None = None) -> bool:
        """One turn: whether anything came."""
        which = "AB"[self.turn]
        header = self.header(which)
        ready = header.user_gen != header.kernel_gen
        if ready:
            self.seen.without_call += 1
        else:
            usual = {"slow": 50, "rtimeout": 500}.get(self.strategy, 1)
            self.poll(usual if wait is None else wait)
            ready = header.user_gen != header.kernel_gen or self.rotate()[1].length > 0
        if ready:
            self.whole(which, header.kernel_len)
            return True
        if self.strategy == "peek":
            return self.peek(which)
        return False

    def whole(self, which: str, size: int) -> None:
        """A buffer that is ours: look at it, then give it back, or the other way round."""
        header = self.header(which)
        data = ctypes.string_at(self.where[which.lower()] + HEADER, size)
        if self.strategy == "copy":
            header.user_gen = header.kernel_gen
        self.look_at(data, self.consumed, size)
        if self.strategy != "copy":
            time.sleep(0.003 if self.strategy == "slow" else 0.001)
            header.user_gen = header.kernel_gen
        self.turn ^= 1
        self.consumed, self.last = 0, size

    def peek(self, which: str) -> bool:
        """What is in the store buffer by FIONREAD, less what the other one had (as in zbt)."""
        header = self.header(which)
        filled = self.fionread()
        if header.user_gen != header.kernel_gen:
            return False
        end = filled - self.last if filled >= self.last else filled
        if end <= self.consumed:
            return False
        data = ctypes.string_at(self.where[which.lower()] + HEADER, end)
        before = self.seen.got
        self.consumed = self.look_at(data, self.consumed, end)
        self.seen.peeked += self.seen.got - before
        return self.seen.got > before

    def look_at(self, data: bytes, at: int, end: int) -> int:
        """Account for the records from ``at`` on; where the next one would be."""
        now = time.time()
        while at + HEADER <= end:
            seconds, micro, caplen, _, hdrlen = struct.unpack_from("=qqIIH", data, at)
            if at + hdrlen + caplen > end:
                break
            packet = data[at + hdrlen : at + hdrlen + caplen]
            (number,) = struct.unpack_from(">I", packet, 14)
            if caplen != _LENGTH or packet[99] != (number + 99) & 0xFF:
                self.seen.corrupt += 1
            self.seen.twice += number < self.expected
            self.seen.lost += max(0, number - self.expected)
            self.expected = number + 1
            self.seen.got += 1
            self.seen.late += now - seconds - micro / 1e6 > 0.3
            at += (hdrlen + caplen + 7) & ~7
        return at


if __name__ == "__main__":
    main(Consumers)
