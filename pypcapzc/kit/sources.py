"""Finding libpcap's sources, and making sure that they are what their pin says.

In this order: the file that was given, ``PYPCAPZC_SOURCES``, the cache, upstream's site, Debian's archive.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import debian, signatures
from .failures import SourceError, SourceFileError, is_full
from .pins import Pin, Tarball
from .trust import Trust

VARIABLE = "PYPCAPZC_SOURCES"
_PATIENCE = 10.0
"""Seconds to wait for a site that does not answer."""
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Source:
    """Sources at hand: a tarball, or a tree of the user's own."""

    version: str
    """What its VERSION says: the pin's, or that with ``-PRE-GIT`` behind it."""
    path: Path
    sha256: str
    """Of the tarball; of names and contents of all files for a tree."""
    origin: str
    """``file``, ``PYPCAPZC_SOURCES``, ``cache``, ``upstream`` or ``debian``."""
    verified: bool
    """Whether the hash is a pinned one: not so for a tree."""
    signature: str

    def as_dict(self) -> dict[str, object]:
        """For the manifest, without this machine's path."""
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "origin": self.origin,
            "verified": self.verified,
            "signature": self.signature,
        }


def find(
    pin: Pin,
    cache: Path,
    given: Path | None = None,
    keys: Path | None = None,
    report: Callable[[str], None] = print,
    trust: Trust | None = None,
) -> Source:
    """Sources of the pinned version.  ``keys`` is a folder with public keys for signatures."""
    if given is not None:
        return _given(pin, given, keys)
    if found := _in_folder_of_user(pin, keys) or _cached(pin, cache, keys):
        return found
    if not pin.tarballs:
        raise SourceError(_empty(pin))
    reasons: list[str] = []
    cache.mkdir(parents=True, exist_ok=True)
    trust = trust or Trust()
    for origin, fetch in (("upstream", _from_upstream), ("debian", _from_debian)):
        for tarball in pin.tarballs:
            try:
                fetch(tarball, cache, report, trust)
                return _verified(pin, cache / tarball.file, origin, keys)
            except SourceError as error:
                reasons.append(str(error))
    raise SourceError(
        f"no sources of libpcap {pin.version}: {'; '.join(reasons)}. Fetch {pin.tarballs[0].file} elsewhere "
        f"and give it with --source, or put it into a folder that {VARIABLE} names"
    )


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _given(pin: Pin, path: Path, keys: Path | None) -> Source:
    if not path.exists():
        raise SourceFileError(f"{path}: there is no such file; --source takes libpcap's tarball")
    if path.is_dir():
        return _tree(pin, path, "file")
    return _verified(pin, path, "file", keys)


def _verified(pin: Pin, path: Path, origin: str, keys: Path | None) -> Source:
    """The tarball, if its hash is pinned and its signature, where there is one to check, is good."""
    if not pin.tarballs:
        raise SourceError(f"{path} is not taken: {_empty(pin)}")
    sha256 = sha256_of(path)
    if sha256 not in pin.hashes():
        raise SourceError(_mismatch(pin, path, sha256))
    return Source(pin.version, path, sha256, origin, True, signatures.check(path, keys))


def _empty(pin: Pin) -> str:
    return (
        f"the pin of libpcap {pin.version} is empty: nobody has read the sha256 of its tarball yet. Give a "
        f"tree (upstream's repository at libpcap-{pin.version}) with --source, or put it into a folder that "
        f"{VARIABLE} names"
    )


def _mismatch(pin: Pin, path: Path, sha256: str) -> str:
    inside = _version_inside(path)
    if inside is not None and inside != pin.version:
        return (
            f"{path} is libpcap {inside}, not {pin.version}: give the tarball of {pin.version}, "
            f"or build that version with --libpcap {inside}"
        )
    pinned = " or ".join(pin.hashes())
    return (
        f"{path} is not libpcap {pin.version} as published: its sha256 is {sha256}, pinned is {pinned}; "
        f"it is damaged or was changed: fetch it again"
    )


def _version_inside(path: Path) -> str | None:
    """The version that a tarball says it is, for messages."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.count("/") == 1 and member.name.endswith("/VERSION"):
                    file = archive.extractfile(member)
                    return file.read(64).decode(errors="replace").strip() if file else None
    except (tarfile.TarError, OSError, EOFError):
        pass
    return None


def _in_folder_of_user(pin: Pin, keys: Path | None) -> Source | None:
    """From ``PYPCAPZC_SOURCES``: a pinned tarball, else a tree of that version."""
    if not (name := os.environ.get(VARIABLE)):
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise SourceFileError(f"{VARIABLE} names {folder}, which is no folder")
    known = {name for tarball in pin.tarballs for name in (tarball.file, *tarball.names)}
    candidates = known | {path.name for path in folder.glob(f"libpcap?{pin.version}*.tar.*")}
    tarballs = [path for path in sorted(folder / name for name in candidates) if path.is_file()]
    for path in tarballs:
        if sha256_of(path) in pin.hashes():
            return _verified(pin, path, VARIABLE, keys)
    trees = [path for path in sorted(folder.iterdir()) if _is(_version_of_tree(path), pin.version)]
    if trees:
        return _tree(pin, trees[0], VARIABLE)
    for path in tarballs:
        # Named as if it were the one: better to say that it is not than to take another.
        if path.suffix not in (".asc", ".sig"):
            return _verified(pin, path, VARIABLE, keys)
    return None


def _version_of_tree(path: Path) -> str | None:
    try:
        return (path / "VERSION").read_text().strip() if _has_configure(path) else None
    except OSError:
        return None


def _has_configure(path: Path) -> bool:
    """Or what it is made of: upstream's repository does not have the script."""
    return (path / "configure").is_file() or (path / "configure.ac").is_file()


