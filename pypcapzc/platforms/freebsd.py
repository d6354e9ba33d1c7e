"""FreeBSD: BPF with zero-copy mode (bpf(4), BPF_BUFMODE_ZBUF)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from ..libpcap.loader import libc
from .base import Clipping, Descriptor, Kernel
from .bpf import BPF

_UINT = struct.calcsize("I")
_POINTER = struct.calcsize("P")


def _ioc(direction: int, number: int, size: int) -> int:
    """sys/ioccom.h"""
    return direction | (size & 0x1FFF) << 16 | ord("B") << 8 | number


def _ior(number: int, size: int) -> int:
    return _ioc(0x40000000, number, size)


def _iow(number: int, size: int) -> int:
    return _ioc(0x80000000, number, size)


# net/bpf.h
BIOCGBLEN = _ior(102, _UINT)
BIOCGETIF = _ior(107, 32)
BIOCGSTATS = _ior(111, 2 * _UINT)
BIOCGRSIG = _ior(114, _UINT)
BIOCSRSIG = _iow(115, _UINT)
BIOCGHDRCMPLT = _ior(116, _UINT)
BIOCGDIRECTION = _ior(118, _UINT)
BIOCGETBUFMODE = _ior(125, _UINT)
BIOCSETBUFMODE = _iow(126, _UINT)
BIOCGETZMAX = _ior(127, struct.calcsize("N"))
BIOCSETFNR = _iow(130, 2 * _POINTER)  # struct bpf_program, padded
BPF_BUFMODE_BUFFER, BPF_BUFMODE_ZBUF = 1, 2
_MODES = {BPF_BUFMODE_BUFFER: "buffer", BPF_BUFMODE_ZBUF: "zbuf"}

_ZBUF_PAGES = 512
"""bpf_zerocopy.c, BPF_MAX_PAGES: no sysctl changes it."""
_ZBUF_HEADER = 32
"""sizeof(struct bpf_zbuf_header)."""
_SIGNALS = 32
"""BIOCSRSIG takes numbers below NSIG, which is 32 at least."""

Sysctlbyname = Callable[..., int]


class XbpfD(ctypes.Structure):
    """net/bpfdesc.h, struct xbpf_d: the same in FreeBSD 8 and 13.2; its spare room is there to keep it so."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("bd_structsize", ctypes.c_uint),
        ("bd_promisc", ctypes.c_ubyte),
        ("bd_immediate", ctypes.c_ubyte),
        ("bd_pad", ctypes.c_ubyte * 6),
        ("bd_hdrcmplt", ctypes.c_int),
        ("bd_direction", ctypes.c_int),
        ("bd_feedback", ctypes.c_int),
        ("bd_async", ctypes.c_int),
        ("bd_rcount", ctypes.c_uint64),
        ("bd_dcount", ctypes.c_uint64),
        ("bd_fcount", ctypes.c_uint64),
        ("bd_sig", ctypes.c_int),
        ("bd_slen", ctypes.c_int),
        ("bd_hlen", ctypes.c_int),
        ("bd_bufsize", ctypes.c_int),
        ("bd_pid", ctypes.c_int32),
        ("bd_ifname", ctypes.c_char * 16),
        ("bd_locked", ctypes.c_int),
        ("bd_wcount", ctypes.c_uint64),
        ("bd_wfcount", ctypes.c_uint64),
        ("bd_wdcount", ctypes.c_uint64),
        ("bd_zcopy", ctypes.c_uint64),
        ("bd_bufmode", ctypes.c_int),
        ("bd_spare", ctypes.c_uint64 * 4),
    ]


class UnknownError(Exception):
    """Which entry of net.bpf.stats is a descriptor's cannot be told: the message says why."""


_marking = threading.Lock()
"""Two threads that mark descriptors at a time would mix them up."""


