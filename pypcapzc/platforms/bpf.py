"""BSD's and macOS's packet filter devices."""

from __future__ import annotations

import errno
import os
import re

from .base import CounterMeanings, Kernel, Permission, Platform

CLONING_DEVICE = "/dev/bpf"
_MOST_DEVICES = 256
"""Where a system has numbered devices only, more are not tried."""


class BPF(Platform):
    """BPF without zero-copy mode."""

    counts_before_filter = True
    yields_partial_buffers = True

    def __init__(self, name: str) -> None:
        self.name = name

    # --- what a simulated device does in another way -------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        """open(2); raises OSError."""
        return os.open(path, flags | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """close(2)."""
        os.close(fd)

    # -------------------------------------------------------------------------------------------------

    def open_device(self) -> tuple[int, str, bool]:
        """A descriptor that is bound to nothing, its device, and whether it can also send.

        As bpf_open() in libpcap's pcap-bpf.c does it: the cloning device, else the first numbered one that
        nobody has.  Raises OSError: ENOENT where there is none at all, EBUSY where all are in use.
        """
        try:
            return self._open_either_way(CLONING_DEVICE)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        for number in range(_MOST_DEVICES):
            try:
                return self._open_either_way(f"{CLONING_DEVICE}{number}")
            except OSError as error:
                if error.errno == errno.ENOENT and number:
                    break
                if error.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), f"{CLONING_DEVICE}*")

    def _open_either_way(self, path: str) -> tuple[int, str, bool]:
        try:
            return self.open(path, os.O_RDWR), path, True
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
        return self.open(path, os.O_RDONLY), path, False

    def kernel(self) -> Kernel:
        return Kernel("none", False, (f"{self.name}'s kernel does not lend its capture buffers",))

    def permission(self) -> Permission:
        try:
            fd, device, sends = self.open_device()
        except OSError as error:
            return self._refused(error)
        self.close(fd)
        who = "root" if os.geteuid() == 0 else "file permissions"
        return Permission(True, f"{who}: {device} was opened{'' if sends else ', for reading only'}")

    def _refused(self, error: OSError) -> Permission:
        if error.errno == errno.ENOENT:
            return Permission(False, "there is no /dev/bpf device", _DEVFS)
        if error.errno == errno.EBUSY:
            return Permission(False, "all /dev/bpf devices are in use", _CLOSE_OTHERS)
        if error.errno in (errno.EACCES, errno.EPERM):
            group = "sudo chgrp NAME /dev/bpf* && sudo chmod g+rw /dev/bpf*"
            device = error.filename or CLONING_DEVICE
            return Permission(False, f"{device} may not be opened by this user", f"run as root, or: {group}")
        return Permission(False, f"{error.filename or CLONING_DEVICE} cannot be opened: {error.strerror}")

    @property
    def counters(self) -> CounterMeanings:
        # bpf(4), BIOCGSTATS
        return CounterMeanings(
            "packets that reached the device, whether they passed the filter or not",
            "packets that passed the filter and found no room in the buffers",
            "not counted on this system: always 0",
        )

    def library_mechanism(self, version_text: str) -> str | None:
        return None

    def remedy(self, complaint: str) -> str | None:
        return next((what for pattern, what in _REMEDIES if re.search(pattern, complaint)), None)

    def bring_up(self, device: str) -> str:
        return f"ifconfig {device} up"


_DEVFS = "in a jail, a devfs rule has to show it: path 'bpf*' unhide (devfs.rules(5))"
_CLOSE_OTHERS = "close other captures; fstat /dev/bpf* lists the programs that have one"

# What pcap_activate() says, by the words of pcap-bpf.c.
_REMEDIES = (
    (r"there are no BPF devices", _DEVFS),
    (r"all BPF devices are busy|cannot open.*(busy|Too many open files)", _CLOSE_OTHERS),
    (
        r"BIOCSETZBUF|BIOCGETZMAX|^mmap\b",
        "the kernel does not share these buffers; a smaller buffer_size may do, "
        "and mode='buffered' works without",
    ),
    (r"buffer size.*too large|BIOCSBLEN", "ask for a smaller buffer_size"),
)
