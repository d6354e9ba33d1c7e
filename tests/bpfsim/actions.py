"""More of the probe's actions: traffic, what is captured, readiness, fork, departure."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import time
from collections.abc import Callable

from bpfsim.probe import HUP, IN, PAGE, Setup, answer

STAMPS = {
    "MICROTIME": 0,
    "NANOTIME": 1,
    "BINTIME": 2,
    "NONE": 3,
    "MICROTIME|FAST": 0x100,
    "NANOTIME|MONOTONIC": 0x201,
}


class Capture(Setup):
    """Traffic, and what becomes of it."""

    def do_inj(self, count: str, length: str) -> str:
        results = [self.inject(int(length)) for _ in range(int(count))]
        return "ok" if min(results) > 0 else answer(results[-1])

    def do_inj_sizes(self, shortest: str, longest: str) -> str:
        for length in range(int(shortest), int(longest) + 1):
            self.inject(length)
        return "ok"

    def do_other_frame(self) -> str:
        """A frame that the filter rejects: by how much bs_recv grows."""
        before = self.stats()[0]
        frame = b"\xff" * 12 + b"\x88\xb6" + bytes(46)
        self.dev.lib.bpfsim_write(self.injector, frame, 60)
        return f"recv +{self.stats()[0] - before}"

    def do_write(self, size: str = "60") -> str:
        frame = b"\xff" * 12 + b"\x88\xb6" + bytes(int(size) - 14)
        return answer(self.dev.lib.bpfsim_write(self.fd, frame, len(frame)))

    def do_udp(self, count: str, first: str, step: str = "1") -> str:
        """Datagrams on lo0, each a byte longer, of so many bytes with address family, IP and UDP header."""
        for i in range(int(count)):
            self.loopback(int(first) + i * int(step), 17)
        return "ok"

    def do_icmp(self, count: str, first: str) -> str:
        for i in range(int(count)):
            self.loopback(int(first) + i, 1)
        return "ok"

    def loopback(self, size: int, protocol: int) -> None:
        packet = struct.pack("=I", 2) + b"\x45" + bytes(8) + bytes([protocol])
        packet += bytes(i & 0xFF for i in range(size - len(packet)))
        self.dev.lib.bpfsim_send(b"lo0", packet, len(packet), 0)

    def do_ack(self, which: str, *value: str) -> str:
        header = self.header(which)
        header.user_gen = int(value[0]) if value else header.kernel_gen
        return "ok"

    def do_scribble(self, which: str, kernel_gen: str, kernel_len: str) -> str:
        header = self.header(which)
        header.kernel_gen, header.kernel_len = int(kernel_gen), int(kernel_len)
        return "ok"

    def do_preset(self, which: str, value: str) -> str:
        header = self.header(which)
        header.kernel_gen = header.user_gen = int(value, 0)
        return "ok"

    def do_rotz(self) -> str:
        """Which buffer and how much of it; bufb must be NULL."""
        result, bz = self.rotate()
        if result < 0:
            return answer(result)
        name = {None: "none", self.where["b"]: "B", self.where["a"]: "A"}.get(bz.a, "?")
        return f"{name} {bz.length}" + ("" if bz.b is None else f" bufb={bz.b:#x}")

    def do_gens(self) -> str:
        said = []
        for which in "AB":
            h = self.header(which)
            said.append(f"{which}={h.kernel_gen}/{h.kernel_len}/{h.user_gen}")
        return f"{' '.join(said)} fionread={self.fionread()} poll={self.poll(0):#x}"

    def stats(self) -> tuple[int, int]:
        pair = (ctypes.c_uint * 2)()
        result = self.dev.ioctl(self.fd, "BIOCGSTATS", pair)
        assert result == 0, answer(result)
        return pair[0], pair[1]

    def do_stats(self) -> str:
        return "recv={} drop={}".format(*self.stats())

    def do_fionread(self) -> str:
        return str(self.fionread())

    def do_walk(self, which: str, *size: str) -> str:
        return self.walk(which, int(size[0]) if size else self.header(which).kernel_len)

    def do_fill(self, which: str, length: str) -> str:
        """Inject until this buffer is handed over: how many frames it took."""
        header = self.header(which)
        for n in range(100):
            if header.kernel_gen != header.user_gen:
                return str(n)
            self.inject(int(length))
        return "never"

    def do_layout(self, which: str) -> str:
        found = self.records(which, self.header(which).kernel_len)
        return "; ".join(f"{at}:{hdrlen}+{caplen}/{datalen}" for at, hdrlen, caplen, datalen, _ in found)

    def do_protocols(self, which: str) -> str:
        """Address family and IP protocol of records from lo0."""
        found = self.records(which, self.header(which).kernel_len)
        return " ".join(f"{struct.unpack('=I', data[:4])[0]}/{data[13]}" for *_, data in found)

    def do_stamped(self, kind: str) -> str:
        """Two frames with that time stamp: layout, and what clock it was."""
        assert self.do_zopen("2") == "0"
        result = self.dev.number(self.fd, "BIOCSTSTAMP", STAMPS[kind])[0]
        self.inject(61)
        self.inject(61)
        self.rotate()
        at, hdrlen, caplen, datalen, _ = self.records("a", self.header("a").kernel_len)[0]
        seconds, fraction = struct.unpack("=qQ", ctypes.string_at(self.where["a"] + at, 16))
        unit = {0: 10**6, 1: 10**9, 2: 2**64, 3: 1}[STAMPS[kind] & 3]
        stamp = seconds + fraction / unit
        clocks = {"realtime": time.time(), "uptime": time.monotonic(), "zero": 0.0}
        clock = next((name for name, now in clocks.items() if abs(stamp - now) < 2), "none")
        size = self.header("a").kernel_len
        return f"{answer(result)} hdrlen={hdrlen} caplen={caplen} datalen={datalen} klen={size} {clock}"


class Readiness(Capture):
    """poll, select, immediate mode, read timeout."""

    def timed(self, wait: Callable[[], int]) -> str:
        start = time.monotonic()
        result = wait()
        return f"{result:#x} after {(time.monotonic() - start) * 1000:.0f}"

    def do_poll(self, ms: str) -> str:
        return self.timed(lambda: self.poll(int(ms)))

    def do_poll_now(self) -> str:
        return f"{self.poll(0):#x}"

    def do_poll_hup(self) -> str:
        return f"{self.poll(0, IN | HUP):#x}"

    def do_select(self, ms: str) -> str:
        words = (ctypes.c_ulong * 16)()
        words[self.fd // 64] |= 1 << self.fd % 64
        limit = (ctypes.c_long * 2)(int(ms) // 1000, int(ms) % 1000 * 1000)
        return self.timed(lambda: int(self.dev.lib.bpfsim_select(self.fd + 1, words, None, None, limit)))

    def do_immediate(self, on: str) -> str:
        return answer(self.dev.number(self.fd, "BIOCIMMEDIATE", int(on))[0])

    def do_rtimeout(self, ms: str) -> str:
        limit = (ctypes.c_long * 2)(int(ms) // 1000, int(ms) % 1000 * 1000)
        return answer(self.dev.ioctl(self.fd, "BIOCSRTIMEOUT", limit))

    def do_get_rtimeout(self) -> str:
        limit = (ctypes.c_long * 2)()
        self.dev.ioctl(self.fd, "BIOCGRTIMEOUT", limit)
        return f"{limit[0]}.{limit[1]:06}"

    def do_later_inj(self, ms: str, count: str, length: str) -> str:
        def act() -> None:
            for _ in range(int(count)):
                self.inject(int(length))
                time.sleep(0.02)

        self.later(int(ms), act)
        return "ok"

    def do_later_rotz(self, ms: str) -> str:
        self.later(int(ms), self.rotate)
        return "ok"

    def do_join(self) -> str:
        for thread in self.threads:
            thread.join()
        self.threads.clear()
        return "ok"

    def do_sleep(self, ms: str) -> str:
        time.sleep(int(ms) / 1000)
        return "ok"


class Departure(Readiness):
    """Interfaces that go, and processes that fork."""

    def do_pair9(self) -> str:
        """A pair made for the purpose; the capturing descriptors are on it from now on."""
        self.pair("epair9a", "epair9b")
        self.capture_on = "epair9a"
        return "ok"

    def do_pair0(self) -> str:
        """Back to the usual pair."""
        self.dev.lib.bpfsim_remove_interface(b"epair9b")
        self.open_injector("epair0b")
        self.capture_on = "epair0a"
        return "ok"

    def do_later_destroy(self, ms: str) -> str:
        self.later(int(ms), lambda: self.dev.lib.bpfsim_remove_interface(b"epair9a"))
        return "ok"

    def do_up(self, name: str, up: str) -> str:
        return answer(self.dev.lib.bpfsim_set_up(name.encode(), int(up)))

    def do_fork(self, mapping: str, how: str) -> str:
        """As zbt's fork_case(): what the parent sees of the kernel, and the kernel of the parent."""
        self.do_zopen("2", *(["shared"] if mapping == "shared" else []))
        inherit = {"none": 2, "share": 0}.get(mapping)
        if inherit is not None:
            for address in self.where.values():
                self.dev.lib.bpfsim_minherit(address, 2 * PAGE, inherit)
        self.inject(200)
        self.rotate()
        first = self.header("a").kernel_gen
        self.do_ack("a")
        end = self.spawn(how)
        self.inject(200)
        self.rotate()
        seen = (self.header("b").kernel_gen, len(self.records("b", self.header("b").kernel_len)))
        said = f"A kgen={first} | B kgen={seen[0]} pkts={seen[1]}"
        self.do_ack("b")
        self.inject(200)
        length = self.rotate()[1].length
        said += f" | ROTZ len={length} A kgen={self.header('a').kernel_gen} poll={self.poll(0):#x}"
        self.do_ack("a")
        self.inject(200)
        length = self.rotate()[1].length
        said += f" | ROTZ len={length} B kgen={self.header('b').kernel_gen} | {self.do_stats()}"
        end()
        return said

    def spawn(self, how: str) -> Callable[[], object]:
        """A child of that kind; a function that ends it."""
        if how == "vfork":
            # With closed files subprocess would fork.
            child = subprocess.Popen(["sleep", "1"], close_fds=False)
            return child.wait
        if how == "exec":
            pid = os.fork()
            if pid == 0:
                os.execlp("sleep", "sleep", "0.1")
            os.waitpid(pid, 0)
            return lambda: None
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writable)
            os.read(readable, 1)
            os._exit(0)
        os.close(readable)

        def end() -> None:
            os.close(writable)
            os.waitpid(pid, 0)

        return end

    def do_child_rotz(self) -> str:
        """A forked child rotates: whether it got the owner's address."""
        pid = os.fork()
        if pid == 0:
            result, bz = self.rotate()
            os._exit(7 if result == 0 and bz.length > 0 and bz.a == self.where["a"] else 1)
        return f"exit {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"
