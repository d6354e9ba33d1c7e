"""FreeBSD's own headers and libraries, taken out of a release's base.txz, in place of zig's.

Only what libpcap can use is taken: all headers, the start files, and the C library with those that belong to
it.  /usr/lib/libc.so is a linker script that names files by absolute paths; here they lie beside it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from .. import paths
from . import artefacts, sources
from .artefacts import Archive
from .failures import PinError, SourceError, SourceFileError, UnknownTargetError
from .targets import Target
from .trust import Trust

_LIBRARIES = re.compile(
    r"lib(c|c_nonshared|sys|thr|pthread|m|util|rt|dl|execinfo|gcc|gcc_s|gcc_eh|ssp_nonshared|compiler_rt|netmap)"
    r"\.(a|so(\.\d+)?)"
)
_SCRIPT = re.compile(rb"/(?:usr/)?lib/(?=lib)")
_LARGEST_SCRIPT = 4096


@dataclass(frozen=True)
class Sysroot:
    """The base system of a release, verified."""

    release: str
    sha256: str
    path: Path
    """Of base.txz."""

    @property
    def name(self) -> str:
        """For the manifest and the key."""
        return f"FreeBSD {self.release} base.txz {self.sha256}"

    def folder(self) -> Path:
        """Laid out in the cache."""
        folder = paths.cache_dir() / "kit" / "sysroots" / self.sha256[:16]
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".incoming-"))
            try:
                with self.archive() as file, tarfile.open(fileobj=file) as archive:
                    for member in archive:
                        place = temporary / member.name
                        place.parent.mkdir(parents=True, exist_ok=True)
                        if member.issym():
                            place.symlink_to(member.linkname)
                        elif (content := archive.extractfile(member)) is not None:
                            place.write_bytes(content.read())
                temporary.chmod(0o755)
                os.rename(temporary, folder)
            except OSError:
                if not folder.is_dir():  # made by another meanwhile
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @contextmanager
    def archive(self) -> Iterator[IO[bytes]]:
        """What is taken of it, as an archive; always the same bits."""
        with tempfile.TemporaryFile() as file:
            _write(self.path, file)
            file.seek(0)
            yield file


def _write(base: Path, file: IO[bytes]) -> None:
    try:
        with tarfile.open(base) as whole, tarfile.open(fileobj=file, mode="w") as archive:
            names = set()
            for member in whole:
                name = _wanted(member)
                if name is None or name in names:
                    continue
                names.add(name)
                _add(archive, name, member, whole)
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{base} cannot be read ({error}): fetch it again") from error
    if not {"usr/include/sys/param.h", "usr/lib/libc.so", "usr/lib/libc.so.7", "usr/lib/crti.o"} <= names:
        raise SourceError(f"{base} is no base system of FreeBSD: headers, libc or start files are missing")


def _wanted(member: tarfile.TarInfo) -> str | None:
    """The name that it gets, if it is wanted."""
    path = PurePosixPath(member.name.removeprefix("./"))
    if ".." in path.parts or path.is_absolute() or not (member.isfile() or member.issym() or member.islnk()):
        return None
    name = str(path)
    if name.startswith("usr/include/"):
        return name
    if str(path.parent) in ("lib", "usr/lib") and (
        _LIBRARIES.fullmatch(path.name) or re.fullmatch(r"S?crt\w*\.o|gcrt1\.o", path.name)
    ):
        return f"usr/lib/{path.name}"
    return None


def _add(archive: tarfile.TarFile, name: str, member: tarfile.TarInfo, whole: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo(name)
    if member.issym():
        # usr/lib/libthr.so -> ../../lib/libthr.so.3, say; those among the headers stay as they are.
        target = member.linkname
        entry.type = tarfile.SYMTYPE
        entry.linkname = PurePosixPath(target).name if name.startswith("usr/lib/") else target
        archive.addfile(entry)
        return
    content = whole.extractfile(member)
    assert content is not None
    data = content.read()
    if name.startswith("usr/lib/lib") and len(data) < _LARGEST_SCRIPT and b"GROUP" in data:
        data = _SCRIPT.sub(b"", data)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def resolve(target: Target, given: Path | None, trust: Trust, report: Callable[[str], None]) -> Target:
    """The target with the sysroot that it is to be built against; without, that is zig's."""
    if given is not None:
        if target.system != "freebsd":
            raise UnknownTargetError(f"--sysroot takes FreeBSD's base.txz; {target.name} is no FreeBSD")
        return _with(target, _given(target, given))
    if target.system != "freebsd":
        return target
    fitting = [
        archive for archive in artefacts.sysroots(target.base) if _fits(archive.release, target.release)
    ]
    at_hand = next((found for archive in fitting if (found := _at_hand(archive))), None)
    if at_hand is None and target.lacks_headers:
        at_hand = _fetched(target, fitting, trust, report)
    return _with(target, at_hand) if at_hand else target


