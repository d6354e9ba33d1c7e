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


def configure_call(target: Target) -> list[str]:
    """The command, to run in ``build``."""
    return ["sh", f"../{SOURCES}/configure", *configure_arguments(target)]


def compiler_flags(target: Target, work: Path) -> list[str]:
    """What the ``cc`` of a build adds to every call; should a path get in after all, it is not this one."""
    return ["-target", target.triple, f"-ffile-prefix-map={work}=libpcap"]


def environment(work: Path, path: str, zig_cache: Path) -> Mapping[str, str]:
    """The whole environment of a build: nothing of the user's gets in but PATH, for sed, awk and make."""
    return {
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


def fingerprint(target: Target) -> dict[str, object]:
    """What of the recipe shapes the result."""
    return {"triple": target.triple, "configure": configure_arguments(target)}
