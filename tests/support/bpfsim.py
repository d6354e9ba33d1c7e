"""libpcap for FreeBSD on Linux: built with the simulated /dev/bpf of tests/bpfsim into one shared library.

By hand::

    python -m support.bpfsim --version 1.10.5 --out FOLDER        # from tests/, prints the library's path
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pypcapzc.kit import patching, sources, toolchain
from support import headers, patches
from support.patches import PATCHES, Workshop

HERE = Path(__file__).parent.parent / "bpfsim"
INCLUDE = HERE / "include"
SIM = HERE / "sim"

PLAIN = patches.PLAIN
SANITIZED = patches.SANITIZED
THREADS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread")
FLAGS = {"plain": PLAIN, "asan": SANITIZED, "tsan": THREADS}

SONAME = "libpcap-bpfsim.so.1"
"""Not libpcap's: the dynamic linker would take this library for the system's in a process that has it."""

WARNINGS = ("-Wall", "-Wextra", "-Werror")
WRAPPED = (
    *("open", "open64", "close", "ioctl", "read", "write", "fcntl", "fcntl64", "mmap", "mmap64", "munmap"),
    *("poll", "ppoll", "select", "pselect", "getifaddrs", "freeifaddrs", "uname"),
)
"""What libpcap's objects call is ours first."""
_FEATURES = (*patches.FEATURES, "--disable-usb", "--disable-netmap", "--with-pcap=bpf")
_FREEBSD = ("-U__linux__", "-U__linux", "-Ulinux", "-D__FreeBSD__=13")
"""libpcap's sources are to take what they have for FreeBSD, not for Linux (filters for "inbound", pipes)."""
_NOT_FREEBSD = ("PCAP_SUPPORT_NETFILTER", "PCAP_SUPPORT_LINUX_USBMON", "PCAP_SUPPORT_BT")
"""What configure finds because it runs on Linux after all."""


def why_not() -> str | None:
    """Why the simulator cannot be built here, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "the simulated BPF device needs Linux"
    if sys.maxsize < 2**32:
        return "the simulated BPF device needs a 64-bit system"
    if shutil.which("gcc") is None:
        return "the simulated BPF device needs gcc (Debian: apt-get install gcc libc6-dev)"
    return toolchain.why_not()


def require() -> None:
    """Skip the test without the simulator, or fail it where PYPCAPZC_REQUIRE names bpfsim."""
    if reason := why_not():
        if "bpfsim" in {word.strip() for word in os.environ.get("PYPCAPZC_REQUIRE", "").split(",")}:
            pytest.fail(f"PYPCAPZC_REQUIRE names 'bpfsim', but {reason}", pytrace=False)
        pytest.skip(reason)


def _digest(*parts: str | bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode() if isinstance(part, str) else part)
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def _content(folder: Path, *suffixes: str) -> bytes:
    """A digest of what the files of a folder hold."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (not suffixes or path.suffix in suffixes or path.name == "configure"):
            sha.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return sha.digest()


