"""One build from beginning to end."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import paths
from . import (
    companion,
    data,
    engines,
    install,
    manifest,
    patching,
    pins,
    recipe,
    sources,
    sysroots,
    targets,
    verify,
)
from .engines import Engine, Job, Options, Report
from .failures import PatchError, ToolError, room_in
from .patching import Patch
from .store import LICENSE, Store, Stored
from .targets import HOST, Target
from .trust import Trust

DEFAULT_LIBPCAP = "1.10.5"


@dataclass(frozen=True)
class Request:
    """What is wanted."""

    target: str = HOST
    libpcap: str = DEFAULT_LIBPCAP
    stock: bool = False
    """Without patches, for comparison."""
    engine: str = "auto"
    source: Path | None = None
    """A tarball of the user's; it must still be the pinned one."""
    out: Path | None = None
    force: bool = False
    """Build even what is in the cache."""
    patches: Path | None = None
    """Another folder with patches and pins than ours."""
    sysroot: Path | None = None
    """FreeBSD's base.txz, in place of zig's headers and libraries."""
    base_image: str | None = None
    """The container engine's, in place of the pinned one."""
    ca_cert: Path | None = None
    """Certificate authorities in addition to the system's, for what is fetched."""

    def options(self) -> Options:
        """What of it is the engine's."""
        return Options(self.base_image, Trust(self.ca_cert))


@dataclass(frozen=True)
class Result:
    """A library that was built, checked and put in its place."""

    target: str
    libpcap: str
    stock: bool
    path: Path
    sha256: str
    size: int
    engine: str
    sysroot: str
    seconds: float
    cached: bool
    checks: list[dict[str, Any]]
    manifest: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "path": str(self.path), "manifest": str(self.path.parent / manifest.FILE)}


def _quiet(line: str) -> None:
    pass


def build(request: Request, report: Report = _quiet) -> Result:
    """Build, or take from the cache; check; install."""
    began = time.monotonic()
    run = _Run(request, report)
    with room_in(run.store.root):
        stored, cached = run.stored()
        return run.placed(stored, cached, began)


class _Run:
    """What all steps of one build share."""

    def __init__(self, request: Request, report: Report) -> None:
        self.request = request
        self.report = report
        self.trust = Trust(request.ca_cert)
        parsed = targets.parse(request.target)
        self.target: Target = sysroots.resolve(parsed, request.sysroot, self.trust, report)
        self.options = request.options()
        self.patches = request.patches or data.patches_dir()
        self.pin = pins.pin_of(self.patches, request.libpcap, tree_will_do=True)
        self.series: Sequence[Patch] = self._series()
        self.candidates = engines.candidates(request.engine, self.options)
        self.store = Store(paths.cache_dir() / "kit")

    def _series(self) -> Sequence[Patch]:
        if self.request.stock:
            return ()
        series = patching.read_series(self.patches, self.request.libpcap)
        if not series:
            raise PatchError(
                f"the series for libpcap {self.request.libpcap} is empty; --stock builds it unpatched"
            )
        return series

    def key(self, sha256: str, engine: Engine) -> str:
        """The key of the build of these sources by this engine."""
        return manifest.key_of(sha256, self.series, self.target, engine)

    def lookup(self, sha256: str) -> Stored | None:
        """What an engine that will do has made of these sources before."""
        keys = (self.key(sha256, engine) for engine in self.candidates)
        return next((found for key in keys if (found := self.store.lookup(key, self.report))), None)

    def stored(self) -> tuple[Stored, bool]:
        """The build, and whether it was in the cache."""
        if not (self.request.force or self.request.source or os.environ.get(sources.VARIABLE)):
            for sha256 in self.pin.hashes():
                if found := self.lookup(sha256):
                    return found, True
        source = sources.find(
            self.pin, self.store.sources, self.request.source, self.patches / "keys", self.report, self.trust
        )
        if not self.request.force and (found := self.lookup(source.sha256)):
            return found, True
        engine = engines.choose(self.request.engine, self.target, self.options, self.report)
        key = self.key(source.sha256, engine)
        with self.store.locked(key, self.report):
            found = None if self.request.force else self.store.lookup(key, self.report)
            return (found, True) if found else (self._made(source, key, engine), False)

    def _made(self, source: sources.Source, key: str, engine: Engine) -> Stored:
        """Unpack, patch, compile, check, keep."""
        work = self.store.work(key)
        log = self.store.log(install.folder_name(self.target.name, self.request.stock), source.version, key)
        for folder in (work.parent, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)  # what a killed build left
        work.mkdir()
        try:
            self.report(f"unpacking {source.path.name}")
            sources.unpack(source, work / recipe.SOURCES)
            if self.series:
                self.report(f"applying {len(self.series)} patches")
            applied = patching.apply(self.series, work / recipe.SOURCES, source.version)
            sources.bootstrap(work / recipe.SOURCES)
            log.write_bytes(b"")
            built = engine.build(Job(self.target, source.version, work, log, self.report)).read_bytes()
            self.report("checking")
            ours = patching.mentions(self.series, "pcap_zc_abi")
            checks = verify.check(
                built, self.target, source.version, patched=ours, forbidden=(work, paths.cache_dir())
            )
            verify.demand(checks, f"libpcap {source.version} for {self.target.name}")
            made = manifest.make(
                key=key,
                source=source,
                applied=applied,
                target=self.target,
                engine=engine,
                stock=self.request.stock,
                library=built,
                checks=[check.as_dict() for check in checks],
            )
            return self.store.save(key, built, made, work / recipe.SOURCES / LICENSE)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _companion(self) -> bytes | None:
        """The library that goes beside a patched one; it is small, and always compiled on this machine."""
        if self.request.stock:
            return None
        try:
            return companion.build(self.target)
        except ToolError as error:
            self.report(f"without the companion library, which makes Python faster: {error}")
            return None

    def placed(self, stored: Stored, cached: bool, began: float) -> Result:
        """Try it if it is for this host, and put it where it is used."""
        made = dict(stored.manifest)
        if self.request.target == HOST:
            self.report("loading it here")
            here = verify.check_on_host(stored.library)
            verify.demand(here, f"libpcap {made['libpcap']} for this host")
            made["checks"] = [*made["checks"], *(check.as_dict() for check in here)]
        extra = self._companion()
        if extra is not None:
            made["companion"] = {"file": companion.FILE, "sha256": hashlib.sha256(extra).hexdigest()}
        folders = install.destinations(self.request.target, self.request.stock, self.request.out)
        placed = [install.put(stored.library, made, extra, folder) for folder in folders]
        return Result(
            target=self.request.target,
            libpcap=made["libpcap"],
            stock=made["stock"],
            path=placed[0].absolute(),
            sha256=made["sha256"],
            size=made["size"],
            engine=made["engine"],
            sysroot=made["sysroot"],
            seconds=round(time.monotonic() - began, 2),
            cached=cached,
            checks=made["checks"],
            manifest=made,
        )
