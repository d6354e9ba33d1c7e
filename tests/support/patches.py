"""For tests of the patches: libpcap trees, stock and patched, compiled with the system's C compiler."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pypcapzc import paths
from pypcapzc.kit import data, patching, pins, sources, toolchain
from pypcapzc.kit.failures import SourceError
from support import headers, kit

PATCHES = data.patches_dir()
VERSIONS = patching.versions(PATCHES)
"""Those with a series.  Not all have a tarball whose hash is known: see source()."""


def age(version: str) -> tuple[int, ...]:
    """For putting versions in order."""
    return tuple(map(int, version.split(".")))


NEWEST = max(
    (version for version in VERSIONS if pins.pin_of(PATCHES, version, tree_will_do=True).tarballs), key=age
)
"""The newest that can be fetched: the one that is tested most."""
PROGRAMS = Path(__file__).parent.parent / "patches" / "csrc"

BUILDS = "PYPCAPZC_TEST_BUILDS"
"""Names a folder in which builds are kept from one run of the tests to the next."""
_PACKETS = "PYPCAPZC_PACKETS"
"""How many packets the differential tests send in all."""

WARNINGS = ("-Wall", "-Wextra")
PLAIN = ("-O2", "-g")
SANITIZED = (
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
)
THREADED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread")
FEATURES = ("--disable-dbus", "--disable-rdma", "--disable-bluetooth", "--without-libnl")
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99",
}


def packets(default: int = 200_000) -> int:
    """How many packets the differential tests send, in all their variants together."""
    return int(os.environ.get(_PACKETS, "0").replace("_", "")) or default


def opted_in(variable: str) -> bool:
    """Whether the environment asks for a test that takes long."""
    return os.environ.get(variable, "") not in ("", "0")


@dataclass(frozen=True)
class Built:
    """A compiled libpcap."""

    version: str
    source: Path
    build: Path
    flags: tuple[str, ...]
    warnings: tuple[str, ...]
    """What the compiler warned of."""

    @property
    def library(self) -> Path:
        """The shared library."""
        return self.build / f"libpcap.so.{(self.source / 'VERSION').read_text().strip()}"

    @property
    def archive(self) -> Path:
        """The static one."""
        return self.build / "libpcap.a"

    def environment(self, **more: str) -> dict[str, str]:
        """An environment in which programs find this library, whichever of its names they look for."""
        folder = self.build / "names"
        folder.mkdir(exist_ok=True)
        for name in ("libpcap.so", "libpcap.so.1", "libpcap.so.0.8"):
            link = folder / name
            if not link.is_symlink():
                link.symlink_to(self.library)
        return {**os.environ, **SANITIZER_OPTIONS, "LD_LIBRARY_PATH": str(folder), **more}

    def program(self, name: str, *libraries: str, against: Built | None = None) -> Path:
        """One of the C programs in tests/patches/csrc, compiled with the flags of this build.

        It is name.c and its parts, name_*.c.  Its headers are those of ``against``, by default of this one.
        """
        tree = (against or self).source
        code = [PROGRAMS / f"{name}.c", *sorted(PROGRAMS.glob(f"{name}_*.c"))]
        texts = [path.read_text() for path in (*code, *sorted(PROGRAMS.glob("*.h")))]
        made = self.build / f"{name}-{_digest(*texts, str(tree), *libraries)}"
        if not made.exists():
            with sources.incoming(made) as temporary:
                headers.run(
                    # libpcap 1.11 asks for more results to be looked at than these programs do.
                    *("gcc", *self.flags, *WARNINGS, "-Werror", "-Wno-unused-result"),
                    *(f"-I{tree}", "-o", str(temporary)),
                    *(*map(str, code), *libraries),
                )
            made.chmod(0o755)
        return made

    def testprogram(self, name: str) -> Path:
        """One of libpcap's own test programs, linked with this library."""
        make(self.build / "testprogs", name)
        return self.build / "testprogs" / name


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def source(version: str) -> sources.Source:
    """The verified sources of a version; skips (or fails, where kit tests are required) without them.

    Of a version whose pin is empty there is nothing to fetch: the sources are a tree of the user's, or the
    test is skipped whatever is required.
    """
    pin = pins.pin_of(PATCHES, version, tree_will_do=True)
    try:
        return sources.find(pin, paths.cache_dir() / "kit" / "sources", keys=PATCHES / "keys")
    except SourceError as error:
        if not pin.tarballs:
            pytest.skip(str(error))
        kit.absent(str(error))
        raise AssertionError("not reached") from error


