"""For tests of the build kit: whether builds can run here, and stand-ins for tarballs, pins, engines."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from pypcapzc.kit import recipe, toolchain
from pypcapzc.kit.engines import Job
from pypcapzc.kit.targets import Target


def why_not() -> str | None:
    """Why libpcap cannot be built here."""
    return toolchain.why_not()


def absent(reason: str) -> NoReturn:
    """Skip, or fail where kit tests are required: for what only a try can tell."""
    if "kit" in {word.strip() for word in os.environ.get("PYPCAPZC_REQUIRE", "").split(",")}:
        pytest.fail(f"PYPCAPZC_REQUIRE names 'kit', but {reason}", pytrace=False)
    pytest.skip(reason)


def shared_home(factory: pytest.TempPathFactory) -> Path:
    """A PYPCAPZC_HOME for this run of the tests: what one file's tests have built, another's need not."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kit-home"


def base_system(folder: Path) -> Path:
    """A base.txz as FreeBSD's is laid out, of what zig has: its headers, and the stubs that it links with."""
    zig = toolchain.find().zig.path
    root, cache = folder / "root", folder / "zig"
    include, lib, usr = root / "usr" / "include", root / "lib", root / "usr" / "lib"
    for made in (lib, usr):
        made.mkdir(parents=True)
    headers = zig.parent / "lib" / "libc" / "include"
    shutil.copytree(headers / "generic-freebsd", include)
    shutil.copytree(headers / "x86_64-freebsd-none", include, dirs_exist_ok=True)
    (folder / "empty.c").write_text("")
    # libc wants these of the program's start file.
    (folder / "start.c").write_text("char *__progname, **environ; void _start(void) {}\n")

    def cc(*arguments: str) -> None:
        subprocess.run(
            [str(zig), "cc", "-target", "x86_64-freebsd.14.0", *arguments],
            cwd=folder,
            env={"PATH": os.defpath, "ZIG_GLOBAL_CACHE_DIR": str(cache), "HOME": str(folder)},
            check=True,
            capture_output=True,
        )

    cc("-shared", "-o", "empty.so", "empty.c")
    (stubs,) = {path.parent for path in cache.rglob("libc.so.7")}
    for stub in stubs.glob("lib*.so.*"):
        shutil.copyfile(stub, lib / stub.name)
        (usr / stub.name.rpartition(".")[0]).symlink_to(f"../../lib/{stub.name}")
    (usr / "libpthread.so").symlink_to("libthr.so")
    for name in ("crti", "crtn", "crtbeginS", "crtendS", "crt1", "Scrt1", "crtbegin", "crtend"):
        cc("-c", "-o", str(usr / f"{name}.o"), "start.c" if name.endswith("crt1") else "empty.c")
    subprocess.run([str(zig), "ar", "rc", str(usr / "libc_nonshared.a"), str(usr / "crti.o")], check=True)
    (usr / "libc.so").unlink()
    (usr / "libc.so").write_text("/* as FreeBSD's */\nGROUP ( /lib/libc.so.7 /usr/lib/libc_nonshared.a )\n")
    (root / "bin").mkdir()
    (root / "bin" / "sh").write_text("not wanted")
    with tarfile.open(folder / "base.txz", "w:xz", preset=0) as archive:
        archive.add(root, ".")
    return folder / "base.txz"


PCAP_C = "".join(f"line {number}\n" for number in range(1, 41))


def tarball(path: Path, version: str, files: Mapping[str, str] | None = None) -> Path:
    """A small archive laid out as libpcap's."""
    content = {"VERSION": f"{version}\n", "configure": "#!/bin/sh\n", "pcap.c": PCAP_C, **(files or {})}
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as archive:
        for name, text in content.items():
            member = tarfile.TarInfo(f"libpcap-{version}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def patches(folder: Path, version: str, sha256: str, series: Mapping[str, str] | None = None) -> Path:
    """A folder with one pin, of an archive that is nowhere to be had, and one series."""
    (folder / "series").mkdir(parents=True)
    (folder / "sources.toml").write_text(
        f'[[versions."{version}".tarballs]]\nfile = "libpcap-{version}.tar.xz"\nsha256 = "{sha256}"\n'
    )
    for name, text in (series or {}).items():
        (folder / name).write_text(text)
    (folder / "series" / version).write_text("".join(f"{name}\n" for name in series or ()))
    return folder


def changing(number: int, file: str = "pcap.c", after: str | None = None) -> str:
    """A patch to PCAP_C that changes this line, made with the lines around it."""
    before = [f" line {near}\n" for near in range(number - 3, number)]
    behind = [f" line {near}\n" for near in range(number + 1, number + 4)]
    changed = f"-line {number}\n+{after or f'LINE {number}'}\n"
    hunk = f"@@ -{number - 3},7 +{number - 3},7 @@\n{''.join(before)}{changed}{''.join(behind)}"
    return f"Description: a test\n\n--- a/{file}\n+++ b/{file}\n{hunk}"


class FakeEngine:
    """Makes a 'library' of the patched pcap.c."""

    name = "fake"

    def __init__(self, act: Callable[[Job], None] = lambda job: None, version: str = "1") -> None:
        self.act = act
        self.version = version
        self.built = 0

    def versions(self) -> dict[str, str]:
        return {"cc": self.version}

    def identity(self, target: Target) -> dict[str, str]:
        return self.versions()

    def sysroot(self, target: Target) -> str:
        return "none"

    def build(self, job: Job) -> Path:
        self.built += 1
        self.act(job)
        return job.work / recipe.SOURCES / "pcap.c"
