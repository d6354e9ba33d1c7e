"""A whole build with a stand-in for the compiler: keys, the cache, locks, failures, where results go."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pypcapzc import paths
from pypcapzc.kit import driver, engines, failures, verify
from pypcapzc.kit.driver import Request
from pypcapzc.kit.engines import Job
from pypcapzc.kit.failures import BuildError, NoSpaceError, PatchError, VerificationError
from support import kit

VERSION = "1.2.3"
TARGET = "linux-arm64"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYPCAPZC_SOURCES", raising=False)
    monkeypatch.setattr(verify, "check", lambda *_args, **_kwargs: [verify.Check("all", True, "fine")])
    monkeypatch.setattr(verify, "check_on_host", lambda _: [verify.Check("here", True, "fine")])
    return tmp_path / "home"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> kit.FakeEngine:
    made = kit.FakeEngine()
    monkeypatch.setattr(engines, "candidates", lambda *_: [made])
    monkeypatch.setattr(engines, "choose", lambda *_: made)
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return kit.tarball(tmp_path / f"libpcap-{VERSION}.tar.xz", VERSION)


@pytest.fixture
def patches(tmp_path: Path, archive: Path) -> Path:
    return kit.patches(tmp_path / "patches", VERSION, kit.sha256(archive), {"1.patch": kit.changing(20)})


@pytest.fixture
def request_(archive: Path, patches: Path) -> Callable[..., Request]:
    def make(**more: Any) -> Request:
        return Request(
            **{"target": TARGET, "libpcap": VERSION, "source": archive, "patches": patches, **more}
        )

    return make


def _work() -> list[Path]:
    return list((paths.cache_dir() / "kit" / "work").iterdir())


def test_a_build_is_made_once(engine: kit.FakeEngine, request_: Callable[..., Request]) -> None:
    first, second = driver.build(request_()), driver.build(request_())
    assert (first.cached, second.cached, engine.built) == (False, True, 1)
    assert second.path.read_text() == kit.PCAP_C.replace("line 20\n", "LINE 20\n")
    assert second.path == paths.installed_libraries_dir(TARGET) / "libpcap.so.1"
    assert first.as_dict() == {**second.as_dict(), "seconds": first.seconds, "cached": False}
    assert driver.build(request_(force=True)).cached is False
    assert _work() == []


def test_the_manifest_tells_what_went_in(
    engine: kit.FakeEngine, request_: Callable[..., Request], archive: Path, tmp_path: Path
) -> None:
    result = driver.build(request_())
    manifest = json.loads((result.path.parent / "manifest.json").read_text())
    assert manifest["source"]["sha256"] == kit.sha256(archive)
    assert manifest["source"]["verified"] is True
    (patch,) = manifest["patches"]
    assert (patch["file"], patch["hunks_moved"]) == ("1.patch", 0)
    assert patch["sha256"] == kit.sha256(tmp_path / "patches" / "1.patch")
    assert manifest["sha256"] == kit.sha256(result.path) == result.sha256
    assert manifest["size"] == result.path.stat().st_size == result.size
    assert (manifest["target"], manifest["engine"], manifest["tools"]) == (TARGET, "fake", {"cc": "1"})
    assert str(tmp_path) not in json.dumps(manifest)


def test_another_input_is_another_build(
    engine: kit.FakeEngine, request_: Callable[..., Request], patches: Path, tmp_path: Path
) -> None:
    driver.build(request_())
    driver.build(request_(stock=True))
    driver.build(request_(target="linux-amd64"))
    engine.version = "2"
    driver.build(request_())
    (patches / "1.patch").write_text(kit.changing(20, after="otherwise"))
    assert "otherwise" in driver.build(request_()).path.read_text()
    assert engine.built == 5


def test_without_any_source_what_was_built_is_still_there(
    engine: kit.FakeEngine, request_: Callable[..., Request]
) -> None:
    driver.build(request_())
    assert driver.build(request_(source=None)).cached


@pytest.mark.parametrize("damage", ["bits", "cut", "manifest", "gone"])
def test_a_damaged_cache_is_built_again(
    engine: kit.FakeEngine, request_: Callable[..., Request], damage: str
) -> None:
    good = driver.build(request_()).sha256
    (folder,) = (paths.cache_dir() / "kit" / "builds").iterdir()
    library = folder / "libpcap.so.1"
    if damage == "bits":
        library.write_text(library.read_text().replace("1", "2"))
    elif damage == "cut":
        library.write_bytes(library.read_bytes()[:10])
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{}")
    else:
        library.unlink()
    said: list[str] = []
    result = driver.build(request_(), said.append)
    assert (result.cached, result.sha256, engine.built) == (False, good, 2)
    assert ("the cached build is damaged: building it again" in said) is (damage != "gone")


def test_two_at_once_build_once(engine: kit.FakeEngine, request_: Callable[..., Request]) -> None:
    inside, waiting = threading.Event(), threading.Event()

    def act(job: Job) -> None:
        inside.set()
        assert waiting.wait(10)

    def report(line: str) -> None:
        if line.startswith("waiting"):
            waiting.set()

    engine.act = act
    results: list[driver.Result] = []
    threads = [
        threading.Thread(target=lambda: results.append(driver.build(request_(), report))) for _ in "ab"
    ]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(result.cached for result in results) == [False, True]
    assert len({result.sha256 for result in results}) == 1
    assert engine.built == 1


class TestFailures:
    def test_a_patch_that_does_not_apply_leaves_nothing(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], patches: Path
    ) -> None:
        (patches / "2.patch").write_text(kit.changing(20))
        (patches / "series" / VERSION).write_text("1.patch\n2.patch\n")
        with pytest.raises(PatchError, match=r"2\.patch does not apply.*hunk 1 of pcap\.c"):
            driver.build(request_())
        assert (engine.built, _work()) == (0, [])
        assert not paths.installed_libraries_dir(TARGET).exists()

    def test_an_engine_that_fails_leaves_the_log(
        self, engine: kit.FakeEngine, request_: Callable[..., Request]
    ) -> None:
        def act(job: Job) -> None:
            job.log.write_text("one\ntwo\n")
            raise BuildError("make failed", job.log, ["two"])

        engine.act = act
        with pytest.raises(BuildError) as caught:
            driver.build(request_())
        assert caught.value.log.read_text() == "one\ntwo\n"
        assert _work() == []
        engine.act = lambda job: None
        assert driver.build(request_()).cached is False

    def test_what_is_not_right_is_neither_kept_nor_installed(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = [verify.Check("soname", False, "x, not y")]
        monkeypatch.setattr(verify, "check", lambda *_args, **_kwargs: wrong)
        with pytest.raises(VerificationError, match=r"soname \(x, not y\)"):
            driver.build(request_())
        assert not (paths.cache_dir() / "kit" / "builds").exists()
        assert not paths.installed_libraries_dir(TARGET).exists()

    def test_what_does_not_load_here_is_not_installed(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verify, "check_on_host", lambda _: [verify.Check("loads here", False, "no")])
        with pytest.raises(VerificationError, match="loads here"):
            driver.build(request_(target="host"))
        assert not paths.installed_libraries_dir().exists()

    def test_a_full_disk_at_the_beginning(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(failures, "ROOM", 1 << 60)
        with pytest.raises(NoSpaceError, match="free some, or set PYPCAPZC_HOME"):
            driver.build(request_())
        assert engine.built == 0

    def test_a_disk_that_fills_up(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_args: object, **_kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")

        monkeypatch.setattr(shutil, "copyfile", full)
        with pytest.raises(NoSpaceError, match="no space left for /somewhere/file"):
            driver.build(request_())
        folder = paths.installed_libraries_dir(TARGET)
        assert list(folder.iterdir()) == []

    def test_an_empty_series_is_no_patched_library(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], patches: Path
    ) -> None:
        (patches / "series" / VERSION).write_text("# nothing yet\n")
        with pytest.raises(PatchError, match="--stock builds it unpatched"):
            driver.build(request_())
        assert driver.build(request_(stock=True)).stock


class TestPlaces:
    def test_the_host_is_installed_with_out_too(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], tmp_path: Path
    ) -> None:
        result = driver.build(request_(target="host", out=tmp_path / "out"))
        assert result.path == tmp_path / "out" / "host" / "libpcap.so.1"
        assert paths.built_library() == paths.installed_libraries_dir() / "libpcap.so.1"
        assert [check["name"] for check in result.checks] == ["all", "here"]

    def test_the_stock_one_is_never_where_the_loader_looks(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], tmp_path: Path
    ) -> None:
        at_home = driver.build(request_(target="host", stock=True))
        assert at_home.path.parent == paths.data_dir() / "lib" / "host-stock"
        out = driver.build(request_(target="host", stock=True, out=tmp_path / "out"))
        assert out.path.parent == tmp_path / "out" / "host-stock"
        assert paths.built_library() is None

    def test_others_go_to_out_alone(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], tmp_path: Path
    ) -> None:
        result = driver.build(request_(target="freebsd-amd64:14", out=tmp_path / "out"))
        assert result.path == tmp_path / "out" / "freebsd-amd64-14" / "libpcap.so.1"
        assert not (paths.data_dir() / "lib").exists()

    def test_a_process_that_has_the_old_one_open_keeps_it(
        self, engine: kit.FakeEngine, request_: Callable[..., Request], patches: Path
    ) -> None:
        with driver.build(request_()).path.open() as old:
            (patches / "1.patch").write_text(kit.changing(20, after="new"))
            driver.build(request_())
            assert "LINE 20" in old.read()
