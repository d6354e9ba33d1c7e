"""Actions for what the kernel's sources say and zbt did not measure, and for the simulator's own controls."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import time

from bpfsim.consumers import Consumers
from bpfsim.probe import IN, NUMBERS, PollFd, answer, main

NUMBERS.update(
    {
        "BIOCPROMISC": 0x20004269,
        "BIOCVERSION": 0x40044271,
        "BIOCSDIRECTION": 0x80044277,
        "BIOCSDLT": 0x80044278,
        "BIOCGDLTLIST": 0xC0104279,
        "BIOCSETWF": 0x8010427B,
        "BIOCFEEDBACK": 0x8004427C,
    }
)
_XBPF = struct.Struct("=I2B6x4i4x3Q5i16si4Qi4x32x")
"""struct xbpf_d"""


class Sources(Consumers):
    """More of the ioctls, read mode, and what the simulator adds."""

    def do_open_for(self, how: str) -> str:
        flags = {"reading": os.O_RDONLY, "writing": os.O_WRONLY, "both": os.O_RDWR}[how]
        if self.fd >= 0:
            self.dev.lib.bpfsim_close(self.fd)
        self.fd = self.dev.lib.bpfsim_open(b"/dev/bpf", flags)
        return answer(min(self.fd, 0))

    def do_open_minor(self, name: str) -> str:
        """Opens and keeps it."""
        result: int = self.dev.lib.bpfsim_open(f"/dev/{name}".encode(), os.O_RDWR)
        return answer(min(result, 0))

    def do_minors(self, number: str) -> str:
        return answer(self.dev.lib.bpfsim_set_minors(int(number)))

    def do_fail(self, name: str, error: str, times: str) -> str:
        return answer(
            self.dev.lib.bpfsim_fail(ctypes.c_ulong(NUMBERS[name]), getattr(errno, error), int(times))
        )

    def do_fail_open(self, error: str, times: str) -> str:
        return answer(self.dev.lib.bpfsim_fail_open(getattr(errno, error), int(times)))

    def do_maxbufsize(self, value: str) -> str:
        return answer(self.dev.lib.bpfsim_set_sysctl(b"net.bpf.maxbufsize", int(value)))

    def do_sblen_says(self, size: str) -> str:
        """The size that comes back."""
        result, size_now = self.dev.number(self.fd, "BIOCSBLEN", int(size))
        return answer(result) if result < 0 else str(size_now)

    def do_version(self) -> str:
        pair = (ctypes.c_ushort * 2)()
        return f"{answer(self.dev.ioctl(self.fd, 'BIOCVERSION', pair))} {pair[0]}.{pair[1]}"

    def do_null(self, name: str) -> str:
        """An ioctl with no argument."""
        return answer(self.dev.ioctl(self.fd, name))

    def do_unknown(self) -> str:
        NUMBERS["unknown"] = 0x400442FF
        return answer(self.dev.number(self.fd, "unknown")[0])

    def do_set(self, name: str, value: str) -> str:
        return answer(self.dev.number(self.fd, name, int(value))[0])

    def do_rtimeout_raw(self, seconds: str, micro: str) -> str:
        limit = (ctypes.c_long * 2)(int(seconds), int(micro))
        return answer(self.dev.ioctl(self.fd, "BIOCSRTIMEOUT", limit))

    def do_add_dlt(self, name: str, dlt: str) -> str:
        return answer(self.dev.lib.bpfsim_add_interface(name.encode(), int(dlt), 1500))

    def do_dlts(self, room: str) -> str:
        class List(ctypes.Structure):
            _fields_ = (("length", ctypes.c_uint), ("list", ctypes.c_void_p))

        found = (ctypes.c_uint * 16)()
        request = List(int(room), ctypes.cast(found, ctypes.c_void_p) if int(room) else None)
        result = self.dev.ioctl(self.fd, "BIOCGDLTLIST", request)
        shown = " ".join(str(found[i]) for i in range(request.length if int(room) else 0))
        return answer(result) if result < 0 else f"{request.length}: {shown}".strip(": ")

    def do_promiscuous(self, name: str) -> str:
        return answer(self.dev.lib.bpfsim_promiscuous(name.encode()))

    def do_incoming(self, length: str) -> str:
        self.dev.lib.bpfsim_send(b"epair0a", bytes(int(length)), int(length), 0)
        return "ok"

    def do_outgoing(self, length: str) -> str:
        self.dev.lib.bpfsim_send_outgoing(b"epair0a", bytes(int(length)), ctypes.c_size_t(int(length)))
        return "ok"

    def do_filter(self, *instructions: str) -> str:
        """Instructions as code,jt,jf,k in hexadecimal."""
        code = tuple(tuple(int(part, 16) for part in one.split(",")) for one in instructions)
        return answer(self.dev.setf(self.fd, code))  # type: ignore[arg-type]

    def do_write_filter(self, *instructions: str) -> str:
        code = tuple(tuple(int(part, 16) for part in one.split(",")) for one in instructions)
        return answer(self.dev.setf(self.fd, code, "BIOCSETWF"))  # type: ignore[arg-type]

    def do_read_timed(self, size: str) -> str:
        start = time.monotonic()
        room = ctypes.create_string_buffer(int(size))
        result = answer(self.dev.lib.bpfsim_read(self.fd, room, int(size)))
        return f"{result} after {(time.monotonic() - start) * 1000:.0f}"

    def do_alarm(self, ms: str, how: str) -> str:
        """A signal to come, whose handler interrupts system calls or lets them be restarted (SA_RESTART)."""
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.siginterrupt(signal.SIGALRM, how == "interrupt")
        signal.setitimer(signal.ITIMER_REAL, int(ms) / 1000)
        return "ok"

    def do_poll_timed(self, ms: str) -> str:
        """poll(2), with the name of its errno."""
        start = time.monotonic()
        p = PollFd(self.fd, IN, 0)
        result = answer(self.dev.lib.bpfsim_poll(ctypes.byref(p), 1, int(ms)))
        return f"{result} after {(time.monotonic() - start) * 1000:.0f}"

    def do_block(self) -> str:
        os.set_blocking(self.fd, True)
        return "ok"

    def do_xbpf(self) -> str:
        """The descriptor's entry in net.bpf.stats."""
        size = ctypes.c_size_t(0)
        stats = self.dev.lib.bpfsim_sysctlbyname
        assert stats(b"net.bpf.stats", None, ctypes.byref(size), None, 0) == 0
        room = ctypes.create_string_buffer(size.value)
        assert stats(b"net.bpf.stats", room, ctypes.byref(size), None, 0) == 0
        said = []
        for values in _XBPF.iter_unpack(room.raw[: size.value]):
            own, promisc, immediate, _, direction, *_ = values
            recv, drop, passed = values[7:10]
            _, slen, hlen, bufsize, pid, name = values[10:16]
            zcopy, mode = values[20:22]
            assert (own, pid) == (_XBPF.size, os.getpid())
            if name.rstrip(b"\0") == b"epair0a":
                said.append(
                    f"recv={recv} drop={drop} passed={passed} slen={slen} hlen={hlen} bufsize={bufsize} "
                    f"promisc={promisc} immediate={immediate} direction={direction} zcopy={zcopy} mode={mode}"
                )
        return "; ".join(said)

    def do_outside(self, ms: str) -> str:
        """poll() as Linux does it, without the library."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        start = time.monotonic()
        found = poller.poll(int(ms))
        revents = found[0][1] if found else 0
        return f"{revents:#x} after {(time.monotonic() - start) * 1000:.0f}"

    def do_idle(self, ms: str) -> str:
        """What the simulated kernel's threads use while nothing happens."""
        used = self.dev.lib.bpfsim_kernel_cpu_ns
        used.restype = ctypes.c_int64
        before: int = used()
        self.do_sleep(ms)
        share = (used() - before) / (int(ms) * 1_000_000)
        return "under 1 %" if share < 0.01 else f"{share:.1%}"

    def do_close_outside(self) -> str:
        """close() as Linux does it; how many descriptors are open a moment later."""
        os.close(self.fd)
        self.fd = -1
        return self.do_descriptors()

    def do_attach(self, name: str, device: str) -> str:
        return answer(self.dev.lib.bpfsim_attach_device(name.encode(), device.encode()))

    def do_wire(self, device: str, count: str, length: str, *tag: str) -> str:
        """Frames sent by Linux out of a device, to nobody in particular."""
        head = b"\x02" * 12 + (b"\x81\x00" + struct.pack(">H", int(tag[0])) if tag else b"")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((device, 0))
            for _ in range(int(count)):
                sender.send(head + b"\x88\xb5" + bytes(int(length) - len(head) - 2))
        time.sleep(0.1)
        return "ok"

    def do_delete(self, device: str) -> str:
        subprocess.run(["ip", "link", "del", device], check=True)
        time.sleep(0.2)
        return "ok"

    def do_udp_to_lo(self, size: str) -> str:
        """A datagram over Linux' loopback."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.sendto(bytes(int(size)), sender.getsockname())
        time.sleep(0.1)
        return "ok"

    def do_heard(self, device: str, count: str) -> str:
        """Frames written to the capturing descriptor, as Linux sees them on a device."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B6)) as listener:
            listener.bind((device, 0x88B6))
            listener.settimeout(5)
            for _ in range(int(count)):
                assert self.do_write("60") == "60"
            heard = [len(listener.recv(2048)) for _ in range(int(count))]
        return f"{len(heard)} of {heard[0]}"

    def do_records(self, which: str) -> str:
        """caplen and the EtherType, with what follows it, of each record."""
        size = self.header(which).kernel_len
        return " ".join(f"{len(data)}:{data[12:18].hex()}" for *_, data in self.records(which, size))

    def do_descriptors(self) -> str:
        time.sleep(0.1)
        return str(self.dev.lib.bpfsim_open_descriptors())

    def do_dup_close(self) -> str:
        """The device is there as long as a duplicate is."""
        other = os.dup(self.fd)
        self.dev.lib.bpfsim_close(self.fd)
        before = self.do_descriptors()
        os.close(other)
        self.fd = -1
        return f"{before} {self.do_descriptors()}"

    def do_child(self, *action: str) -> str:
        """An action in a forked child, which goes at once."""
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writable, str(getattr(self, f"do_{action[0]}")(*action[1:])).encode())
            os._exit(0)
        os.close(writable)
        os.waitpid(pid, 0)
        said = os.read(readable, 4096).decode()
        os.close(readable)
        return said


if __name__ == "__main__":
    main(Sources)