def _is(found: str | None, version: str) -> bool:
    """Whether a tree is of that version, or of the repository on its way there."""
    return found in (version, f"{version}-PRE-GIT")


def _tree(pin: Pin, path: Path, origin: str) -> Source:
    version = _version_of_tree(path)
    if version is None:
        raise SourceError(f"{path} is no libpcap tree: VERSION, or configure, is not there")
    if not _is(version, pin.version):
        raise SourceError(
            f"{path} is libpcap {version}, not {pin.version}: choose it with --libpcap {version}"
        )
    return Source(version, path, _sha256_of_tree(path), origin, False, "none: a tree")


def _sha256_of_tree(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and ".git" not in file.relative_to(path).parts:
            digest.update(f"{sha256_of(file)}  {file.relative_to(path)}\n".encode())
    return digest.hexdigest()


def _cached(pin: Pin, cache: Path, keys: Path | None) -> Source | None:
    for tarball in pin.tarballs:
        path = cache / tarball.file
        if not path.is_file():
            continue
        if sha256_of(path) == tarball.sha256:
            return _verified(pin, path, "cache", keys)
        path.unlink()  # damaged on the disk: have it again
    return None


@contextmanager
def incoming(path: Path) -> Iterator[Path]:
    """A name to write to; what is there afterwards becomes ``path`` in one step."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _from_upstream(tarball: Tarball, cache: Path, report: Callable[[str], None], trust: Trust) -> None:
    if tarball.url is None:
        raise SourceError(f"no address of {tarball.file} is known")
    report(f"fetching {tarball.url}")
    download(tarball.url, cache / tarball.file, tarball.sha256, trust)
    with suppress(SourceError):  # the manifest says that there was none
        download(f"{tarball.url}.sig", cache / f"{tarball.file}.sig", None, trust)


def download(url: str, path: Path, sha256: str | None, trust: Trust, largest: int = _LARGEST) -> None:
    """Fetch a file; it is kept only if it has this hash."""
    try:
        with incoming(path) as temporary:
            _fetch(url, temporary, trust, largest)
            if sha256 is not None and (found := sha256_of(temporary)) != sha256:
                raise SourceError(f"{url} is not what is pinned: its sha256 is {found}")
    except (OSError, http.client.HTTPException) as error:
        if is_full(error):
            raise
        raise SourceError(f"{url} cannot be reached ({getattr(error, 'reason', None) or error})") from error


def _fetch(url: str, path: Path, trust: Trust, largest: int) -> None:
    with (
        urllib.request.urlopen(url, timeout=_PATIENCE, context=trust.context()) as answer,
        path.open("wb") as file,
    ):
        while chunk := answer.read(1 << 16):
            file.write(chunk)
            if file.tell() > largest:
                raise OSError(f"more than {largest} bytes")


def _from_debian(tarball: Tarball, cache: Path, report: Callable[[str], None], _trust: Trust) -> None:
    if tarball.debian is None:
        raise SourceError(f"no Debian release has {tarball.file}")
    with debian.fetched(tarball.debian, report) as files:
        ours = [path for path in files if path.name in tarball.names and sha256_of(path) == tarball.sha256]
        if not ours:
            raise SourceError(
                f"Debian {tarball.debian.suite} no longer has {' or '.join(tarball.names)} as pinned"
            )
        signature = ours[0].with_name(f"{ours[0].name}.asc")
        for path, name in ((signature, f"{tarball.file}.asc"), (ours[0], tarball.file)):
            if path.is_file():
                with incoming(cache / name) as temporary:
                    shutil.copyfile(path, temporary)
        key = debian.signing_key(files)
        if key is not None:
            with incoming(cache / f"{tarball.file}.key") as temporary:
                temporary.write_bytes(key)


def unpack(source: Source, tree: Path) -> None:
    """Lay a copy of the sources out at ``tree``."""
    if source.path.is_dir():
        shutil.copytree(source.path, tree, ignore=shutil.ignore_patterns(".git"), symlinks=True)
    else:
        _extract(source.path, tree)
    version = (tree / "VERSION").read_text().strip() if (tree / "VERSION").is_file() else "something else"
    if version != source.version:
        raise SourceError(
            f"{source.path} is pinned as libpcap {source.version} but contains {version}: correct the pin"
        )


def bootstrap(tree: Path) -> None:
    """Have autoconf make the ``configure`` that upstream's repository, other than a tarball, lacks.

    To be called when the patches are in: they change configure.ac.
    """
    if (tree / "configure").exists():
        return
    if (program := shutil.which("autoreconf")) is None:
        raise SourceError(
            "the tree has no configure script, and there is no autoreconf here to make it: install autoconf "
            "(Debian: apt-get install autoconf), or run ./autogen.sh in the tree"
        )
    done = subprocess.run(
        [program, "-f", "-i"], cwd=tree, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode or not (tree / "configure").exists():
        raise SourceError(f"autoreconf makes no configure script of the tree: {done.stderr.strip()[-300:]}")
    shutil.rmtree(tree / "autom4te.cache", ignore_errors=True)


def _extract(path: Path, tree: Path) -> None:
    aside = tree.with_name(f"{tree.name}.unpacking")
    try:
        with tarfile.open(path) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(aside, filter="data")
            else:  # Python 3.10 and 3.11 as first released; only pinned tarballs come here
                archive.extractall(aside)
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{path} cannot be unpacked ({error}): fetch it again") from error
    tops = list(aside.iterdir())
    if len(tops) != 1:
        raise SourceError(
            f"{path} holds {len(tops)} things at its top, not one folder: it is no release of libpcap"
        )
    tops[0].rename(tree)
    aside.rmdir()
