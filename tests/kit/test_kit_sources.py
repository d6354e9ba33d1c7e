"""Where sources come from, and that only the pinned ones are taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pypcapzc.kit import debian, pins, signatures, sources
from pypcapzc.kit.failures import PinError, SourceError, SourceFileError
from pypcapzc.kit.pins import Debian, Pin, Tarball
from support import kit

VERSION = "1.2.3"


def _quiet(line: str) -> None:
    pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return kit.tarball(tmp_path / f"libpcap-{VERSION}.tar.xz", VERSION)


@pytest.fixture
def pin(archive: Path) -> Pin:
    return Pin(VERSION, (Tarball(archive.name, (), kit.sha256(archive)),))


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sources.VARIABLE, raising=False)


def _find(pin: Pin, tmp_path: Path, given: Path | None = None) -> sources.Source:
    return sources.find(pin, tmp_path / "cache", given, report=_quiet)


def test_a_given_tarball_is_taken(pin: Pin, archive: Path, tmp_path: Path) -> None:
    found = _find(pin, tmp_path, archive)
    assert (found.path, found.origin, found.verified) == (archive, "file", True)
    assert found.signature == "not checked: no signature at hand"
    sources.unpack(found, tmp_path / "tree")
    assert (tmp_path / "tree" / "pcap.c").read_text() == kit.PCAP_C
    assert not (tmp_path / "tree.unpacking").exists()


def test_a_changed_tarball_is_refused(pin: Pin, tmp_path: Path) -> None:
    changed = kit.tarball(tmp_path / "changed.tar.gz", VERSION, {"pcap.c": "evil"})
    with pytest.raises(SourceError, match=f"sha256 is {kit.sha256(changed)}, pinned is {pin.hashes()[0]}"):
        _find(pin, tmp_path, changed)


def test_a_tarball_of_another_version_is_named(pin: Pin, tmp_path: Path) -> None:
    other = kit.tarball(tmp_path / "other.tar.gz", "1.2.4")
    with pytest.raises(SourceError, match=r"is libpcap 1\.2\.4, not 1\.2\.3.*--libpcap 1\.2\.4"):
        _find(pin, tmp_path, other)


@pytest.mark.parametrize("content", [b"", b"not a tarball", b"\xfd7zXZ\x00 cut"])
def test_no_tarball_at_all_is_refused(pin: Pin, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError, match="fetch it again"):
        _find(pin, tmp_path, tmp_path / "file")


def test_a_file_that_is_not_there_is_said(pin: Pin, tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no such file") as caught:
        _find(pin, tmp_path, tmp_path / "nowhere.tar.xz")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_wrong_pin_is_found_out_by_what_is_inside(archive: Path, tmp_path: Path) -> None:
    wrong = Pin("9.9", (Tarball(archive.name, (), kit.sha256(archive)),))
    with pytest.raises(SourceError, match=r"contains 1\.2\.3: correct the pin"):
        sources.unpack(_find(wrong, tmp_path, archive), tmp_path / "tree")


class TestFolderOfTheUser:
    def test_a_pinned_tarball_goes_before_a_tree(
        self, pin: Pin, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "sources"
        folder.mkdir()
        self._tree(folder / "tree", VERSION)
        shutil.copy(archive, folder / f"libpcap-{VERSION}.tar.xz")
        monkeypatch.setenv(sources.VARIABLE, str(folder))
        found = _find(pin, tmp_path)
        assert (found.path.name, found.origin, found.verified) == (archive.name, sources.VARIABLE, True)

    def test_a_tree_is_taken_and_said_to_be_unverified(
        self, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree = self._tree(tmp_path / "sources" / "mine", VERSION)
        self._tree(tmp_path / "sources" / "other", "1.2.4")
        monkeypatch.setenv(sources.VARIABLE, str(tree.parent))
        found = _find(pin, tmp_path)
        assert (found.path, found.verified) == (tree, False)
        (tree / "pcap.c").write_text("changed\n")
        assert _find(pin, tmp_path).sha256 != found.sha256
        sources.unpack(found, tmp_path / "copy")
        assert (tmp_path / "copy" / "pcap.c").read_text() == "changed\n"

    def test_a_wrong_tarball_of_the_right_name_is_said_to_be_wrong(
        self, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "sources"
        folder.mkdir()
        kit.tarball(folder / f"libpcap-{VERSION}.tar.xz", VERSION, {"pcap.c": "evil"})
        monkeypatch.setenv(sources.VARIABLE, str(folder))
        with pytest.raises(SourceError, match=r"not libpcap 1\.2\.3 as published"):
            _find(pin, tmp_path)

    def test_a_folder_that_is_not_there_is_said(
        self, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "nowhere"))
        with pytest.raises(SourceFileError, match="which is no folder"):
            _find(pin, tmp_path)

    @staticmethod
    def _tree(path: Path, version: str) -> Path:
        path.mkdir(parents=True)
        for name, text in (("VERSION", f"{version}\n"), ("configure", ""), ("pcap.c", kit.PCAP_C)):
            (path / name).write_text(text)
        return path


class TestCache:
    def test_what_is_there_is_taken(self, pin: Pin, archive: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        shutil.copy(archive, tmp_path / "cache")
        assert _find(pin, tmp_path).origin == "cache"

    def test_a_damaged_one_is_dropped(self, pin: Pin, archive: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        damaged = tmp_path / "cache" / archive.name
        damaged.write_bytes(archive.read_bytes()[:-1])
        with pytest.raises(SourceError, match="no sources of libpcap"):
            _find(pin, tmp_path)
        assert not damaged.exists()

    def test_a_download_is_kept_only_when_it_is_the_pinned_one(self, archive: Path, tmp_path: Path) -> None:
        right = Pin(VERSION, (Tarball("l.tar.xz", (), kit.sha256(archive), archive.as_uri()),))
        assert _find(right, tmp_path).origin == "upstream"
        assert _find(right, tmp_path).origin == "cache"
        wrong = Pin(VERSION, (Tarball("w.tar.xz", (), "0" * 64, archive.as_uri()),))
        with pytest.raises(SourceError, match="is not what is pinned"):
            _find(wrong, tmp_path)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["l.tar.xz"]


def test_without_network_and_cache_all_ways_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = Debian("libpcap", "1", "trixie")
    url = "http://127.0.0.1:1/libpcap.tar.xz"
    pin = Pin(VERSION, (Tarball("libpcap.tar.xz", ("libpcap.orig.tar.xz",), "0" * 64, url, packaged),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError) as caught:
        _find(pin, tmp_path)
    message = str(caught.value)
    assert "http://127.0.0.1:1/libpcap.tar.xz cannot be reached" in message
    assert "apt-get, which is not here" in message
    assert "--source" in message
    assert sources.VARIABLE in message
    assert "\n" not in message


class TestPins:
    def test_an_empty_pin_is_refused(self, tmp_path: Path) -> None:
        folder = kit.patches(tmp_path / "patches", VERSION, "")
        with pytest.raises(PinError, match="is empty"):
            pins.pin_of(folder, VERSION)

    def test_a_pin_that_is_no_hash_is_refused(self, tmp_path: Path) -> None:
        folder = kit.patches(tmp_path / "patches", VERSION, "todo")
        with pytest.raises(PinError, match="is no sha256: 'todo'"):
            pins.pin_of(folder, VERSION)

    def test_an_unknown_version_gets_the_list(self, tmp_path: Path) -> None:
        folder = kit.patches(tmp_path / "patches", VERSION, "0" * 64)
        with pytest.raises(PinError, match=r"there are pins for 1\.2\.3"):
            pins.pin_of(folder, "7")

    def test_a_missing_or_damaged_file_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(PinError, match="is missing"):
            pins.pin_of(tmp_path, VERSION)
        (tmp_path / pins.FILE).write_text("[[[")
        with pytest.raises(PinError, match="is damaged"):
            pins.pin_of(tmp_path, VERSION)


class TestSignatures:
    def test_what_cannot_be_checked_is_said(
        self, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive.with_name(archive.name + ".sig").write_bytes(b"x")
        assert signatures.check(archive) == "not checked: no public key at hand"
        keys = tmp_path / "keys"
        keys.mkdir()
        (keys / "upstream.asc").write_text("x")
        monkeypatch.setattr(shutil, "which", lambda name: None)
        assert signatures.check(archive, keys) == "not checked: gpg is not installed"

    @pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
    def test_a_key_that_is_none_is_said(self, archive: Path, tmp_path: Path) -> None:
        archive.with_name(archive.name + ".sig").write_bytes(b"x")
        (tmp_path / "upstream.asc").write_text("x")
        assert signatures.check(archive, tmp_path) == "not checked: gpg cannot read the public key"


class TestDebian:
    """Against an apt-get that only answers as apt does."""

    WANTED = Debian("libpcap", "1.2.3-1", "trixie")

    @pytest.fixture
    def apt(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder / "apt-get"

    def _answer(self, apt: Path, targets: list[str], update: str = "", source: str = "") -> None:
        lines = "\n".join(targets)
        apt.write_text(
            f"#!/bin/sh\ncase \"$*\" in\n*indextargets*) cat <<'EOF'\n{lines}\nEOF\n;;\n"
            f"*update*) {update or ':'} ;;\n*source*) {source or ':'} ;;\nesac\n"
        )
        apt.chmod(0o755)

    def test_the_mirror_is_the_one_that_apt_has(self, apt: Path, tmp_path: Path) -> None:
        keyring, entry = tmp_path / "keyring.gpg", tmp_path / "debian.list"
        keyring.touch()
        entry.write_text(f"deb [signed-by={keyring}] http://mirror.example/debian bookworm main\n")
        self._answer(
            apt,
            [
                f"http://other.example/apt/\tbookworm\tmain\t{entry}:1",
                f"http://mirror.example/debian-security/\tbookworm-security\tmain\t{entry}:1",
                f"http://mirror.example/debian/\tbookworm\tmain\t{entry}:1",
            ],
        )
        assert debian.find_mirror() == debian.Mirror("http://mirror.example/debian/", keyring)

    def test_no_debian_entry_is_said(self, apt: Path) -> None:
        self._answer(apt, ["http://x/ubuntu/\tnoble\tuniverse\t/nowhere:1"])
        with pytest.raises(SourceError, match="no Debian archive"):
            debian.find_mirror()

    def test_a_missing_key_is_named(self, apt: Path) -> None:
        line = "W: GPG error: http://x trixie InRelease: key is not available: NO_PUBKEY 6ED0E7B82643E131"
        self._answer(apt, ["http://x/debian/\tbookworm\tmain\t/nowhere:1"], f"echo '{line}'")
        with (
            pytest.raises(SourceError, match="key 6ED0E7B82643E131, which this system's keyring lacks"),
            debian.fetched(self.WANTED, _quiet),
        ):
            pass

    def test_no_network_is_said_with_apts_words(self, apt: Path) -> None:
        self._answer(
            apt,
            ["http://x/debian/\tbookworm\tmain\t/nowhere:1"],
            "echo 'W: Failed to fetch http://x/debian/dists/trixie/InRelease  Could not resolve x'",
        )
        with pytest.raises(SourceError, match="Could not resolve x"), debian.fetched(self.WANTED, _quiet):
            pass
