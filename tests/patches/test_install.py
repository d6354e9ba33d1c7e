"""What libpcap's Makefile and CMake install: the library, the header, a man page for each routine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support import headers, patches
from support.patches import Built

pytestmark = [pytest.mark.kit, pytest.mark.cc, pytest.mark.timeout(300)]


def exported(library: Path) -> set[str]:
    """The routines of ours that a library has."""
    listed = headers.run("nm", "-D", "--defined-only", library)
    return {name for line in listed.splitlines() if (name := line.split()[-1]).startswith("pcap_zc_")}


def check(root: Path) -> None:
    """Whether a folder in which libpcap was installed has all that belongs together."""
    (library,) = {path.resolve() for path in root.rglob("libpcap.so*")}
    routines = exported(library)
    assert {"pcap_zc_abi", "pcap_zc_next", "pcap_zc_release"} <= routines
    pages = {path.stem for path in root.rglob("man3/pcap_zc_*.3pcap") if path.resolve().stat().st_size}
    assert pages == routines
    (header,) = root.rglob("include/pcap/zc.h")
    text = header.read_text()
    assert all(f"{name}(" in text for name in routines)


def test_make_install(patched: Built, tmp_path: Path) -> None:
    patches.make(patched.build, "install", f"DESTDIR={tmp_path}")
    check(tmp_path)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake (Debian: apt-get install cmake)")
def test_cmake_install(patched: Built, tmp_path: Path) -> None:
    build = tmp_path / "build"
    environment = patches._environment(tmp_path / "tools")
    without = [f"-DDISABLE_{name}=ON" for name in ("DBUS", "RDMA", "BLUETOOTH")]
    headers.run(
        *("cmake", "-S", str(patched.source), "-B", str(build), "-DBUILD_WITH_LIBNL=OFF", *without),
        env=environment,
    )
    headers.run("make", "-C", str(build), "-j2", env=environment)
    headers.run(
        "make", "-C", str(build), "install", env={**environment, "DESTDIR": str(tmp_path / "installed")}
    )
    check(tmp_path / "installed")


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff (Debian: apt-get install groff)")
def test_man_pages_are_in_order(patched: Built) -> None:
    pages = sorted(patched.source.glob("pcap_zc_*.3pcap"))
    assert pages
    for page in pages:
        text = page.read_text()
        assert text.count("\n.SH NAME\n") == text.count("\n.SH SYNOPSIS\n") == 1
        shown = headers.run(
            "groff", "-man", "-Tascii", "-ww", "-P-cbou", page, env={**os.environ, "LC_ALL": "C"}
        )
        assert page.stem in shown
