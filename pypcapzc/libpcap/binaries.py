"""What kind of file is this?  Says why the dynamic linker will not take a file, before it is asked.

Its own words differ from system to system and leave out what one needs to know ("wrong ELF class").
Reads the first bytes of the file and of the running interpreter, whose like a library must be.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
from typing import NamedTuple

# e_machine (ELF specification and its registry): those that libpcap is found on.
_MACHINES = {
    2: "sparc",
    3: "i386",
    8: "mips",
    20: "powerpc",
    21: "powerpc64",
    22: "s390",
    40: "arm",
    43: "sparc64",
    62: "amd64",
    183: "arm64",
    243: "riscv",
    258: "loongarch",
}
# EI_OSABI where it is not 0 (System V) or 3 (GNU extensions), which mean the same here.
_SYSTEMS = {2: "NetBSD", 6: "Solaris", 9: "FreeBSD", 12: "OpenBSD"}
_MACH_O = {0xFEEDFACE, 0xCEFAEDFE, 0xFEEDFACF, 0xCFFAEDFE, 0xCAFEBABE, 0xBEBAFECA}


class _Elf(NamedTuple):
    """The parts of an ELF header that must be the interpreter's own."""

    bits: int
    order: str
    machine: int
    system: str | None

    def __str__(self) -> str:
        machine = _MACHINES.get(self.machine, f"machine {self.machine}")
        system = f"{self.system} on " if self.system else ""
        return f"{system}{machine} ({self.bits}-bit, {self.order}-endian)"


def _elf(head: bytes) -> _Elf | None:
    """The header of an ELF file, or None if it has none that makes sense."""
    if len(head) < 20 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order = "little" if head[5] == 1 else "big"
    (machine,) = struct.unpack_from("<H" if order == "little" else ">H", head, 18)
    return _Elf(32 * head[4], order, machine, _SYSTEMS.get(head[7]))


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


@functools.cache
def _interpreter() -> _Elf | None:
    for path in ("/proc/self/exe", sys.executable):
        try:
            if path and (elf := _elf(_head(path))):
                return elf
        except OSError:
            continue
    return None


def why_not_loadable(path: str) -> str | None:
    """Why this file cannot be loaded here, as the end of a sentence about it; None if nothing is seen."""
    if os.path.isdir(path):
        return "is a folder, not a shared library"
    try:
        head = _head(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not head:
        return "is empty"
    return _why_not_elf(head) if _interpreter() else _why_not_native(head)


def _why_not_elf(head: bytes) -> str | None:
    here = _interpreter()
    if head[:4] != b"\x7fELF":
        return f"is {_other_kind(head)}, not a shared library"
    elf = _elf(head)
    if elf is None:
        return "is a damaged ELF file"
    if here and elf[:3] != here[:3]:
        return f"is for {elf}, but this Python is for {here}"
    if elf.system and not sys.platform.startswith(elf.system.lower()):
        return f"is a {elf.system} library, but this is {sys.platform}"
    return None


def _why_not_native(head: bytes) -> str | None:
    """On macOS and Windows: only whether the kind is right; their linkers tell the rest."""
    magic = int.from_bytes(head[:4], "big")
    right = magic in _MACH_O if sys.platform == "darwin" else head[:2] == b"MZ"
    return None if right else f"is {_other_kind(head)}, not a shared library for {sys.platform}"


def _other_kind(head: bytes) -> str:
    if head[:4] == b"\x7fELF":
        return "an ELF file (Linux, BSD)"
    if int.from_bytes(head[:4], "big") in _MACH_O:
        return "a Mach-O file (macOS)"
    if head[:8] == b"!<arch>\n":
        return "a static archive"
    if head[:2] == b"MZ":
        return "a Windows file"
    if b"\0" not in head:
        return "a text file"
    return "some other kind of file"
