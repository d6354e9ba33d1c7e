"""Carries out the actions of the conformance tables on the simulated device, and says what came of each.

Run as a program, in a process of its own: ``python -m bpfsim.sources LIBRARY`` reads a JSON list of actions
from standard input and writes the list of outcomes. An action is a word and its arguments; each is a method
``do_...`` here, in actions.py or in consumers.py.

The probe has one capturing descriptor at a time, with buffers A and B, on epair0a, and injects by writing to
a descriptor on epair0b, as zbt did on the real kernel.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PAGE = mmap.PAGESIZE
ETHERTYPE = 0x88B5
HEADER = 32
"""sizeof(struct bpf_zbuf_header), struct bpf_hdr and struct bpf_xhdr."""
IN, HUP = 0x1, 0x10

NUMBERS = {
    "BIOCGBLEN": 0x40044266,
    "BIOCSBLEN": 0xC0044266,
    "BIOCSETF": 0x80104267,
    "BIOCFLUSH": 0x20004268,
    "BIOCGDLT": 0x4004426A,
    "BIOCSETIF": 0x8020426C,
    "BIOCSRTIMEOUT": 0x8010426D,
    "BIOCGRTIMEOUT": 0x4010426E,
    "BIOCGSTATS": 0x4008426F,
    "BIOCIMMEDIATE": 0x80044270,
    "BIOCSHDRCMPLT": 0x80044275,
    "BIOCLOCK": 0x2000427A,
    "BIOCGETBUFMODE": 0x4004427D,
    "BIOCSETBUFMODE": 0x8004427E,
    "BIOCGETZMAX": 0x4008427F,
    "BIOCROTZBUF": 0x40184280,
    "BIOCSETZBUF": 0x80184281,
    "BIOCSETFNR": 0x80104282,
    "BIOCSTSTAMP": 0x80044284,
    "FIONREAD": 0x4004667F,
}

_FILTER = ((0x28, 0, 0, 12), (0x15, 0, 1, ETHERTYPE), (0x06, 0, 0, 262144), (0x06, 0, 0, 0))
_UDP = ((0x30, 0, 0, 13), (0x15, 0, 1, 17), (0x06, 0, 0, 262144), (0x06, 0, 0, 0))


class PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


class ZBuf(ctypes.Structure):
    _fields_ = (("a", ctypes.c_void_p), ("b", ctypes.c_void_p), ("length", ctypes.c_size_t))


class ZHeader(ctypes.Structure):
    _fields_ = (("kernel_gen", ctypes.c_uint), ("kernel_len", ctypes.c_uint), ("user_gen", ctypes.c_uint))


def answer(result: int) -> str:
    """The result, or the name that FreeBSD has for the errno."""
    if result >= 0:
        return str(result)
    error = ctypes.get_errno()
    return "EOPNOTSUPP" if error == errno.EOPNOTSUPP else errno.errorcode[error]


class Device:
    """The calls, as bpfsim_*() give them; -1 leaves the errno to ctypes.get_errno()."""

    def __init__(self, library: Path) -> None:
        self.lib = ctypes.CDLL(str(library), use_errno=True)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = (
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
        )
        self.lib.bpfsim_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
        for name in ("read", "write"):
            function = getattr(self.lib, f"bpfsim_{name}")
            function.restype = ctypes.c_ssize_t
            function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self.lib.bpfsim_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self.lib.bpfsim_minherit.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self.lib.bpfsim_send.argtypes = (
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t),
        )

    def open(self) -> int:
        fd: int = self.lib.bpfsim_open(b"/dev/bpf", os.O_RDWR)
        assert fd >= 0
        return fd

    def ioctl(self, fd: int, name: str, argument: object = None) -> int:
        pointer = None if argument is None else ctypes.cast(ctypes.byref(argument), ctypes.c_void_p)  # type: ignore[arg-type]
        result: int = self.lib.bpfsim_ioctl(fd, NUMBERS[name], pointer)
        return result

    def number(self, fd: int, name: str, value: int = 0) -> tuple[int, int]:
        v = ctypes.c_uint(value)
        return self.ioctl(fd, name, v), v.value

    def setif(self, fd: int, name: str) -> int:
        return self.ioctl(fd, "BIOCSETIF", ctypes.create_string_buffer(name.encode(), 40))

    def setf(
        self, fd: int, instructions: tuple[tuple[int, int, int, int], ...], name: str = "BIOCSETF"
    ) -> int:
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
        return self.ioctl(fd, name, Program(len(instructions), ctypes.cast(code, ctypes.c_void_p)))

    def map(self, size: int, *, shared: bool = False, fd: int = -1) -> int:
        flags = (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE) | (mmap.MAP_ANONYMOUS if fd < 0 else 0)
        address: int = self.libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
        return address


class Base:
    """State, and what all actions use."""

    def __init__(self, library: Path) -> None:
        self.dev = Device(library)
        self.fd = self.injector = -1
        self.size = 0
        self.where = {"a": 0, "b": 0}
        self.capture_on = "epair0a"
        self.sequence = 1
        self.threads: list[threading.Thread] = []
        self.pair("epair0a", "epair0b")

    def pair(self, one: str, other: str) -> None:
        for name in (one, other):
            self.dev.lib.bpfsim_add_interface(name.encode(), 1, 1500)
        self.dev.lib.bpfsim_set_peer(one.encode(), other.encode())
        self.open_injector(other)

    def open_injector(self, name: str) -> None:
        if self.injector >= 0:
            self.dev.lib.bpfsim_close(self.injector)
        self.injector = self.dev.open()
        assert self.dev.setif(self.injector, name) == 0
        assert self.dev.number(self.injector, "BIOCSHDRCMPLT", 1)[0] == 0
        assert self.dev.setf(self.injector, ((0x06, 0, 0, 0),)) == 0

    def header(self, which: str) -> ZHeader:
        return ZHeader.from_address(self.where[which.lower()])

    def inject(self, length: int) -> int:
        n = self.sequence
        head = b"\xff" * 6 + b"\x02" * 6 + struct.pack(">HI", ETHERTYPE, n)
        frame = head + bytes((n + i) & 0xFF for i in range(18, length))
        result: int = self.dev.lib.bpfsim_write(self.injector, frame, length)
        if result > 0:
            self.sequence += 1
        return result

    def fionread(self) -> int:
        return self.dev.number(self.fd, "FIONREAD")[1]

    def poll(self, ms: int, events: int = IN) -> int:
        p = PollFd(self.fd, events, 0)
        result: int = self.dev.lib.bpfsim_poll(ctypes.byref(p), 1, ms)
        return int(p.revents) if result > 0 else result

    def rotate(self) -> tuple[int, ZBuf]:
        bz = ZBuf(0xA5, 0xA5, 0xA5)
        return self.dev.ioctl(self.fd, "BIOCROTZBUF", bz), bz

    def records(self, which: str, size: int) -> list[tuple[int, int, int, int, bytes]]:
        """(offset in the buffer, bh_hdrlen, caplen, datalen, data) of each."""
        found = []
        at, end = HEADER, HEADER + size
        base = self.where[which.lower()]
        while at < end:
            caplen, datalen, hdrlen = struct.unpack("=IIH", ctypes.string_at(base + at + 16, 10))
            found.append((at, hdrlen, caplen, datalen, ctypes.string_at(base + at + hdrlen, caplen)))
            at += (hdrlen + caplen + 7) & ~7
        return found

    def walk(self, which: str, size: int) -> str:
        seen: list[int] = []
        bad = 0
        for _, _, caplen, _, data in self.records(which, size):
            (n,) = struct.unpack(">I", data[14:18])
            bad += bool(seen) and n != seen[-1] + 1
            bad += data[18:] != bytes((n + i) & 0xFF for i in range(18, caplen))
            seen.append(n)
        return f"klen={size} packets={len(seen)} seq={seen[0]}..{seen[-1]} bad={bad}"

    def later(self, ms: int, act: Callable[[], object]) -> None:
        def run() -> None:
            time.sleep(ms / 1000)
            act()

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)


class Setup(Base):
    """Descriptors, buffers, modes."""

    def do_open(self) -> str:
        if self.fd >= 0:
            self.dev.lib.bpfsim_close(self.fd)
        self.fd = self.dev.open()
        return "ok"

    def do_close(self) -> str:
        fd, self.fd = self.fd, -1
        return answer(self.dev.lib.bpfsim_close(fd))

    def do_map(self, which: str, pages: str, *how: str) -> str:
        self.where[which] = self.dev.map(int(pages) * PAGE, shared="shared" in how)
        return "ok"

    def do_map_shm(self, pages: str) -> str:
        """Both buffers are halves of one shared memory object."""
        fd = os.memfd_create("probe")
        os.ftruncate(fd, int(pages) * PAGE)
        self.where["a"] = self.dev.map(int(pages) * PAGE, shared=True, fd=fd)
        self.where["b"] = self.where["a"] + int(pages) * PAGE // 2
        return "ok"

    def do_unmap(self, which: str, first: str, pages: str) -> str:
        return answer(self.dev.lib.bpfsim_munmap(self.where[which] + int(first) * PAGE, int(pages) * PAGE))

    def do_protect(self, which: str, pages: str, how: str) -> str:
        protection = {"read": mmap.PROT_READ, "none": 0, "write": mmap.PROT_READ | mmap.PROT_WRITE}[how]
        return answer(
            self.dev.libc.mprotect(
                ctypes.c_void_p(self.where[which]), ctypes.c_size_t(int(pages) * PAGE), protection
            )
        )

    def do_byte(self, which: str, at: str, value: str = "") -> str:
        """Look at a byte of a buffer, or set it."""
        if value:
            ctypes.c_ubyte.from_address(self.where[which] + int(at)).value = int(value, 0)
        return f"{ctypes.c_ubyte.from_address(self.where[which] + int(at)).value:#x}"

    def do_zopen(self, pages: str, *how: str) -> str:
        """A zero-copy descriptor with the filter for our frames, bound if no other interface is named."""
        if self.fd >= 0:
            self.dev.lib.bpfsim_close(self.fd)
        self.fd = self.dev.open()
        self.size = int(pages) * PAGE
        name = next((word for word in how if word not in ("shared", "nofilter", "udp")), self.capture_on)
        for which in self.where:
            self.where[which] = self.dev.map(self.size, shared="shared" in how)
        assert self.dev.number(self.fd, "BIOCSETBUFMODE", 2)[0] == 0
        z = ZBuf(self.where["a"], self.where["b"], self.size)
        assert self.dev.ioctl(self.fd, "BIOCSETZBUF", z) == 0
        if "nofilter" not in how:
            assert self.dev.setf(self.fd, _UDP if "udp" in how else _FILTER) == 0
        return answer(self.dev.setif(self.fd, name))

    def do_bopen(self) -> str:
        """A read-mode descriptor likewise."""
        self.do_open()
        assert self.dev.setf(self.fd, _FILTER) == 0
        return answer(self.dev.setif(self.fd, self.capture_on))

    def do_sysctl(self, value: str) -> str:
        self.dev.lib.bpfsim_set_sysctl(b"net.bpf.zerocopy_enable", int(value))
        return "ok"

    def do_getmode(self) -> str:
        result, mode = self.dev.number(self.fd, "BIOCGETBUFMODE", 99)
        return answer(result) if result < 0 else f"mode={mode}"

    def do_setmode(self, mode: str) -> str:
        return answer(self.dev.number(self.fd, "BIOCSETBUFMODE", int(mode))[0])

    def do_getzmax(self) -> str:
        v = ctypes.c_size_t(0)
        result = self.dev.ioctl(self.fd, "BIOCGETZMAX", v)
        return answer(result) if result < 0 else f"zmax={v.value}"

    def do_setzbuf(self, a: str, b: str, size: str) -> str:
        """Addresses are a, b, null, or a+bytes; a size ends in p for pages."""

        def address(word: str) -> int | None:
            name, _, offset = word.partition("+")
            return None if name == "null" else self.where[name] + int(offset or 0)

        length = int(size[:-1]) * PAGE if size.endswith("p") else int(size)
        return answer(self.dev.ioctl(self.fd, "BIOCSETZBUF", ZBuf(address(a), address(b), length)))

    def do_blen(self) -> str:
        return str(self.dev.number(self.fd, "BIOCGBLEN")[1])

    def do_sblen(self, size: str) -> str:
        return answer(self.dev.number(self.fd, "BIOCSBLEN", int(size))[0])

    def do_setif(self, name: str) -> str:
        return answer(self.dev.setif(self.fd, name))

    def do_read(self, size: str) -> str:
        length = self.dev.number(self.fd, "BIOCGBLEN")[1] if size == "bufsize" else int(size)
        room = ctypes.create_string_buffer(length)
        return answer(self.dev.lib.bpfsim_read(self.fd, room, length))

    def do_nonblock(self) -> str:
        os.set_blocking(self.fd, False)
        return "ok"

    def do_lock(self) -> str:
        return answer(self.dev.ioctl(self.fd, "BIOCLOCK"))

    def do_setf(self, name: str = "BIOCSETF") -> str:
        return answer(self.dev.setf(self.fd, _FILTER, name))

    def do_setf_all(self, name: str = "BIOCSETFNR") -> str:
        return answer(self.dev.setf(self.fd, ((0x06, 0, 0, 0xFFFF),), name))

    def do_snaplen(self, length: str) -> str:
        code = (*_FILTER[:2], (0x06, 0, 0, int(length)), _FILTER[3])
        return answer(self.dev.setf(self.fd, code))

    def do_flush(self) -> str:
        return answer(self.dev.ioctl(self.fd, "BIOCFLUSH"))

    def do_dlt(self) -> str:
        result, dlt = self.dev.number(self.fd, "BIOCGDLT")
        return answer(result) if result < 0 else f"dlt={dlt}"

    def do_mtu(self, size: str) -> str:
        for name in (b"epair0a", b"epair0b"):
            self.dev.lib.bpfsim_set_mtu(name, int(size))
        return "ok"


def main(kind: type[Setup]) -> None:
    """Outcomes of the actions on standard input."""
    probe = kind(Path(sys.argv[1]))
    outcomes = []
    for action in json.load(sys.stdin):
        word, *arguments = action.split()
        outcomes.append(getattr(probe, f"do_{word}")(*arguments))
    for thread in probe.threads:
        thread.join()
    print(json.dumps(outcomes))