def _fits(release: str, wanted: str | None) -> bool:
    return wanted is None or release == wanted or release.split(".")[0] == wanted


def _with(target: Target, sysroot: Sysroot) -> Target:
    return replace(target.of_release(sysroot.release), sysroot=sysroot)


def _at_hand(archive: Archive) -> Sysroot | None:
    """In the user's folder of sources, or in the cache."""
    if not archive.sha256:
        return None
    folders = [paths.cache_dir() / "kit" / "sources"]
    if named := os.environ.get(sources.VARIABLE):
        folders.insert(0, Path(named).expanduser())
    for folder in folders:
        path = folder / archive.file
        if path.is_file() and sources.sha256_of(path) == archive.sha256:
            return Sysroot(archive.release, archive.sha256, path)
    return None


def _given(target: Target, path: Path) -> Sysroot:
    if not path.is_file():
        raise SourceFileError(f"{path}: there is no such file; --sysroot takes FreeBSD's base.txz")
    sha256 = sources.sha256_of(path)
    known = artefacts.sysroots(target.base)
    for archive in known:
        if archive.sha256 == sha256:
            if not _fits(archive.release, target.release):
                raise UnknownTargetError(f"{path} is of FreeBSD {archive.release}, {target.name} is another")
            return Sysroot(archive.release, sha256, path)
    empty = [archive.release for archive in known if not archive.sha256]
    more = f"; no pin was read yet for {', '.join(empty)}: `{artefacts.REFRESH}` fills it in" if empty else ""
    raise PinError(
        f"{path} is none of the pinned base systems for {target.base}: its sha256 is {sha256}{more}"
    )


def _fetched(target: Target, fitting: list[Archive], trust: Trust, report: Callable[[str], None]) -> Sysroot:
    if not fitting:
        known = ", ".join(archive.release for archive in artefacts.sysroots(target.base)) or "none"
        raise UnknownTargetError(
            f"no headers for FreeBSD {target.release} are to hand: zig's begin with 14.0, base systems are "
            f"pinned of {known}; leave the release out: what --target {target.base} gives runs on FreeBSD "
            f"13.2 and later"
        )
    archive = fitting[0]
    if not archive.sha256:
        raise PinError(
            f"the pin of FreeBSD {archive.release}'s base.txz is empty, nobody has read its sha256 yet: "
            f"`{artefacts.REFRESH}` fills it in; or leave the release out: what --target {target.base} gives "
            f"runs on FreeBSD 13.2 and later"
        )
    cache = paths.cache_dir() / "kit" / "sources"
    cache.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in archive.urls:
        report(f"fetching {url}")
        try:
            sources.download(url, cache / archive.file, archive.sha256, trust, largest=1 << 30)
        except SourceError as error:
            reasons.append(str(error))
            continue
        return Sysroot(archive.release, archive.sha256, cache / archive.file)
    raise SourceError(
        f"no base system of FreeBSD {archive.release}: {'; '.join(reasons)}. Fetch it elsewhere and give it "
        f"with --sysroot, or put it as {archive.file} into a folder that {sources.VARIABLE} names"
    )
