"""libpcap's headers as the tests see them: compiled by cc, and parsed by pycparser.

The installed headers, and with PYPCAPZC_SOURCES naming a folder of libpcap trees those of each tree.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The system headers that libpcap's include, reduced to the names that its declarations use: real ones
# are full of compiler extensions that a C parser does not know.
_FAKE_TYPES = """
typedef unsigned char u_char; typedef unsigned short u_short; typedef unsigned int u_int;
typedef unsigned long u_long; typedef struct FILE FILE; typedef void *HANDLE;
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef uint8_t u_int8_t; typedef uint16_t u_int16_t; typedef uint32_t u_int32_t; typedef uint64_t u_int64_t;
typedef unsigned long size_t; typedef long intptr_t; typedef unsigned long SOCKET;
struct timeval; struct sockaddr; struct addrinfo;
"""
_FAKE_HEADERS = [
    "sys/types.h",
    "sys/time.h",
    "sys/socket.h",
    "netdb.h",
    "netinet/in.h",
    "arpa/inet.h",
    "stdio.h",
    "stdint.h",
    "inttypes.h",
    "string.h",
    "time.h",
    "winsock2.h",
    "ws2tcpip.h",
    "windef.h",
    "io.h",
    "net/bpf.h",
]

# gcc's and clang's extensions, defined away.
_NO_EXTENSIONS = ["-D__attribute__(x)=", "-D__attribute(x)=", "-D__extension__=", "-D__inline=inline"]

HEADERS = ("pcap", "bpf", "namedb", "sll", "vlan", "usb", "bluetooth", "can_socketcan", "ipnet", "nflog")


def compiler() -> str:
    """The C compiler's command."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "cc"


def run(*command: str | Path, **options: Any) -> str:
    """Run a command; its standard output, or an AssertionError with what it said."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
    return done.stdout


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pypcapzc-headers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def why_not() -> str | None:
    """Why there is no compiling against libpcap's headers here, or None if there is."""
    try:
        run(compiler(), "-fsyntax-only", "-x", "c", "-", input="#include <pcap/pcap.h>\n")
    except (OSError, AssertionError) as error:
        return f"needs a C compiler and libpcap's headers (Debian: apt-get install gcc libpcap-dev): {error}"
    return None


def shared_library(folder: Path, name: str, source: str, *flags: str) -> Path:
    """Compile C source to a shared library."""
    made = folder / name
    run(compiler(), "-shared", "-fPIC", "-o", made, "-x", "c", "-", "-x", "none", *flags, input=source)
    return made


@dataclass(frozen=True)
class Tree:
    """One set of headers: ``include`` has a folder ``pcap``."""

    name: str
    include: Path
    version: tuple[int, ...] | None = None
    source: Path | None = None

    def flags(self) -> list[str]:
        return [f"-I{self.include}"]


@functools.cache
def installed() -> Tree:
    """The headers that the compiler finds by itself."""
    text = run(compiler(), "-E", "-x", "c", "-", input="#include <pcap/pcap.h>\n")
    found = re.search(r'"(/[^"\n]*)/pcap/pcap\.h"', text)
    assert found, "the preprocessor does not say where pcap/pcap.h is"
    # A folder with nothing else in it, so that no other system header comes in through it.
    folder = _temporary_folder()
    (folder / "pcap").symlink_to(Path(found[1]) / "pcap")
    return Tree("installed", folder)


def source_trees() -> list[Tree]:
    """The libpcap trees from 1.1 on in the folder that PYPCAPZC_SOURCES names."""
    root = os.environ.get("PYPCAPZC_SOURCES")
    trees = []
    for header in sorted(Path(root).glob("*/pcap/pcap.h")) if root else []:
        tree = header.parent.parent
        # The folder's name first: the VERSION in 1.8.1 says 1.9.0.
        version = re.search(r"libpcap-(\d+)\.(\d+)\.(\d+)$", tree.name) or re.match(
            r"(\d+)\.(\d+)(?:\.(\d+))?", (tree / "VERSION").read_text()
        )
        assert version, tree
        numbers = tuple(int(part or 0) for part in version.groups())
        if numbers >= (1, 1):
            trees.append(Tree(tree.name, tree, numbers, tree))
    return trees


@functools.cache
def _fake_libc() -> Path:
    folder = _temporary_folder()
    for name in _FAKE_HEADERS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#include <pypcapzc_types.h>\n")
    (folder / "pypcapzc_types.h").write_text(f"#pragma once\n{_FAKE_TYPES}")
    return folder


def _system_flags(system: str) -> list[str]:
    return {
        "linux": ["-D__linux__=1", "-U_WIN32", "-DINET6=1"],
        "win32": ["-U__linux__", "-D_WIN32=1", "-DWIN32=1"],
    }[system]


@functools.cache
def parsed(tree: Tree, system: str = "linux") -> Any:
    """pycparser's syntax tree of all the headers of a tree, as that system sees them."""
    from pycparser import CParser

    names = [name for name in HEADERS if (tree.include / "pcap" / f"{name}.h").exists()]
    source = "".join(f"#include <pcap/{name}.h>\n" for name in names)
    flags = ["-E", "-P", "-nostdinc", f"-I{_fake_libc()}", *tree.flags(), *_NO_EXTENSIONS]
    text = run(compiler(), *flags, *_system_flags(system), "-x", "c", "-", input=source)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return CParser().parse(text)


def macros(tree: Tree, header: str, *flags: str) -> dict[str, str]:
    """The macros with a value that a header defines itself, unexpanded."""
    command = [
        compiler(),
        "-E",
        "-dD",
        "-nostdinc",
        f"-I{_fake_libc()}",
        *tree.flags(),
        *flags,
        "-x",
        "c",
        "-",
    ]
    text = run(*command, input=f"#include <pcap/{header}.h>\n")
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if line.startswith("# "):
            inside = f"/pcap/{header}.h" in line
        elif inside and (macro := re.match(r"#define (\w+) (\S.*)", line)):
            found[macro[1]] = macro[2]
    return found
