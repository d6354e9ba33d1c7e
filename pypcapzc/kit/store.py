"""The cache of finished builds, one folder a key: a library and its manifest, checked when they are taken."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import manifest as manifests
from .recipe import SONAME

LICENSE = "LICENSE"


@dataclass(frozen=True)
class Stored:
    """A build in the cache."""

    library: Path
    manifest: Mapping[str, Any]


class Store:
    """The cache under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources = root / "sources"

    def work(self, key: str) -> Path:
        """Where the build with this key works; of fixed name, so that what a killed one left is found."""
        return self.root / "work" / key[:16]

    def log(self, target: str, version: str, key: str) -> Path:
        """Where its log is kept."""
        return self.root / "logs" / f"{target}-{version}-{key[:12]}.log"

    @contextmanager
    def locked(self, key: str, report: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of a key; waits while another process builds the same."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / key[:16]).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("waiting for another build of the same")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def lookup(self, key: str, report: Callable[[str], None]) -> Stored | None:
        """The build with this key, if it is there and whole."""
        folder = self.root / "builds" / key
        try:
            text = (folder / manifests.FILE).read_text()
            content = (folder / SONAME).read_bytes()
        except OSError:
            return None
        try:
            manifest = json.loads(text)
            whole = manifest["key"] == key and manifest["sha256"] == hashlib.sha256(content).hexdigest()
        except (ValueError, TypeError, KeyError):
            whole = False
        if whole:
            return Stored(folder / SONAME, manifest)
        report("the cached build is damaged: building it again")
        return None

    def save(self, key: str, library: bytes, manifest: Mapping[str, Any], license_: Path) -> Stored:
        """Put a build in, whole or not at all; the lock is held."""
        builds = self.root / "builds"
        builds.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=builds, prefix=".incoming-"))
        try:
            temporary.chmod(0o755)
            (temporary / SONAME).write_bytes(library)
            (temporary / SONAME).chmod(0o755)
            (temporary / manifests.FILE).write_text(manifests.dump(manifest))
            if license_.is_file():  # libpcap's, which has to go where the library goes
                shutil.copyfile(license_, temporary / LICENSE)
            shutil.rmtree(builds / key, ignore_errors=True)
            temporary.rename(builds / key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return Stored(builds / key / SONAME, manifest)