class FreeBSD(BPF):
    """BPF with zero-copy mode."""

    def __init__(self, name: str = "freebsd") -> None:
        super().__init__(name)

    # --- what a simulated device does in another way -------------------------------------------------

    @property
    def sysctlbyname(self) -> Sysctlbyname:
        """sysctlbyname(3), which sets ctypes' errno."""
        return prototype_of_sysctlbyname(("sysctlbyname", libc()))

    def ioctl(self, fd: int, request: int, argument: bytearray) -> None:
        """ioctl(2); raises OSError."""
        import fcntl

        fcntl.ioctl(fd, request, argument, True)

    # --- sysctls -------------------------------------------------------------------------------------

    def sysctl(self, name: str) -> int | None:
        """An integer sysctl, or None where the kernel has none of that name."""
        value, size = ctypes.c_int(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        found = self.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
        return value.value if found == 0 else None

    def descriptors(self) -> list[XbpfD]:
        """net.bpf.stats: all descriptors of this system that are bound to an interface.

        Raises OSError (EPERM: it is for root alone), UnknownError for a layout that is not ours.
        """
        name, size = b"net.bpf.stats", ctypes.c_size_t()
        for _ in range(10):
            self._check(self.sysctlbyname(name, None, ctypes.byref(size), None, 0))
            size.value += 16 * ctypes.sizeof(XbpfD)  # some may be opened meanwhile
            room = ctypes.create_string_buffer(size.value)
            if self.sysctlbyname(name, room, ctypes.byref(size), None, 0) == 0:
                return _entries(room.raw[: size.value])
            if ctypes.get_errno() != errno.ENOMEM:
                break
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    # --- before a capture ----------------------------------------------------------------------------

    def kernel(self) -> Kernel:
        enabled = self.sysctl("net.bpf.zerocopy_enable")
        if enabled is None:
            return Kernel("none", False, ("this kernel has no zero-copy BPF",))
        if not enabled:
            reason = "the kernel has zero-copy BPF, but net.bpf.zerocopy_enable is 0"
            return Kernel("bpf_zbuf", False, (reason,), ENABLE)
        usable, proof = self._trial()
        return Kernel("bpf_zbuf", usable, (f"net.bpf.zerocopy_enable is 1 ({proof})",))

    def _trial(self) -> tuple[bool, str]:
        """Whether a descriptor can be put into zero-copy mode, as far as this user can try, and in words."""
        try:
            fd, _, _ = self.open_device()
        except OSError:
            return True, "not tried: no device could be opened"
        try:
            self._put(fd, BIOCSETBUFMODE, BPF_BUFMODE_ZBUF)
            self.ioctl(fd, BIOCGETZMAX, bytearray(struct.calcsize("N")))
        except OSError as error:
            return False, f"but the kernel refuses it: {error.strerror}"
        finally:
            self.close(fd)
        return True, "tried on a descriptor"

    def limits(self) -> dict[str, int]:
        asked = {name: self.sysctl(name) for name in ("net.bpf.maxbufsize", "net.bpf.bufsize")}
        found = {name: value for name, value in asked.items() if value is not None}
        if self.sysctl("net.bpf.zerocopy_enable") is not None:
            found["BIOCGETZMAX"] = _ZBUF_PAGES * mmap.PAGESIZE
        return found

    def tuning(self) -> tuple[str, ...]:
        if self.sysctl("net.bpf.maxbufsize") is None:
            return ()
        return (
            "sysctl net.bpf.maxbufsize=4194304   # larger buffers without zero-copy",
            "echo net.bpf.maxbufsize=4194304 >> /etc/sysctl.conf   # for good",
        )

    # --- an open capture -----------------------------------------------------------------------------

    def _get(self, fd: int, request: int) -> int | None:
        argument = bytearray(_UINT)
        try:
            self.ioctl(fd, request, argument)
        except OSError:
            return None
        return int(struct.unpack("I", argument)[0])

    def _put(self, fd: int, request: int, value: int) -> None:
        self.ioctl(fd, request, bytearray(struct.pack("I", value)))

    def descriptor(self, fd: int, device: str) -> Descriptor | None:
        mode, size = self._get(fd, BIOCGETBUFMODE), self._get(fd, BIOCGBLEN)
        counted = bytearray(2 * _UINT)
        try:
            self.ioctl(fd, BIOCGSTATS, counted)
        except OSError:
            return None  # not a BPF descriptor
        try:
            entry, how = self._entry(fd, device)
        except (OSError, UnknownError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            received, dropped = struct.unpack("II", counted)
            how = f"BIOCGSTATS, BIOCGBLEN and BIOCGETBUFMODE on it; net.bpf.stats: {why}"
            return Descriptor(_MODES.get(mode or 0), size, received, dropped, how=how)
        return Descriptor(
            _MODES.get(entry.bd_bufmode),
            entry.bd_bufsize,
            entry.bd_rcount,
            entry.bd_dcount,
            entry.bd_fcount,
            entry.bd_zcopy,
            how,
        )

    def _entry(self, fd: int, device: str) -> tuple[XbpfD, str]:
        """The entry of a descriptor in net.bpf.stats.

        An entry has no number of its own.  The kernel notes in it which process used the descriptor last,
        which is this one, just now; if that and what ioctls tell fits one entry alone, it must be that.  If
        it fits several, one property of the descriptor that otherwise has no effect is changed for a moment
        (the number of a signal that is sent only after FIOASYNC), and seen to change.
        """
        with _marking:
            entries = self._candidates(fd, device)
            if not entries:
                raise UnknownError("it is not in there, as its interface is gone")
            if len(entries) == 1:
                return entries[0], "net.bpf.stats, the only entry of this process that fits"
            before = self._get(fd, BIOCGRSIG)
            if before is None or any(entry.bd_async for entry in entries):
                raise UnknownError(f"{len(entries)} entries fit")
            free = set(range(1, _SIGNALS)) - {entry.bd_sig for entry in entries}
            mark = max(free, default=0)
            if not mark:
                raise UnknownError(f"{len(entries)} entries fit")
            self._put(fd, BIOCSRSIG, mark)
            try:
                marked = self._candidates(fd, device, mark)
            finally:
                self._put(fd, BIOCSRSIG, before)
        if len(marked) != 1:
            raise UnknownError(f"{len(entries)} entries fit, and {len(marked)} bear the mark")
        return marked[0], f"net.bpf.stats, one of {len(entries)} entries that fit, known by a mark"

    def _candidates(self, fd: int, device: str, mark: int | None = None) -> list[XbpfD]:
        """The entries that may be the descriptor's."""
        asked = {
            "bd_bufmode": self._get(fd, BIOCGETBUFMODE),
            "bd_bufsize": self._get(fd, BIOCGBLEN),
            "bd_hdrcmplt": self._get(fd, BIOCGHDRCMPLT),
            "bd_direction": self._get(fd, BIOCGDIRECTION),
            "bd_pid": os.getpid(),
            "bd_sig": mark,
        }
        name = bytearray(32)
        with contextlib.suppress(OSError):
            self.ioctl(fd, BIOCGETIF, name)
        wanted = bytes(name).split(b"\0")[0] or os.fsencode(device)
        known = {field: value for field, value in asked.items() if value is not None}
        return [
            entry
            for entry in self.descriptors()
            if entry.bd_ifname == wanted
            and all(getattr(entry, field) == value for field, value in known.items())
        ]

    def clipping(self, asked: int, granted: int, shared: bool) -> Clipping | None:
        if granted >= asked:
            return None
        if shared:
            return Clipping(
                f"each of the two shared buffers has {_ZBUF_PAGES} pages at most (BIOCGETZMAX), which no "
                "sysctl changes"
            )
        limit = self.sysctl("net.bpf.maxbufsize")
        name = "net.bpf.maxbufsize"
        return Clipping(
            f"{name}, which is {limit}, limits it",
            (f"sysctl {name}={asked}", f"echo {name}={asked} >> /etc/sysctl.conf   # for good"),
        )

    def hangs_unpatched(self, fd: int) -> str | None:
        # pcap_read_bpf() starts all over again where no buffer is handed over: in 1.10.6 as in 1.11.
        if self._get(fd, BIOCGETBUFMODE) != BPF_BUFMODE_ZBUF:
            return None
        return (
            "it would use zero-copy BPF, and an unpatched one does not return from a read until packets "
            "come; sysctl net.bpf.zerocopy_enable=0 lets it capture without, and `pypcapzc build` makes one "
            "that is right"
        )

    def stop_inflow(self, fd: int) -> bool:
        # BIOCSETFNR keeps what was captured, and the counters, which BIOCSETF does not.
        reject = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\0\0", 8)  # one instruction: ret #0
        try:
            self.ioctl(fd, BIOCSETFNR, bytearray(struct.pack("@IP", 1, ctypes.addressof(reject))))
        except OSError:
            return False
        return True

    def library_mechanism(self, version_text: str) -> str | None:
        words = version_text.replace(",", " ").replace("(", " ").split()
        return "bpf_zbuf" if "zerocopy" in words and "without zerocopy" not in version_text else None


ENABLE = (
    "sysctl net.bpf.zerocopy_enable=1",
    "echo net.bpf.zerocopy_enable=1 >> /etc/sysctl.conf   # for good",
)

prototype_of_sysctlbyname = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
    use_errno=True,
)


def _entries(data: bytes) -> list[XbpfD]:
    size = ctypes.sizeof(XbpfD)
    if not data:
        return []
    told = struct.unpack_from("I", data)[0] if len(data) >= _UINT else 0
    if told != size or len(data) % size:
        raise UnknownError(f"its entries have {told} bytes, and those that are known have {size}")
    return [XbpfD.from_buffer_copy(data, offset) for offset in range(0, len(data), size)]
