"""How libpcap is configured and compiled: the same in every engine, so that the bits are the same.

In: whatever the target's own headers suffice for (usbmon and netfilter on Linux, netmap on FreeBSD), as in
the libraries that systems ship.  Out: what needs libraries that a build from the kit's tools does not have
(D-Bus, RDMA, Bluetooth, libnl, DAG, Septel, Myricom, TurboCap, DPDK) and remote capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .targets import Target

SONAME = "libpcap.so.1"
"""Upstream's, on every system.  (FreeBSD's base calls its own libpcap.so.8.)"""

SOURCES = "src"
"""The patched tree, beside ``build`` in the folder of a build: configure is called by a relative path, so
that no absolute one gets into the result."""
BUILD = "build"
TOOLS = "tools"
LIBC_FILE = "libc.txt"

CFLAGS = ("-O2", "-g0")
# Without -S the debugging information of zig's own libc stubs, paths and all, would come along.
LDFLAGS = ("-Wl,-S", "-Wl,--build-id=none")

_FEATURES = (
    "--enable-ipv6",
    "--disable-remote",
    "--disable-dbus",
    "--disable-rdma",
    "--disable-bluetooth",
    "--without-libnl",
    "--without-dag",
    "--without-septel",
    "--without-snf",
    "--without-turbocap",
    "--without-dpdk",
)
_OF_SYSTEM = {
    "linux": ("--enable-usb", "--disable-netmap"),
    "freebsd": ("--disable-usb", "--enable-netmap"),
}


def configure_arguments(target: Target) -> list[str]:
    """What ``configure`` is called with, for the manifest too: no path of the build is in it."""
    return [
        # Named even where both are this machine: nothing that configure compiles is run, anywhere.
        "--build=x86_64-pc-linux-gnu",
        f"--host={target.configure_host}",
        "--prefix=/usr/local",
        f"--with-pcap={target.pcap}",
        "--enable-shared",
        *_FEATURES,
        *_OF_SYSTEM[target.system],
        "CC=cc",
        "AR=ar",
        "RANLIB=ranlib",
        "LEX=flex",
        "PKG_CONFIG=false",
        f"CFLAGS={' '.join(CFLAGS)}",
        f"LDFLAGS={' '.join(LDFLAGS)}",
    ]


def compiler_flags(target: Target, work: Path) -> list[str]:
    """What the ``cc`` of a build adds to every call; should a path get in after all, it is not this one."""
    # zig links programs for musl statically unless told otherwise, and then compiles all of musl first, a
    # minute of work, for configure's tests alone; the library is linked with libc.so in any case.
    link = ["-dynamic"] if target.triple.endswith("-musl") else []
    return ["-target", target.triple, *link, f"-ffile-prefix-map={work}=libpcap"]


def environment(work: Path, path: str, zig_cache: Path, *, own_headers: bool = False) -> Mapping[str, str]:
    """The whole environment of a build: nothing of the user's gets in but PATH, for sed, awk and make.

    ``own_headers``: the target's headers and libraries are those that the libc file names.
    """
    return {
        **({"ZIG_LIBC": str(work / TOOLS / LIBC_FILE)} if own_headers else {}),
        "PATH": f"{work / TOOLS}:{path}",
        "HOME": str(work),
        "TMPDIR": str(work / "tmp"),
        "LC_ALL": "C",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "315532800",
        "CONFIG_SITE": "/dev/null",
        "ZIG_GLOBAL_CACHE_DIR": str(zig_cache),
        "ZIG_LOCAL_CACHE_DIR": str(zig_cache),
    }


def write_libc_file(tools: Path, sysroot: Path) -> None:
    """Tell zig whose headers and libraries to take in place of its own (see ``zig libc --help``)."""
    settings = {
        "include_dir": sysroot / "usr" / "include",
        "sys_include_dir": sysroot / "usr" / "include",
        "crt_dir": sysroot / "usr" / "lib",
        **dict.fromkeys(("cc_dir", "msvc_lib_dir", "kernel32_lib_dir", "darwin_sdk_dir"), ""),
    }
    (tools / LIBC_FILE).write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def sysroot_name(target: Target, zig: str) -> str:
    """Whose headers and libraries a target is built against, for the manifest and the key."""
    return f"{zig}: {target.libc}" if target.sysroot is None else target.sysroot.name


def fingerprint(target: Target) -> dict[str, object]:
    """What of the recipe shapes the result."""
    return {"triple": target.triple, "configure": configure_arguments(target)}