@contextmanager
def _locked(root: Path, name: str) -> Iterator[None]:
    with (root / f".lock-{name}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def with_zero_copy(workshop: Workshop, version: str) -> Path:
    """Upstream's sources with zero-copy BPF compiled in: the patches up to the one that finds it, no more."""
    series = patching.read_series(PATCHES, version)
    last = next((n for n, patch in enumerate(series) if patch.name.startswith("0001-bpf")), -1)
    found = patches.source(version)
    key = _digest(found.sha256, *(patch.sha256 for patch in series[: last + 1]))
    tree = workshop.root / f"libpcap-{version}-zerocopy-{key}"
    with _locked(workshop.root, key):
        if not tree.exists():
            unfinished = workshop.root / f"unfinished-{tree.name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            sources.unpack(found, unfinished)
            patching.apply(series[: last + 1], unfinished, version)
            unfinished.rename(tree)
    return tree


def _with_configure(tree: Path, folder: Path) -> Path:
    """The tree, or a copy in which autoconf has made the configure that a repository lacks."""
    if (tree / "configure").exists():
        return tree
    copy = folder / "source"
    if not (copy / "configure").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tree, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        headers.run("autoreconf", "-f", "-i", cwd=copy)
    return copy


def _compile_libpcap(tree: Path, folder: Path, flags: Sequence[str]) -> Path:
    """libpcap.a, configured for BPF with our headers in the place of FreeBSD's."""
    source = _with_configure(tree, folder)
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    cflags = (*flags, *_FREEBSD, "-Wall", "-Wextra", f"-I{INCLUDE}", f"-I{source}")
    headers.run(
        *("sh", str(source / "configure"), *_FEATURES),
        *("CC=gcc", "LEX=flex", "PKG_CONFIG=false", f"CFLAGS={' '.join(cflags)}"),
        cwd=build,
        env=patches._environment(folder / "tools"),
    )
    config = build / "config.h"
    kept = [
        line for line in config.read_text().splitlines() if not any(name in line for name in _NOT_FREEBSD)
    ]
    config.write_text("\n".join((*kept, "")))
    warnings = patches.make(build, "MODULE_C_SRC=", "libpcap.a")
    (folder / "warnings.txt").write_text("\n".join(warnings))
    return build / "libpcap.a"


def build(tree: Path, folder: Path, flags: Sequence[str] = PLAIN) -> Path:
    """The shared library made from a libpcap tree; kept in the folder for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = headers.run("gcc", "--version")
    key = _digest(
        *(_content(tree, ".c", ".h", ".in", ".l", ".y", ".ac"), _content(INCLUDE), compiler),
        *(*flags, *_FEATURES, *_FREEBSD),
    )
    made = folder / f"libpcap-bpfsim-{key}"
    library = made / f"libpcap-bpfsim-{_digest(_content(SIM), SONAME)}.so"
    with _locked(folder, key):
        if not library.exists():
            made.mkdir(exist_ok=True)
            archive = made / "build" / "libpcap.a"
            if not (made / "warnings.txt").exists():
                _compile_libpcap(tree, made, flags)
            _link(_with_configure(tree, made), archive, library, flags)
    return library


def _link(tree: Path, archive: Path, library: Path, flags: Sequence[str]) -> None:
    with sources.incoming(library) as temporary:
        headers.run(
            *("gcc", "-std=gnu11", *flags, *WARNINGS, "-fPIC", "-fvisibility=hidden"),
            *(f"-I{INCLUDE}", f"-I{SIM}", f"-I{archive.parent}", f"-I{tree}"),
            *("-shared", "-Wl,-z,nodelete", f"-Wl,-soname,{SONAME}"),
            *(() if _is_sanitized(flags) else ("-Wl,-z,defs",)),
            *(f"-Wl,--wrap={name}" for name in WRAPPED),
            *("-o", str(temporary), *map(str, sorted(SIM.glob("*.c")))),
            *("-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive", "-lpthread"),
        )
    library.chmod(0o755)


def as_libpcap(library: Path) -> Path:
    """A folder for LD_LIBRARY_PATH in which the library has the names that programs look for."""
    folder = library.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name in (SONAME, "libpcap.so", "libpcap.so.1", "libpcap.so.0.8"):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(library)
    return folder


def _is_sanitized(flags: Sequence[str]) -> bool:
    return any(flag.startswith("-fsanitize=") for flag in flags)


def sanitizer_runtime(flags: Sequence[str]) -> Path | None:
    """What has to be in LD_PRELOAD when a program that is not sanitized (Python) loads the library."""
    for name, option in (("libtsan.so", "thread"), ("libasan.so", "address")):
        if any(option in flag for flag in flags if flag.startswith("-fsanitize=")):
            return Path(headers.run("gcc", f"-print-file-name={name}").strip()).resolve()
    return None


class Simulator:
    """The control interface of a loaded library (sim/bpfsim.h), with errors raised as OSError."""

    def __init__(self, library: ctypes.CDLL | Path) -> None:
        self.library = ctypes.CDLL(str(library), use_errno=True) if isinstance(library, Path) else library
        for name, restype, argtypes in _PROTOTYPES:
            function = getattr(self.library, f"bpfsim_{name}")
            function.restype = restype
            function.argtypes = argtypes

    def _call(self, name: str, *arguments: object) -> int:
        ctypes.set_errno(0)
        result: int = getattr(self.library, f"bpfsim_{name}")(*arguments)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"bpfsim_{name}: {os.strerror(error)}")
        return result

    def reset(self) -> None:
        self._call("reset")

    def add_interface(self, name: str, dlt: int = 1, mtu: int = 1500) -> None:
        self._call("add_interface", name.encode(), dlt, mtu)

    def remove_interface(self, name: str) -> None:
        self._call("remove_interface", name.encode())

    def set_up(self, name: str, up: bool) -> None:
        self._call("set_up", name.encode(), up)

    def set_peer(self, name: str, peer: str) -> None:
        self._call("set_peer", name.encode(), peer.encode())

    def attach_device(self, name: str, linux_device: str) -> None:
        self._call("attach_device", name.encode(), linux_device.encode())

    def promiscuous(self, name: str) -> int:
        return self._call("promiscuous", name.encode())

    def device_drops(self, name: str) -> int:
        return self._call("device_drops", name.encode())

    def send(self, name: str, packet: bytes, wirelen: int = 0) -> None:
        """A packet arrives; every descriptor has seen it when this returns."""
        self._call("send", name.encode(), packet, len(packet), wirelen)

    def send_outgoing(self, name: str, packet: bytes) -> None:
        self._call("send_outgoing", name.encode(), packet, len(packet))

    def queue(self, name: str, packet: bytes, wirelen: int = 0) -> None:
        self._call("queue", name.encode(), packet, len(packet), wirelen)

    def send_many(self, name: str, packets: Sequence[bytes]) -> None:
        lengths = (ctypes.c_uint32 * len(packets))(*map(len, packets))
        self._call("send_many", name.encode(), b"".join(packets), lengths, len(packets))

    def flood(
        self, name: str, count: int, shortest: int = 60, longest: int = 60, seed: int = 0, gap_us: int = 0
    ) -> None:
        """The kernel thread makes frames up; see sim/bpfsim.h for what is in them."""
        self._call("flood", name.encode(), count, shortest, longest, seed, gap_us)

    def bursts(self, name: str, count: int, length: int, burst: int, gap_us: int, pause_us: int) -> None:
        self._call("bursts", name.encode(), count, length, burst, gap_us, pause_us)

    def flood_length(self, seed: int, number: int, shortest: int, longest: int) -> int:
        return self._call("flood_length", seed, number, shortest, longest)

    def stop_flood(self) -> None:
        self._call("stop_flood")

    def set_sequence(self, name: str, number: int) -> None:
        self._call("set_sequence", name.encode(), number)

    def sequence(self, name: str) -> int:
        return self._call("sequence", name.encode())

    def drain(self, timeout_ms: int = 60_000) -> None:
        """Wait until all that was asked for has arrived."""
        self._call("drain", timeout_ms)

    def set_sysctl(self, name: str, value: int) -> None:
        self._call("set_sysctl", name.encode(), value)

    def sysctl(self, name: str) -> bytes:
        """The raw value, as sysctlbyname(3) gives it."""
        size = ctypes.c_size_t()
        self._call("sysctlbyname", name.encode(), None, ctypes.byref(size), None, 0)
        room = ctypes.create_string_buffer(max(1, size.value))
        self._call("sysctlbyname", name.encode(), room, ctypes.byref(size), None, 0)
        return room.raw[: size.value]

    def fail(self, command: int, error: int, times: int = -1) -> None:
        self._call("fail", command, error, times)

    def fail_open(self, error: int, times: int = -1) -> None:
        self._call("fail_open", error, times)

    def set_minors(self, number: int) -> None:
        self._call("set_minors", number)

    def count(self, kind: str, command: int = 0) -> int:
        """How often libpcap made this system call since reset_counts()."""
        return self._call("count", kind.encode(), command)

    def reset_counts(self) -> None:
        self._call("reset_counts")

    def child_calls(self) -> int:
        return self._call("child_calls")

    def kernel_cpu_ns(self) -> int:
        return self._call("kernel_cpu_ns")

    def open_descriptors(self) -> int:
        return self._call("open_descriptors")

    def set_outside_poller(self, on: bool) -> None:
        self._call("set_outside_poller", on)


_NAME = ctypes.c_char_p
_INT = ctypes.c_int
_PROTOTYPES: tuple[tuple[str, object, list[object]], ...] = (
    ("reset", _INT, []),
    ("add_interface", _INT, [_NAME, _INT, _INT]),
    ("remove_interface", _INT, [_NAME]),
    ("set_up", _INT, [_NAME, _INT]),
    ("set_peer", _INT, [_NAME, _NAME]),
    ("attach_device", _INT, [_NAME, _NAME]),
    ("promiscuous", _INT, [_NAME]),
    ("device_drops", ctypes.c_int64, [_NAME]),
    ("send", _INT, [_NAME, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]),
    ("send_outgoing", _INT, [_NAME, ctypes.c_char_p, ctypes.c_size_t]),
    ("queue", _INT, [_NAME, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t]),
    ("send_many", _INT, [_NAME, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint32), _INT]),
    ("flood", _INT, [_NAME, ctypes.c_uint64, _INT, _INT, ctypes.c_uint32, _INT]),
    ("bursts", _INT, [_NAME, ctypes.c_uint64, _INT, _INT, _INT, _INT]),
    ("flood_length", _INT, [ctypes.c_uint32, ctypes.c_uint32, _INT, _INT]),
    ("stop_flood", _INT, []),
    ("set_sequence", _INT, [_NAME, ctypes.c_uint32]),
    ("sequence", ctypes.c_int64, [_NAME]),
    ("drain", _INT, [_INT]),
    ("set_sysctl", _INT, [_NAME, _INT]),
    (
        "sysctlbyname",
        _INT,
        [_NAME, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t],
    ),
    ("fail", _INT, [ctypes.c_ulong, _INT, _INT]),
    ("fail_open", _INT, [_INT, _INT]),
    ("set_minors", _INT, [_INT]),
    ("count", ctypes.c_int64, [_NAME, ctypes.c_ulong]),
    ("reset_counts", _INT, []),
    ("child_calls", ctypes.c_int64, []),
    ("kernel_cpu_ns", ctypes.c_int64, []),
    ("open_descriptors", _INT, []),
    ("set_outside_poller", _INT, [_INT]),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", default=patches.NEWEST, help="of libpcap (default: %(default)s)")
    parser.add_argument("--tree", type=Path, help="build this tree instead")
    parser.add_argument(
        "--patches", choices=["all", "zerocopy", "none"], default="all", help="which of them (%(default)s)"
    )
    parser.add_argument("--flags", choices=list(FLAGS), default="plain")
    parser.add_argument("--out", type=Path, required=True, help="a folder, also for what is kept")
    options = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    tree = options.tree
    if tree is None:
        workshop = Workshop(options.out)
        if options.patches == "zerocopy":
            tree = with_zero_copy(workshop, options.version)
        else:
            tree = workshop.tree(options.version, patched=options.patches == "all")
    print(build(tree.absolute(), options.out.absolute(), FLAGS[options.flags]))


if __name__ == "__main__":
    main()
