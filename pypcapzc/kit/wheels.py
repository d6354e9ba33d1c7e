"""The kit's tools for a container: pinned wheels, fetched by pip on the host, and laid out as one archive."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from . import artefacts
from .artefacts import Wheel
from .failures import SourceError, ToolError
from .sources import sha256_of
from .trust import Trust

LAYOUT = 1
"""Raised when the same wheels are laid out otherwise."""

# Where things of a wheel go: its folder or file, and the name in the archive.
_PLACES = {
    "ziglang": (("ziglang/zig", "zig/zig"), ("ziglang/lib/", "zig/lib/")),
    "flex-bin": (("flex_bin-*.data/scripts/flex", "bin/flex"),),
    "bison-bin": (("bison_bin/_payload/", "bison/"),),
    "cmeel-m4": (("cmeel.prefix/bin/m4", "bin/m4"),),
    "gnumake": (("gnumake-*.data/scripts/make", "bin/make"),),
}
# Of zig's library, what is for systems that no target is.
_LEFT_OUT = (
    "zig/lib/libcxx",
    "zig/lib/libtsan",
    "zig/lib/libc/mingw",
    "zig/lib/libc/include/any-windows-any",
    "zig/lib/libc/include/any-darwin-any",
    "zig/lib/libc/include/generic-netbsd",
    "zig/lib/libc/include/generic-openbsd",
)
PROGRAMS = {
    "zig": "zig/zig",
    "flex": "bin/flex",
    "bison": "bison/bin/bison",
    "m4": "bin/m4",
    "make": "bin/make",
}
"""Where the programs lie in the archive."""


def fetched(processor: str, folder: Path, trust: Trust, report: Callable[[str], None]) -> list[Path]:
    """The pinned wheels for a processor, in this folder; those that are not there yet are fetched."""
    wanted = artefacts.wheels(processor)
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [wheel for wheel in wanted if not _right(wheel, folder)]
    if lacking:
        report(f"fetching {', '.join(wheel.name for wheel in lacking)} for the image")
        _download(lacking, folder, trust)
    for wheel in lacking:
        if not _right(wheel, folder):
            raise SourceError(
                f"pip brought no {wheel.file} with the pinned sha256: `{artefacts.REFRESH}` brings the "
                f"pins up to date"
            )
    return [folder / wheel.file for wheel in wanted]


def _right(wheel: Wheel, folder: Path) -> bool:
    path = folder / wheel.file
    return path.is_file() and sha256_of(path) == wheel.sha256


def _download(wanted: Iterable[Wheel], folder: Path, trust: Trust) -> None:
    """With pip, which checks the hashes itself."""
    requirements, tags = [], set()
    for wheel in wanted:
        requirements.append(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}")
        tags.update(wheel.file.removesuffix(".whl").rpartition("-")[2].split("."))
        (folder / wheel.file).unlink(missing_ok=True)  # a damaged one would be taken for the right one
    _pip(["--require-hashes"], requirements, sorted(tags), folder, trust)


def newest(name: str, version: str, processor: str, folder: Path, trust: Trust) -> Path:
    """A wheel that is not pinned yet, in this folder, which is empty."""
    cpu = {"amd64": "x86_64", "arm64": "aarch64"}[processor]
    tags = [f"manylinux_2_{minor}_{cpu}" for minor in range(28, 4, -1)]
    _pip([], [f"{name}=={version}"], [*tags, f"manylinux2014_{cpu}", f"manylinux2010_{cpu}"], folder, trust)
    (found,) = folder.glob("*.whl")
    return found


def _pip(more: list[str], requirements: list[str], tags: list[str], folder: Path, trust: Trust) -> None:
    if find_spec("pip") is None:
        raise ToolError(f"pip is not installed in {sys.prefix}: `{sys.executable} -m ensurepip` brings it")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), *more]
    for tag in tags:
        command += ["--platform", tag]
    with trust.bundle() as bundle:
        command += ["--cert", str(bundle)] if bundle is not None else []
        done = subprocess.run(
            [*command, "-r", "/dev/stdin"],
            input="\n".join(requirements),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (said or done.stderr.splitlines() or [f"exit code {done.returncode}"])[0]
        raise SourceError(
            f"pip cannot fetch the tools for the image ({reason.removeprefix('ERROR: ')}): see that this "
            f"machine reaches its package index (a proxy: HTTPS_PROXY; another authority: --ca-cert)"
        )


def pack(wheels: Iterable[Path], file: IO[bytes]) -> None:
    """Write the archive: always the same bits for the same wheels."""
    with tarfile.open(fileobj=file, mode="w|") as archive:
        for path in wheels:
            with zipfile.ZipFile(path) as wheel:
                for name, info in sorted(_members(path, wheel)):
                    add(archive, name, wheel.read(info), executable=_executable(name, info))


def _executable(name: str, info: zipfile.ZipInfo) -> bool:
    return name in PROGRAMS.values() or bool((info.external_attr >> 16) & 0o100)


def _members(path: Path, wheel: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    distribution = path.name.split("-")[0].replace("_", "-")
    for info in wheel.infolist():
        if info.is_dir():
            continue
        for pattern, place in _PLACES[distribution]:
            if pattern.endswith("/"):
                if not info.filename.startswith(pattern):
                    continue
                name = place + info.filename[len(pattern) :]
            elif PurePosixPath(info.filename).match(pattern):
                name = place
            else:
                continue
            if not name.startswith(_LEFT_OUT):
                yield name, info


def add(archive: tarfile.TarFile, name: str, content: bytes, *, executable: bool = False) -> None:
    """Add a file with nothing about it that could differ from one day to the next."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o755 if executable else 0o644
    archive.addfile(member, io.BytesIO(content))
