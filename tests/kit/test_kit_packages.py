"""Packages, read back by readers that know nothing of how they were made."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import lzma
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from pypcapzc.kit import driver, packages
from pypcapzc.kit.driver import Request
from pypcapzc.kit.failures import PackageError, SourceError
from pypcapzc.kit.packages import Options, sums
from support import kit

pytestmark = [pytest.mark.kit, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = kit.shared_home(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYPCAPZC_HOME", str(folder))
        yield folder


def _built(target: str, out: Path) -> Path:
    try:
        return driver.build(Request(target, engine="local", out=out)).path.parent
    except SourceError as error:
        kit.absent(str(error))


@pytest.fixture(scope="module")
def freebsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("freebsd-amd64", tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("linux-amd64", tmp_path_factory.mktemp("out"))


class Member:
    """One entry of a tar archive, by the ustar header itself."""

    def __init__(self, header: bytes, content: bytes) -> None:
        def text(start: int, end: int) -> str:
            return header[start:end].rstrip(b"\0 ").decode()

        prefix = text(345, 500)
        self.name = f"{prefix}/{text(0, 100)}" if prefix else text(0, 100)
        self.mode = int(text(100, 108), 8)
        self.kind = text(156, 157)
        self.owner = (text(265, 297), text(297, 329))
        self.magic = header[257:262]
        self.content = content


def _members(package: Path) -> list[Member]:
    raw = lzma.decompress(package.read_bytes(), lzma.FORMAT_XZ)
    found, at = [], 0
    while at < len(raw) and raw[at : at + 512].strip(b"\0"):
        header = raw[at : at + 512]
        size = int(header[124:136].rstrip(b"\0 "), 8)
        checksum = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
        assert checksum == int(header[148:156].rstrip(b"\0 "), 8)
        found.append(Member(header, raw[at + 512 : at + 512 + size]))
        at += 512 + -(-size // 512) * 512
    return found


def _soname(library: bytes) -> str:
    section = ELFFile(io.BytesIO(library)).get_section_by_name(".dynamic")
    assert isinstance(section, DynamicSection)
    return next(str(vars(tag)["soname"]) for tag in section.iter_tags() if tag.entry.d_tag == "DT_SONAME")


def _pkg(folder: Path, into: Path, options: Options) -> tuple[Path, dict[str, Any], dict[str, Member]]:
    (package,) = packages.make(folder, into, options)
    first, second, *files = _members(package)
    assert (first.name, second.name) == ("+COMPACT_MANIFEST", "+MANIFEST")
    compact, full = json.loads(first.content), json.loads(second.content)
    assert {key: value for key, value in full.items() if key in compact} == compact
    assert not {"files", "scripts"} & set(compact)
    assert {member.magic for member in (first, second, *files)} == {b"ustar"}
    return package, full, {member.name: member for member in files}


class TestFreebsd:
    # What pkg-create(8) lists as required, and what pkg checks when it installs.
    REQUIRED = (
        "name",
        "origin",
        "version",
        "comment",
        "maintainer",
        "www",
        "abi",
        "prefix",
        "desc",
        "flatsize",
    )

    def test_beside_the_base_system(self, freebsd: Path, tmp_path: Path) -> None:
        package, manifest, files = _pkg(freebsd, tmp_path, Options())
        assert all(manifest[key] for key in self.REQUIRED)
        assert package.name == "pypcapzc-libpcap-1.10.5-freebsd-amd64.pkg"
        assert manifest["abi"] == "FreeBSD:*:amd64"
        assert set(files) == set(manifest["files"])
        for name, member in files.items():
            assert manifest["files"][name] == f"1${hashlib.sha256(member.content).hexdigest()}"
            assert (member.kind, member.owner) == ("0", ("root", "wheel"))
            assert name.startswith("/usr/local/")
        assert manifest["flatsize"] == sum(len(member.content) for member in files.values())
        library = files["/usr/local/lib/pypcapzc/libpcap.so.1"]
        assert library.content == (freebsd / "libpcap.so.1").read_bytes()
        assert library.mode == 0o755
        assert files["/usr/local/libdata/ldconfig/pypcapzc"].content == b"/usr/local/lib/pypcapzc\n"
        assert manifest["shlibs_provided"] == ["libpcap.so.1"]

    def test_in_its_place(self, freebsd: Path, tmp_path: Path) -> None:
        _, manifest, files = _pkg(freebsd, tmp_path, Options(in_place=True))
        assert manifest["name"] == "pypcapzc-libpcap-base"
        library = files["/usr/local/lib/pypcapzc/libpcap.so.8"].content
        beside = (freebsd / "libpcap.so.1").read_bytes()
        assert (_soname(beside), _soname(library)) == ("libpcap.so.1", "libpcap.so.8")
        assert [(a, b) for a, b in zip(beside, library, strict=True) if a != b] == [(ord("1"), ord("8"))]
        mapping = files["/usr/local/etc/libmap.d/pypcapzc.conf"].content
        assert mapping == b"libpcap.so.8 /usr/local/lib/pypcapzc/libpcap.so.8\n"
        said = json.loads(files["/usr/local/share/pypcapzc-libpcap-base/manifest.json"].content)
        assert said["sha256"] == hashlib.sha256(library).hexdigest()
        assert not [name for name in files if name.startswith(("/lib", "/usr/lib"))]

    def test_the_same_library_gives_the_same_package(self, freebsd: Path, tmp_path: Path) -> None:
        (one,), (two,) = (packages.make(freebsd, tmp_path / name, Options()) for name in "ab")
        assert one.read_bytes() == two.read_bytes()

    def test_bsdtar_reads_it(self, freebsd: Path, tmp_path: Path) -> None:
        import tarfile

        (package,) = packages.make(freebsd, tmp_path, Options())
        with tarfile.open(package) as archive:
            assert archive.getnames()[:2] == ["+COMPACT_MANIFEST", "+MANIFEST"]


class TestLinux:
    def test_the_tarball(self, linux: Path, tmp_path: Path) -> None:
        tarball, _ = packages.make(linux, tmp_path, Options())
        subprocess.run(["tar", "-xf", str(tarball)], cwd=tmp_path, check=True)
        folder = tmp_path / "libpcap-zc-1.10.5-linux-amd64"
        assert (folder / "lib" / "libpcap.so").resolve() == folder / "lib" / "libpcap.so.1"
        assert (folder / "lib" / "libpcap.so.1").read_bytes() == (linux / "libpcap.so.1").read_bytes()
        assert "Redistribution" in (folder / "LICENSE").read_text()
        assert json.loads((folder / "manifest.json").read_text())["target"] == "linux-amd64"

    def test_the_wheel(self, linux: Path, tmp_path: Path) -> None:
        _, wheel = packages.make(linux, tmp_path, Options())
        assert wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
            (record,) = [name for name in names if name.endswith(".dist-info/RECORD")]
            rows = list(csv.reader(archive.read(record).decode().splitlines()))
            assert {row[0] for row in rows} == names
            for name, digest, size in rows:
                if name != record:
                    content = archive.read(name)
                    found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                    assert (digest, int(size)) == (f"sha256={found}", len(content))
        assert "pypcapzc/_data/docker/pins.toml" in names
        assert not [name for name in names if name.endswith(".pyc")]

    def test_the_wheel_installs_and_its_library_is_used(self, linux: Path, tmp_path: Path) -> None:
        _, wheel = packages.make(linux, tmp_path, Options())
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
        subprocess.run([*command, str(tmp_path / "to"), str(wheel)], check=True, capture_output=True)
        code = "from pypcapzc.libpcap import library; print(library(), library().has('pcap_zc_abi'))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(tmp_path / "to"), "PYPCAPZC_HOME": str(tmp_path / "none")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert str(tmp_path / "to" / "pypcapzc" / "_bundled" / "libpcap.so.1") in done.stdout
        assert done.stdout.strip().endswith("True")


class TestSums:
    def test_sha256sum_takes_them(self, linux: Path, tmp_path: Path) -> None:
        packages.make(linux, tmp_path, Options())
        (written,) = sums.write(tmp_path, None)
        done = subprocess.run(
            ["sha256sum", "-c", written.name], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.count(": OK\n") == 2

    def test_a_signature(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home = tmp_path / "gpg"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("GNUPGHOME", str(home))
        make = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "kit@example.org"]
        subprocess.run([*make, "ed25519", "sign"], check=True, capture_output=True)
        (tmp_path / "to").mkdir()
        (tmp_path / "to" / "a.pkg").write_text("a")
        written, signature = sums.write(tmp_path / "to", "kit@example.org")
        verify = ["gpg", "--batch", "--verify", str(signature), str(written)]
        subprocess.run(verify, check=True, capture_output=True)
        written.write_text("other\n")
        assert subprocess.run(verify, check=False, capture_output=True).returncode
        with pytest.raises(PackageError, match=r"cannot sign with the key 'nobody'.*--list-secret-keys"):
            sums.write(tmp_path / "to", "nobody")
        assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["SHA256SUMS", "a.pkg"]
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_what_was_changed_is_not_packed(linux: Path, tmp_path: Path) -> None:
    for path in linux.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "libpcap.so.1").open("ab") as file:
        file.write(b"x")
    with pytest.raises(PackageError, match="not what its manifest says"):
        packages.make(tmp_path, tmp_path / "to", Options())
    (tmp_path / "LICENSE").unlink()
    with pytest.raises(PackageError, match="LICENSE is missing"):
        packages.make(tmp_path, tmp_path / "to", Options())
    assert not (tmp_path / "to").exists()
