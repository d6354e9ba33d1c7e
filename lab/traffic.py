"""Sends bounded test traffic: frames into a private namespace, or datagrams to 127.0.0.1.

From Python: ``Sender`` (needs root, and a namespace made by lab.netns) and ``send_loopback``
(any user).  As a process of its own, so that a consumer is not disturbed by the sender's work:

    python -m lab.traffic --device zc1 --count 1000000 --size 64

prints one JSON object.  What was sent follows from the arguments: see lab.frames.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab import frames, netns

if TYPE_CHECKING:
    from types import TracebackType

_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_LARGEST_COUNT = 1_000_000_000
_STUCK_AFTER = 10.0  # seconds in which the kernel accepts nothing
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Sent:
    """What a call sent: ``packets`` is exactly the number that the kernel accepted."""

    packets: int
    bytes: int
    first: int
    """Sequence number of the first packet; the last one has first + packets - 1."""
    seconds: float
    retries: int
    """How often the kernel had no room and was asked again."""


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("sent", ctypes.c_uint))


class _Outbox:
    """PERIOD frames ready to go, in one buffer, and what sendmmsg(2) wants to know about them.

    Each frame begins 6 bytes into its slot: the sequence number then lies on an 8-byte boundary,
    and one strided assignment writes the numbers of all frames.
    """

    _LEAD = 6

    def __init__(self, sizes: list[int]) -> None:
        self._stride = -(-(self._LEAD + max(sizes)) // 8) * 8
        self._memory = (ctypes.c_char * (frames.PERIOD * self._stride))()
        self._vectors = (_IoVec * frames.PERIOD)()
        self._messages = (_MMsgHdr * frames.PERIOD)()
        self._words = memoryview(self._memory).cast("B").cast("Q")
        address = ctypes.addressof(self._memory)
        for slot, size in enumerate(sizes):
            start = slot * self._stride + self._LEAD
            ctypes.memmove(address + start, frames.expected(slot, size), size)
            self._vectors[slot].base, self._vectors[slot].length = address + start, size
            message = self._messages[slot].header
            message.iov, message.iovlen = ctypes.addressof(self._vectors[slot]), 1

    def number(self, slot: int, count: int, sequence: int) -> None:
        """Writes sequence numbers into ``count`` frames from ``slot`` on."""
        step, offset = self._stride // 8, (self._LEAD + frames.SEQUENCE_OFFSET) // 8
        begin = slot * step + offset
        numbers = struct.pack(f">{count}Q", *range(sequence, sequence + count))
        self._words[begin : begin + (count - 1) * step + 1 : step] = memoryview(numbers).cast("Q")

    def message(self, slot: int) -> ctypes.c_void_p:
        """Where the message of this slot lies."""
        return ctypes.c_void_p(ctypes.addressof(self._messages) + slot * ctypes.sizeof(_MMsgHdr))


class Sender:
    """Sends numbered frames out of a device, in the namespace of the calling thread.

    Sequence numbers go on from call to call, beginning with ``first``.
    """

    def __init__(
        self, device: str, size: frames.Size = 64, *, seed: int = 1, first: int = 0, qdisc_bypass: bool = True
    ) -> None:
        netns.require_both_ends(device)
        self.sequence = first
        self._sizes = frames.size_table(size, seed)
        self._outbox = _Outbox(self._sizes)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: receives nothing
        try:
            if qdisc_bypass:
                self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            self._socket.bind((device, 0))
        except BaseException:
            self._socket.close()
            raise

    def send(self, count: int) -> Sent:
        """Sends exactly ``count`` frames as fast as the kernel takes them."""
        if not 0 <= count <= _LARGEST_COUNT:
            raise ValueError(f"count must be 0 to {_LARGEST_COUNT}, not {count}")
        first, began = self.sequence, time.perf_counter()
        retries = self._send_until(first + count)
        return self._report(first, began, retries)

    def pace(self, rate: float, duration: float) -> Sent:
        """Sends ``rate`` frames a second, in even small steps, for ``duration`` seconds."""
        count = round(rate * duration)
        if not 0 <= count <= _LARGEST_COUNT:
            raise ValueError(f"rate times duration must be 0 to {_LARGEST_COUNT}, not {count}")
        first, began, retries = self.sequence, time.perf_counter(), 0
        while (done := self.sequence - first) < count:
            due = min(count, int((time.perf_counter() - began) * rate) + 1)
            if due > done:
                retries += self._send_until(first + due)
            else:
                next_frame = began + done / rate
                time.sleep(max(0.0, min(next_frame - time.perf_counter(), 0.05), 0.0005))
        return self._report(first, began, retries)

    def _report(self, first: int, began: float, retries: int) -> Sent:
        seconds, count = time.perf_counter() - began, self.sequence - first
        return Sent(count, frames.total_bytes(self._sizes, count, first), first, seconds, retries)

    def _send_until(self, end: int) -> int:
        retries = 0
        while self.sequence < end:
            slot = self.sequence % frames.PERIOD
            count = min(end - self.sequence, frames.PERIOD - slot)
            self._outbox.number(slot, count, self.sequence)
            retries += self._flush(slot, count)
        return retries

    def _flush(self, slot: int, count: int) -> int:
        """Hands ``count`` frames to the kernel; how often it had to be asked again."""
        retries, patience = 0, 0.0
        descriptor = self._socket.fileno()
        while count:
            sent = self._sendmmsg(descriptor, self._outbox.message(slot), count, 0)
            if sent > 0:
                slot, count, patience = slot + sent, count - sent, 0.0
                self.sequence += sent
                continue
            number = ctypes.get_errno()
            if number not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
                raise OSError(number, f"sending frame {self.sequence}: {os.strerror(number)}")
            retries += 1
            patience = patience or time.monotonic() + _STUCK_AFTER
            if time.monotonic() > patience:
                raise TimeoutError(f"the kernel has accepted no frame for {_STUCK_AFTER:g} s")
            time.sleep(0)
        return retries

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def send_frames(device: str, packets: list[bytes]) -> None:
    """Sends these frames as they are, one by one, in the namespace of the calling thread."""
    netns.require_both_ends(device)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as outlet:
        outlet.bind((device, 0))
        for packet in packets:
            outlet.send(packet)


def send_loopback(
    count: int, size: frames.Size = 64, *, rate: float = 0.0, seed: int = 1, port: int = 0
) -> Sent:
    """Sends UDP datagrams to 127.0.0.1, as any user may; ``rate`` 0 is full speed.

    ``size`` counts the 42 bytes of headers too: what follows them is as in lab.frames.expected().
    The datagrams go to a socket of our own, which nobody reads, so that no ICMP error comes back.
    """
    if not 0 <= count <= _LARGEST_COUNT:
        raise ValueError(f"count must be 0 to {_LARGEST_COUNT}, not {count}")
    sizes = frames.size_table(size, seed)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outlet,
    ):
        sink.bind(("127.0.0.1", port))
        outlet.connect(sink.getsockname())
        began = time.perf_counter()
        for number in range(count):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            outlet.send(frames.expected(number, sizes[number % frames.PERIOD])[frames.SEQUENCE_OFFSET :])
    return Sent(count, frames.total_bytes(sizes, count), 0, time.perf_counter() - began, 0)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts ``python -m lab.traffic`` with these arguments, in the namespace of the calling thread."""
    command = [sys.executable, "-m", "lab.traffic", *arguments]
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 60.0) -> Sent:
    """Waits for what start() returned: what it sent.  It is killed when the time is up."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"the sender failed with exit code {process.returncode}")
    return Sent(**json.loads(output))


def _send(options: argparse.Namespace, count: int) -> Sent:
    if options.loopback:
        return send_loopback(count, options.size, rate=options.rate, seed=options.seed, port=options.port)
    with Sender(
        options.device,
        options.size,
        seed=options.seed,
        first=options.first,
        qdisc_bypass=not options.qdisc,
    ) as sender:
        return sender.pace(options.rate, count / options.rate) if options.rate else sender.send(count)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.traffic", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--device", help="a device in a private network namespace")
    where.add_argument("--loopback", action="store_true", help="datagrams to 127.0.0.1 instead")
    parser.add_argument("--count", type=int, help="how many packets, at full speed without --rate")
    parser.add_argument("--rate", type=float, default=0.0, help="packets a second")
    parser.add_argument("--duration", type=float, help="seconds (with --rate)")
    parser.add_argument(
        "--size", type=frames.parse_size, default=64, help="bytes: 64, or 60-1500 for random sizes"
    )
    parser.add_argument("--port", type=int, default=0, help="of --loopback; 0: any free one")
    parser.add_argument("--seed", type=int, default=1, help="of the random sizes")
    parser.add_argument("--first", type=int, default=0, help="first sequence number")
    parser.add_argument("--qdisc", action="store_true", help="send through the queueing discipline")
    options = parser.parse_args(arguments)
    if options.count is None and not (options.rate and options.duration):
        parser.error("say how much to send: --count, or --rate and --duration")
    count = options.count if options.count is not None else round(options.rate * options.duration)
    try:
        sent = _send(options, count)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(sent)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