def _environment(tools: Path) -> Mapping[str, str]:
    """For configure and make: flex and bison are the kit's."""
    found = toolchain.find()
    tools.mkdir(exist_ok=True)
    for name, tool in (("flex", found.flex), ("bison", found.bison)):
        wrapper = tools / name
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(str(tool.path))} "$@"\n')
        wrapper.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "M4": str(found.m4.path),
        "LC_ALL": "C",
        "CONFIG_SITE": "/dev/null",
    }


def configure(tree: Path, build: Path, flags: Sequence[str]) -> None:
    """Configure a tree in a folder of its own."""
    build.mkdir(parents=True)
    headers.run(
        *("sh", str(tree / "configure"), f"--prefix={build / 'installed'}", *FEATURES),
        *("CC=gcc", "LEX=flex", "PKG_CONFIG=false", f"CFLAGS={' '.join((*flags, *WARNINGS))}"),
        cwd=build,
        env=_environment(build.parent / "tools"),
    )


def make(build: Path, *goals: str, folder: Path | None = None) -> list[str]:
    """Run make in a configured folder: the warnings that the compiler gave."""
    done = subprocess.run(
        ["make", "-j2", *goals],
        cwd=build,
        env=dict(_environment((folder or build).parent / "tools")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"make {' '.join(goals)} in {build}\n{done.stdout[-2000:]}\n{done.stderr}"
    return [line for line in done.stderr.splitlines() if ": warning: " in line]


class Workshop:
    """Makes each build once, in the temporary folder given, or in the one that PYPCAPZC_TEST_BUILDS names."""

    def __init__(self, temporary: Path) -> None:
        kept = os.environ.get(BUILDS)
        self.root = Path(kept).expanduser().absolute() if kept else temporary
        self.root.mkdir(parents=True, exist_ok=True)

    def tree(self, version: str, *, patched: bool) -> Path:
        """The sources, laid out."""
        series = patching.read_series(PATCHES, version) if patched else ()
        found = source(version)
        key = _digest(found.sha256, *(patch.sha256 for patch in series))
        tree = self.root / f"libpcap-{version}-{'patched' if patched else 'stock'}-{key}"
        with self._locked(key):
            if not tree.exists():
                unfinished = self.root / f"unfinished-{tree.name}"
                shutil.rmtree(unfinished, ignore_errors=True)
                sources.unpack(found, unfinished)
                patching.apply(series, unfinished, version)
                sources.bootstrap(unfinished)
                unfinished.rename(tree)
        return tree

    def get(self, version: str, flags: Sequence[str] = PLAIN, *, patched: bool = True) -> Built:
        """A build of a version."""
        tree = self.tree(version, patched=patched)
        key = _digest(tree.name, *flags, *FEATURES, headers.run("gcc", "--version"))
        build = self.root / f"build-{version}-{key}"
        said = build / "warnings.txt"
        with self._locked(key):
            if not said.exists():
                shutil.rmtree(build, ignore_errors=True)
                configure(tree, build, flags)
                said.write_text("\n".join(make(build, "libpcap.a", "shared")))
        return Built(version, tree, build, tuple(flags), tuple(said.read_text().splitlines()))

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with (self.root / f".lock-{key}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
