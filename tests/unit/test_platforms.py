"""What is said of zero-copy where the system is another one, the library is stock, or nothing works."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypcapzc import platforms, zerocopy
from pypcapzc.errors import LibraryError, PcapError, ZeroCopyUnavailableError
from pypcapzc.libpcap import loader
from pypcapzc.platforms import BPF, CounterMeanings, FreeBSD, Kernel, Linux, Permission, Platform
from pypcapzc.platforms.linux import by_release
from support.headers import shared_library

STOCK = """
typedef struct pcap pcap_t;
const char *pcap_lib_version(void) { return "libpcap version 1.10.6 (%s)"; }
pcap_t *pcap_create(const char *device, char *errbuf) { return 0; }
"""
ALLOWED = Permission(True, "root: tried")
REFUSED = Permission(False, "this user may not", "become root")


class FakeFreeBSD(FreeBSD):
    def __init__(self, sysctls: dict[str, int], permission: Permission = ALLOWED) -> None:
        super().__init__()
        self._sysctls, self._permission = sysctls, permission

    def sysctl(self, name: str) -> int | None:
        return self._sysctls.get(name)

    def permission(self) -> Permission:
        return self._permission


class FakeMac(BPF):
    def __init__(self, permission: Permission = ALLOWED) -> None:
        super().__init__("darwin")
        self._permission = permission

    def permission(self) -> Permission:
        return self._permission


class FakeLinux(Platform):
    name = "linux"

    def __init__(self, permission: Permission = ALLOWED) -> None:
        self._permission = permission

    def kernel(self) -> Kernel:
        return Kernel("tpacket_v3", True, ("tried",))

    def permission(self) -> Permission:
        return self._permission

    @property
    def counters(self) -> CounterMeanings:
        return CounterMeanings("a", "b", "c")

    def library_mechanism(self, version_text: str) -> str | None:
        return "tpacket_v3" if "TPACKET_V3" in version_text else None


class _Version:
    """As much of a Library as detection asks a stock one for."""

    def __init__(self, words: str) -> None:
        self.version, self.path = f"libpcap version 1.10.6 ({words})", Path("/nowhere/libpcap.so.8")

    def has(self, name: str) -> bool:
        return False


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(zerocopy, "library", lambda: _Version(request.param))


ZEROCOPY = "with zerocopy support"


@pytest.mark.parametrize("stock", [ZEROCOPY], indirect=True)
@pytest.mark.usefixtures("stock")
def test_stock_library_with_zerocopy_support_lends_nothing() -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 1, "net.bpf.maxbufsize": 524288})):
        found = zerocopy.status()
    assert (found.platform, found.mechanism, found.zero_copy, found.lent) == (
        "freebsd",
        "bpf_zbuf",
        True,
        False,
    )
    assert not found.available
    assert "inside libpcap only" in found.reasons[0]
    assert "copied to Python" in found.reasons[0]
    assert any("pypcapzc build" in fix for fix in found.fixes)
    assert found.limits == {"net.bpf.maxbufsize": 524288, "BIOCGETZMAX": 512 * mmap.PAGESIZE}


@pytest.mark.parametrize("stock", [ZEROCOPY], indirect=True)
@pytest.mark.usefixtures("stock")
def test_zerocopy_switched_off_in_the_kernel() -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 0})):
        found = zerocopy.status()
    assert (found.mechanism, found.zero_copy, found.lent) == ("bpf_zbuf", False, False)
    assert any("net.bpf.zerocopy_enable is 0" in reason for reason in found.reasons)
    assert "inside libpcap only" not in " ".join(found.reasons)  # it does not serve at all
    assert any(fix.startswith("sysctl net.bpf.zerocopy_enable=1") for fix in found.fixes)


@pytest.mark.parametrize("stock", ["without zerocopy"], indirect=True)
@pytest.mark.usefixtures("stock")
def test_stock_library_built_without_it() -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 1})):
        found = zerocopy.status()
    assert (found.mechanism, found.zero_copy, found.lent) == ("bpf_zbuf", False, False)


@pytest.mark.parametrize("stock", [ZEROCOPY], indirect=True)
@pytest.mark.usefixtures("stock")
def test_a_kernel_without_zero_copy_bpf() -> None:
    with platforms.use(FakeFreeBSD({})):
        found = zerocopy.status()
    assert (found.mechanism, found.zero_copy) == ("none", False)
    assert any("no zero-copy BPF" in reason for reason in found.reasons)
    assert not any("pypcapzc build" in fix for fix in found.fixes)  # it would not help


@pytest.mark.parametrize("stock", [ZEROCOPY], indirect=True)
@pytest.mark.usefixtures("stock")
def test_a_system_with_nothing_to_offer() -> None:
    with platforms.use(FakeMac()):
        found = zerocopy.status()
        with pytest.raises(ZeroCopyUnavailableError, match="nothing can be done on this system"):
            zerocopy.require("en0")
    assert (found.platform, found.mechanism, found.zero_copy, found.lent) == ("darwin", "none", False, False)
    assert found.fixes == ()
    assert any("darwin's kernel does not lend" in reason for reason in found.reasons)


@pytest.mark.parametrize("stock", ["with TPACKET_V3"], indirect=True)
@pytest.mark.usefixtures("stock")
def test_no_permission() -> None:
    with platforms.use(FakeLinux(REFUSED)):
        found = zerocopy.status()
        with pytest.raises(ZeroCopyUnavailableError, match=r"eth0.*this user may not.*become root"):
            zerocopy.require("eth0")
    assert found.permissions == REFUSED
    assert found.zero_copy is False
    assert REFUSED.reason in found.reasons
    assert REFUSED.fix in found.fixes
    with platforms.use(FakeLinux()):
        found = zerocopy.status()
    assert (found.mechanism, found.zero_copy, found.lent) == ("tpacket_v3", True, False)


@pytest.mark.parametrize("stock", [ZEROCOPY], indirect=True)
@pytest.mark.usefixtures("stock")
def test_the_dictionary_is_json_and_has_what_users_rely_on() -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 1})):
        found = json.loads(json.dumps(zerocopy.status().as_dict()))
    wanted = {"library", "platform", "mechanism", "lent", "zero_copy", "reasons", "fixes", "permissions"}
    assert wanted <= set(found)
    assert {"path", "version", "patched", "abi"} <= set(found["library"])


def test_status_does_not_raise_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise LibraryError("no libpcap anywhere; install one")

    monkeypatch.setattr(zerocopy, "library", missing)
    with platforms.use(FakeLinux()):
        found = zerocopy.status("nosuch0")
    assert found.library == zerocopy.LibraryFacts(None, None, False, None)
    assert (found.lent, found.zero_copy) == (False, False)
    assert found.reasons[0] == "no libpcap anywhere; install one"


def test_a_library_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libpcap.so.1"
    broken.write_bytes(b"not a library at all")
    monkeypatch.setenv(loader.ENVIRONMENT_VARIABLE, str(broken))
    before = loader.use(None)
    try:
        found = zerocopy.status()
    finally:
        loader.use(before)
    assert found.library.path is None
    assert str(broken) in found.reasons[0]


@pytest.fixture
def compiled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = shared_library(tmp_path, "libpcap.so.1", request.param)
    before = loader.use(loader.load(path))
    yield path
    loader.use(before)


@pytest.mark.cc
@pytest.mark.parametrize(
    "compiled", [STOCK % ZEROCOPY + "int pcap_zc_abi(void) { return 1; }"], indirect=True
)
def test_a_patched_library_is_known_by_its_symbol(compiled: Path) -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 1})):
        found = zerocopy.status()
    assert (found.library.patched, found.library.abi) == (True, 1)
    assert found.library.path == str(compiled)
    assert found.zero_copy is True
    assert any("has the zero-copy patch (ABI 1)" in reason for reason in found.reasons)


@pytest.mark.cc
@pytest.mark.parametrize("compiled", [STOCK % "with zerocopy support, pcap_zc_abi 1"], indirect=True)
def test_a_version_string_does_not_make_a_library_patched(compiled: Path) -> None:
    with platforms.use(FakeFreeBSD({"net.bpf.zerocopy_enable": 1})):
        found = zerocopy.status()
    assert found.library.path == str(compiled)
    assert (found.library.patched, found.library.abi, found.lent) == (False, None, False)


def test_a_provider_answers_only_within_its_with_statement() -> None:
    before = platforms.current().name
    mac = FakeMac()
    with platforms.use(mac):
        assert platforms.current() is mac
        with platforms.use(FakeFreeBSD({})):
            assert platforms.current().name == "freebsd"
        assert platforms.current() is mac
    with pytest.raises(RuntimeError), platforms.use(mac):
        raise RuntimeError
    assert platforms.current().name == before


def test_the_environment_names_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYPCAPZC_PLATFORM", "freebsd")
    assert isinstance(platforms.current(), FreeBSD)
    monkeypatch.setenv("PYPCAPZC_PLATFORM", "linux")
    assert isinstance(platforms.current(), Linux)
    monkeypatch.setenv("PYPCAPZC_PLATFORM", "plan9")
    with pytest.raises(PcapError, match="plan9"):
        platforms.current()


def test_old_linux_is_judged_by_its_version_where_nothing_can_be_tried() -> None:
    assert by_release("3.1.9-old").mechanism == "none"
    for release in ("3.2.0", "6.1.0-rc1+", "10.0"):
        assert by_release(release).usable, release
