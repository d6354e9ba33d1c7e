"""FreeBSD's base.txz in place of zig's headers.

What FreeBSD publishes cannot be had by a test: the archive here is laid out like it, of zig's headers and
stubs.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pypcapzc.kit import artefacts, driver, sysroots, targets
from pypcapzc.kit.driver import Request
from pypcapzc.kit.failures import PinError, SourceError, SourceFileError, UnknownTargetError
from pypcapzc.kit.trust import Trust
from support import kit

pytestmark = [pytest.mark.kit, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.base_system(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _pin(release: str, sha256: str) -> None:
    artefacts.own().parent.mkdir(parents=True, exist_ok=True)
    artefacts.own().write_text(f'[sysroots.freebsd-amd64."{release}"]\nsha256 = "{sha256}"\n')


def _resolved(target: str, given: Path | None = None) -> targets.Target:
    return sysroots.resolve(targets.parse(target), given, Trust(), print)


def test_a_library_is_built_against_it(
    base: Path, tmp_path_factory: pytest.TempPathFactory, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pin("13.5", kit.sha256(base))
    sources = kit.shared_home(tmp_path_factory) / "cache" / "kit" / "sources"
    (home / "cache" / "kit").mkdir(parents=True)
    sources.mkdir(parents=True, exist_ok=True)
    (home / "cache" / "kit" / "sources").symlink_to(sources)
    try:
        result = driver.build(Request("freebsd-amd64:13", engine="local", sysroot=base))
    except SourceError as error:
        kit.absent(str(error))
    assert result.sysroot == f"FreeBSD 13.5 base.txz {kit.sha256(base)}"
    assert all(check["passed"] for check in result.checks)
    assert "--host=x86_64-unknown-freebsd13.5" in result.manifest["configure"]
    assert driver.build(Request("freebsd-amd64:13", engine="local", sysroot=base)).cached


class TestChoice:
    def test_one_that_lies_there_is_taken(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert _resolved("freebsd-amd64").sysroot is None
        _pin("13.5", kit.sha256(base))
        assert _resolved("freebsd-amd64").sysroot is None
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "FreeBSD-13.5-RELEASE-amd64-base.txz").symlink_to(base)
        monkeypatch.setenv("PYPCAPZC_SOURCES", str(tmp_path / "mine"))
        for name in ("freebsd-amd64", "freebsd-amd64:13", "freebsd-amd64:13.5"):
            found = _resolved(name)
            assert found.sysroot is not None
            assert (found.name, found.triple) == (name, "x86_64-freebsd.13.5")
        assert _resolved("freebsd-amd64:14").sysroot is None

    def test_an_empty_pin_is_refused(self) -> None:
        with pytest.raises(PinError, match=r"FreeBSD 13\.5's base.txz is empty.*pins refresh"):
            _resolved("freebsd-amd64:13")

    def test_a_release_that_nobody_pinned(self) -> None:
        with pytest.raises(
            UnknownTargetError, match=r"no headers for FreeBSD 12.*pinned of 13\.5, 14\.3, 15\.0"
        ):
            _resolved("freebsd-amd64:12")

    def test_another_file(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(PinError, match=r"none of the pinned base systems.*no pin was read yet for 13\.5"):
            _resolved("freebsd-amd64", base)
        with pytest.raises(SourceFileError, match="there is no such file"):
            _resolved("freebsd-amd64", tmp_path / "nowhere")
        with pytest.raises(UnknownTargetError, match="is no FreeBSD"):
            _resolved("linux-amd64", base)
        _pin("14.3", kit.sha256(base))
        with pytest.raises(UnknownTargetError, match=r"is of FreeBSD 14\.3"):
            _resolved("freebsd-amd64:13", base)


class TestContent:
    def test_only_what_is_needed_is_taken(self, base: Path) -> None:
        sysroot = sysroots.Sysroot("13.5", kit.sha256(base), base)
        with sysroot.archive() as one, sysroot.archive() as two:
            assert one.read() == two.read()
        folder = sysroot.folder()
        assert sorted(path.name for path in folder.iterdir()) == ["usr"]
        script = (folder / "usr" / "lib" / "libc.so").read_text()
        assert "GROUP ( libc.so.7 libc_nonshared.a )" in script
        assert (folder / "usr" / "lib" / "libthr.so").resolve().name == "libthr.so.3"

    def test_what_is_no_base_system(self, tmp_path: Path) -> None:
        (tmp_path / "broken").write_text("nothing")
        with tarfile.open(tmp_path / "other.txz", "w:xz") as archive:
            archive.add(tmp_path / "broken", "usr/include/broken.h")
        for name, why in (("broken", "cannot be read"), ("other.txz", "no base system")):
            sysroot = sysroots.Sysroot("13.5", "0" * 64, tmp_path / name)
            with pytest.raises(SourceError, match=why):
                sysroot.folder()
