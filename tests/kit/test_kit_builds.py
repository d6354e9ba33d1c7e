"""Real builds with the kit's own tools; each is made once and shared by the tests that look at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypcapzc import paths
from pypcapzc.kit import data, driver, failures, patching, pins, targets, verify
from pypcapzc.kit.driver import DEFAULT_LIBPCAP, Request, Result
from pypcapzc.kit.failures import NoSpaceError, SourceError, VerificationError
from support import kit
from support.patches import source as source_of

pytestmark = [pytest.mark.kit, pytest.mark.timeout(300)]

PATCHES = data.patches_dir()
VERSIONS = patching.versions(PATCHES)
Build = Callable[[Request], Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = kit.shared_home(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYPCAPZC_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def build(home: Path) -> Build:
    made: dict[Request, Result] = {}

    def once(request: Request) -> Result:
        if request not in made:
            try:
                made[request] = driver.build(request)
            except SourceError as error:
                kit.absent(str(error))
        return made[request]

    return once


@pytest.fixture(scope="module")
def source(build: Build) -> Path:
    """The tarball that the first build had to find."""
    build(Request())
    return paths.cache_dir() / "kit" / "sources" / pins.pin_of(PATCHES, DEFAULT_LIBPCAP).tarballs[0].file


def _passed(result: Result) -> dict[str, bool | None]:
    return {check["name"]: check["passed"] for check in result.checks}


@pytest.mark.parametrize("target", targets.NAMES)
def test_every_target_is_built_and_right(build: Build, target: str) -> None:
    result = build(Request(target))
    passed = _passed(result)
    tried = {name: verdict for name, verdict in passed.items() if name != "captures here"}
    assert all(tried.values()), passed
    assert passed.get("captures here") is not False
    assert ("loads here" in passed) is (target == "host")
    manifest = json.loads((result.path.parent / "manifest.json").read_text())
    assert manifest["sha256"] == kit.sha256(result.path)
    assert [patch["file"] for patch in manifest["patches"]] == [
        patch.name for patch in patching.read_series(PATCHES, DEFAULT_LIBPCAP)
    ]
    assert manifest["source"]["verified"]


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != DEFAULT_LIBPCAP])
@pytest.mark.parametrize("target", ["linux-amd64", "freebsd-amd64"])
def test_every_series_is_built(build: Build, target: str, version: str) -> None:
    source_of(version)  # or skip
    assert all(_passed(build(Request(target, version))).values())


def test_the_loader_finds_the_host_library(build: Build) -> None:
    result = build(Request())
    code = "from pypcapzc.libpcap import library; print(library().has('pcap_zc_abi'), library())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True")
    assert str(result.path) in done.stdout


def test_a_second_build_takes_no_time(build: Build) -> None:
    first = build(Request())
    again = driver.build(Request())
    assert again.cached
    assert again.seconds < 5
    assert again.sha256 == first.sha256


def test_the_same_input_gives_the_same_bits(
    build: Build, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(Request())
    elsewhere = tmp_path / "a folder with a much longer name, and blanks"
    monkeypatch.setenv("PYPCAPZC_HOME", str(elsewhere))
    again = driver.build(Request("linux-amd64", source=source))
    assert not again.cached
    assert str(again.path).startswith(str(elsewhere))
    assert again.path.read_bytes() == first.path.read_bytes()


def test_the_stock_library_has_none_of_ours(build: Build) -> None:
    stock = build(Request(stock=True))
    assert all(verdict is not False for verdict in _passed(stock).values())
    assert b"pcap_zc_" not in stock.path.read_bytes()
    assert stock.manifest["patches"] == []
    assert stock.manifest["tools"] == build(Request()).manifest["tools"]


class TestVerification:
    """A right library is wrong for another purpose."""

    def _failed(
        self, library: bytes, target: str, version: str = DEFAULT_LIBPCAP, patched: bool = True
    ) -> set[str]:
        checks = verify.check(
            library, targets.parse(target), version, patched=patched, forbidden=[Path("/usr")]
        )
        return {check.name for check in checks if check.passed is False}

    def test_another_system_and_processor(self, build: Build) -> None:
        library = build(Request("freebsd-arm64")).path.read_bytes()
        assert self._failed(library, "freebsd-arm64") == set()
        wrong = self._failed(library, "linux-amd64")
        assert wrong >= {"machine", "needed libraries", "symbol versions", "exported symbols"}

    def test_another_version_and_no_patch(self, build: Build) -> None:
        library = build(Request(stock=True)).path.read_bytes()
        assert self._failed(library, "host", "1.10.50", patched=True) == {
            "version string",
            "zero-copy symbols",
        }

    def test_newer_symbols_than_allowed(self, build: Build) -> None:
        library = build(Request()).path.read_bytes()
        assert b"GLIBC_2.14\0" in library
        newer = library.replace(b"GLIBC_2.14\0", b"GLIBC_2.34\0")
        assert self._failed(newer, "linux-amd64") == {"symbol versions"}

    def test_a_path_of_the_build(self, build: Build) -> None:
        library = build(Request()).path.read_bytes() + b"/usr/share"
        assert self._failed(library, "host") == {"no path of this machine"}

    @pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n"])
    def test_no_library(self, content: bytes) -> None:
        with pytest.raises(VerificationError, match="no ELF file"):
            self._failed(content, "linux-amd64")

    def test_what_cannot_be_loaded_here(self, build: Build) -> None:
        checks = verify.check_on_host(build(Request("freebsd-arm64")).path)
        assert [check.name for check in checks if check.passed is False] == ["loads here"]


class TestTrouble:
    def test_a_small_disk(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if os.geteuid():
            pytest.skip("a small disk takes root, to mount it")
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=12m", "none", tmp_path], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("nothing can be mounted here")
        try:
            monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path))
            request = Request("linux-amd64", source=source)
            with pytest.raises(NoSpaceError, match="no space left"):
                driver.build(request)
            # Now let it begin, and run into the end of the disk.
            monkeypatch.setattr(failures, "ROOM", 0)
            with pytest.raises(NoSpaceError, match="no space left"):
                driver.build(request)
            assert list((tmp_path / "cache" / "kit" / "work").iterdir()) == []
            assert not (tmp_path / "data").exists()
        finally:
            subprocess.run(["umount", tmp_path], check=True)

    def test_an_interrupted_build_leaves_nothing(self, source: Path, tmp_path: Path) -> None:
        running = subprocess.Popen(
            [
                sys.executable,
                "-c",
                INTERRUPTIBLE,
                "build",
                "--target",
                "linux-musl-amd64",
                "--source",
                source,
            ],
            env={**os.environ, "PYPCAPZC_HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr is not None
        for line in running.stderr:
            if line.endswith("configure\n"):
                break
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert (running.returncode, said.strip()) == (130, "pypcapzc: interrupted")
        assert list((tmp_path / "cache" / "kit" / "work").iterdir()) == []
        assert not (tmp_path / "data").exists()

    def test_a_compiler_that_fails_shows_the_end_of_the_log(self, source: Path, tmp_path: Path) -> None:
        folder = tmp_path / "patches"
        pin = pins.pin_of(PATCHES, DEFAULT_LIBPCAP)
        kit.patches(folder, DEFAULT_LIBPCAP, pin.hashes()[0], {"1.patch": BREAKING})
        with pytest.raises(failures.BuildError, match="make failed with exit code") as caught:
            driver.build(Request("linux-amd64", source=source, patches=folder))
        assert any("strlcat.c" in line and "error" in line for line in caught.value.tail)
        assert caught.value.log.is_file()


# A shell that starts its jobs in the background has them ignore SIGINT.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pypcapzc.cli import main
sys.exit(main())
"""
BREAKING = """\
--- a/missing/strlcat.c
+++ b/missing/strlcat.c
@@ -1,1 +1,2 @@
+#error broken on purpose
 /*\t$OpenBSD: strlcat.c,v 1.15 2015/03/02 21:41:08 millert Exp $\t*/
"""


def test_a_wheel_carries_the_patches(tmp_path: Path) -> None:
    root = PATCHES.parent
    if not (root / "pyproject.toml").is_file():
        pytest.skip("this is no source tree")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        kit.absent(f"pip cannot build a wheel: {done.stderr.strip()[-300:]}")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "from pypcapzc.kit import data; print(data.patches_dir())"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    inside = Path(where.stdout.strip())
    assert inside == tmp_path / "installed" / "pypcapzc" / "_data" / "patches"
    ours = {path.relative_to(PATCHES) for path in PATCHES.rglob("*") if path.is_file()}
    assert {path.relative_to(inside) for path in inside.rglob("*") if path.is_file()} == ours
