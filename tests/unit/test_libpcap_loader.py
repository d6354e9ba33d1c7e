"""Which library is loaded, what is said when it cannot be, and how its functions are called."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pypcapzc.paths
from pypcapzc import libpcap
from pypcapzc.errors import LibraryError, MissingFunctionError
from pypcapzc.libpcap import extension, loader
from support.headers import shared_library

# As much of a libpcap as the loader asks for.
OLD = """
typedef struct pcap pcap_t;
const char *pcap_lib_version(void) { return "libpcap version 1.0.0"; }
pcap_t *pcap_create(const char *device, char *errbuf) { return 0; }
int pcap_snapshot(pcap_t *p) { return 4711; }
"""
PATCHED = OLD + "int pcap_zc_abi(void) { return 1; }\n"

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc and ELF files of Linux"
)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No library chosen yet, and none of the environment's; the one before is back afterwards."""
    monkeypatch.delenv(loader.ENVIRONMENT_VARIABLE, raising=False)
    before = loader.use(None)
    yield
    loader.use(before)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shared_library(tmp_path, "libold.so.1", OLD)


@pytest.fixture
def system() -> Path:
    """The system's own libpcap."""
    return loader._open_system().path


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(pypcapzc.paths.__file__).parent.parent), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def complaint(path: Path | str) -> str:
    with pytest.raises(LibraryError) as caught:
        libpcap.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith("Name the file of a libpcap for this system.")
    return message


# --- importing -----------------------------------------------------------------------------------------


@linux_only
def test_import_and_look_up_load_no_library() -> None:
    looked_up = "[getattr(pypcapzc.libpcap, name) for name in dir(pypcapzc.libpcap)]"
    code = f"import pypcapzc.libpcap; {looked_up}; print(open('/proc/self/maps').read())"
    assert "libpcap" not in python(code).replace("/pypcapzc/libpcap/", "")
    assert "libpcap" in python(f"import pypcapzc.libpcap; pypcapzc.libpcap.pcap_lib_version(); {code}")


def test_import_brings_in_nothing_optional() -> None:
    code = "import sys, pypcapzc.libpcap; print(*sys.modules)"
    loaded = set(python(code).split())
    assert loaded.isdisjoint({"numpy", "click", "rich", "scapy", "subprocess", "asyncio", "tempfile"})


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="pcap_no_such_thing"):
        getattr(libpcap, "pcap_no_such_thing")  # noqa: B009 - a type checker would see it otherwise


# --- which library -------------------------------------------------------------------------------------


def test_the_systems_library_is_found(
    restored: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path))
    library = libpcap.library()
    assert library.origin == "system"
    assert library.path.is_absolute()
    assert library.version_tuple >= (1, 0)
    assert libpcap.pcap_lib_version().decode() == library.version
    assert libpcap.library() is library
    assert str(library.path) in repr(library)


@pytest.mark.cc
def test_the_path_is_the_file_that_was_loaded(old: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.so"
    link.symlink_to(old)
    library = libpcap.load(link)
    assert library.path == old.resolve()
    assert library.version == "libpcap version 1.0.0"
    assert library.version_tuple == (1, 0, 0)
    assert library.origin == "argument"


@pytest.mark.cc
def test_the_path_is_known_without_dladdr_too(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_by_dladdr", lambda address: None)
    library = libpcap.load(old)
    assert library.path == old.resolve()
    monkeypatch.setattr(loader, "_by_maps", lambda address: None)
    assert libpcap.load(old).path == old


@pytest.mark.cc
def test_a_relative_path_is_a_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old.parent)
    assert libpcap.load(old.name).path == old.resolve()
    assert libpcap.load(Path(old.name)).path == old.resolve()


@pytest.mark.cc
def test_order_of_the_places(
    restored: None, old: Path, system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PYPCAPZC_HOME", str(home))
    assert pypcapzc.paths.built_library() is None
    assert libpcap.load().origin == "system"

    bundled = shared_library(tmp_path, "bundled.so", OLD)
    monkeypatch.setattr(pypcapzc.paths, "bundled_library", lambda: bundled)
    assert (libpcap.load().origin, libpcap.load().path) == ("bundled", bundled.resolve())

    folder = pypcapzc.paths.installed_libraries_dir()
    folder.mkdir(parents=True)
    built = shared_library(folder, pypcapzc.paths.LIBRARY_NAMES[0], OLD)
    assert (libpcap.load().origin, libpcap.load().path) == ("built", built.resolve())

    monkeypatch.setenv(loader.ENVIRONMENT_VARIABLE, str(old))
    assert (libpcap.load().origin, libpcap.load().path) == ("environment", old.resolve())
    assert libpcap.load(system).path == system

    monkeypatch.setenv(loader.ENVIRONMENT_VARIABLE, "")
    assert libpcap.load().origin == "built"


@pytest.mark.cc
def test_the_environment_is_honoured_by_a_fresh_process(old: Path) -> None:
    code = "from pypcapzc import libpcap; print(libpcap.library().path, libpcap.pcap_snapshot(None))"
    assert python(code, PYPCAPZC_LIBPCAP=str(old)) == f"{old.resolve()} 4711"


def test_places_follow_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYPCAPZC_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert pypcapzc.paths.data_dir() == tmp_path / ".local/share/pypcapzc"
    assert pypcapzc.paths.cache_dir() == tmp_path / ".cache/pypcapzc"
    assert pypcapzc.paths.installed_libraries_dir("linux-amd64").parts[-2:] == ("lib", "linux-amd64")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert pypcapzc.paths.data_dir() == tmp_path / ".local/share/pypcapzc"
    assert pypcapzc.paths.cache_dir() == tmp_path / "cache/pypcapzc"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert pypcapzc.paths.data_dir() == tmp_path / "Library/Application Support/pypcapzc"
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path / "here"))
    assert pypcapzc.paths.data_dir() == tmp_path / "here/data"
    assert pypcapzc.paths.cache_dir() == tmp_path / "here/cache"


# --- libraries that cannot be used ---------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in complaint(tmp_path / "nothing.so")
    assert "cannot be loaded" in complaint("libpypcapzc-no-such-library.so")


@linux_only
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"GROUP ( libpcap.so.1 )\n", "is a text file, not a shared library"),
        (b"!<arch>\nlibpcap.a\0", "is a static archive"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "is a Mach-O file (macOS)"),
        (b"MZ" + bytes(60), "is a Windows file"),
        (bytes(64), "is some other kind of file"),
        (b"\x7fELF\x09\x09" + bytes(60), "is a damaged ELF file"),
        (b"\x7fELF", "is a damaged ELF file"),
    ],
)
def test_a_file_that_is_no_shared_library(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "libpcap.so.1"
    file.write_bytes(content)
    assert what in complaint(file)


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in complaint(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "libpcap.so.1"
    file.write_bytes(b"x")

    def forbidden(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("pypcapzc.libpcap.binaries._head", forbidden)
    assert "cannot be read: Permission denied" in complaint(file)


@linux_only
@pytest.mark.cc
@pytest.mark.parametrize(
    ("offset", "change", "what"),
    [
        (18, b"\xf7\x00", "is for machine 247 (64-bit, little-endian), but this Python is for"),
        (18, b"\x08\x00", "is for mips (64-bit, little-endian), but this Python is for"),
        (4, b"\x01", "32-bit, little-endian), but this Python is for"),
        (5, b"\x02", "64-bit, big-endian), but this Python is for"),
        (7, b"\x09", "is a FreeBSD library, but this is linux"),
    ],
)
def test_a_library_for_another_machine(old: Path, offset: int, change: bytes, what: str) -> None:
    content = bytearray(old.read_bytes())
    content[offset : offset + len(change)] = change
    other = old.with_name("other.so")
    other.write_bytes(content)
    assert what in complaint(other)


@linux_only
@pytest.mark.cc
def test_a_truncated_library(old: Path) -> None:
    short = old.with_name("short.so")
    short.write_bytes(old.read_bytes()[:200])
    assert "cannot be loaded (" in complaint(short)


@pytest.mark.cc
def test_a_library_that_is_no_libpcap(tmp_path: Path) -> None:
    other = shared_library(tmp_path, "libother.so", "int other(void) { return 1; }")
    assert "is not a libpcap" in complaint(other)


def test_a_bad_choice_in_the_environment_is_named_and_not_passed_over(
    restored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(loader.ENVIRONMENT_VARIABLE, str(tmp_path / "nothing.so"))
    with pytest.raises(
        LibraryError, match=r"^PYPCAPZC_LIBPCAP names .*nothing\.so, which does not exist\. Set"
    ):
        libpcap.pcap_lib_version()
    monkeypatch.setenv(loader.ENVIRONMENT_VARIABLE, __file__)
    with pytest.raises(LibraryError, match="which is a text file"):
        libpcap.library()
    monkeypatch.delenv(loader.ENVIRONMENT_VARIABLE)
    assert libpcap.pcap_lib_version()  # a failure is not remembered


def test_a_damaged_built_library_is_named_and_not_passed_over(
    restored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path))
    folder = pypcapzc.paths.installed_libraries_dir()
    folder.mkdir(parents=True)
    (folder / pypcapzc.paths.LIBRARY_NAMES[0]).write_text("oops")
    with pytest.raises(
        LibraryError,
        match=r"^The library that `pypcapzc build` installed, .* is .*Build it again, or delete it\.",
    ):
        libpcap.library()


def test_no_library_at_all(restored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path))
    monkeypatch.setattr(loader, "_system_candidates", lambda: iter(["libpypcapzc-no-such-library.so"]))
    with pytest.raises(LibraryError) as caught:
        libpcap.library()
    for part in ("No libpcap was found", "PYPCAPZC_LIBPCAP", "pypcapzc build"):
        assert part in str(caught.value)
    if sys.platform.startswith("linux"):
        assert "apt-get install libpcap0.8" in str(caught.value)


@linux_only
@pytest.mark.cc
def test_a_system_library_that_is_there_but_damaged(
    restored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = shared_library(
        tmp_path, "libneeded.so", "int needed(void) { return 1; }", "-Wl,-soname,libneeded.so"
    )
    source = OLD + "int needed(void); int pcap_fileno(void *p) { return needed(); }\n"
    damaged = shared_library(
        tmp_path, "libpcap.so.1", source, "-L", str(tmp_path), "-Wl,--no-as-needed", "-lneeded"
    )
    needed.unlink()
    monkeypatch.setattr(loader, "_system_candidates", lambda: iter(["libpypcapzc-no.so", str(damaged)]))
    with pytest.raises(
        LibraryError, match=r"The system's library, .*libpcap\.so\.1, cannot be loaded \(libneeded\.so"
    ):
        loader._open_system()
    monkeypatch.setattr(
        loader, "_system_candidates", lambda: iter([str(damaged), "libpypcapzc-no.so", "libc.so.6"])
    )
    with pytest.raises(LibraryError, match="libneeded"):
        loader._open_system()


# --- functions -----------------------------------------------------------------------------------------


@pytest.mark.cc
def test_a_function_that_the_library_lacks(restored: None, old: Path) -> None:
    library = libpcap.load(old)
    loader.use(library)
    function = libpcap.pcap_init
    assert not function.available()
    for _ in range(2):
        with pytest.raises(MissingFunctionError) as caught:
            function(0, libpcap.error_buffer())
        for part in ("pcap_init", "1.10.0", str(old.resolve()), "libpcap version 1.0.0", "PYPCAPZC_LIBPCAP"):
            assert part in str(caught.value)
    with pytest.raises(
        MissingFunctionError, match=r"libpcap has it since 1\.0\.0, so this one was built without it"
    ):
        libpcap.pcap_activate(None)
    with pytest.raises(
        MissingFunctionError, match=r"it came with libpcap 1\.9\.0, built with --enable-remote"
    ):
        libpcap.pcap_setsampling(None)
    with pytest.raises(MissingFunctionError, match=r"only libpcap 1\.7\.0 to 1\.9\.0 have it"):
        libpcap.bpf_filter_with_aux_data(None, None, 0, 0, None)
    if sys.platform != "win32":
        with pytest.raises(MissingFunctionError, match="on win32 only"):
            libpcap.pcap_getevent(None)


@pytest.mark.cc
def test_another_library_takes_effect_at_once(restored: None, old: Path, system: Path) -> None:
    from pypcapzc.libpcap import pcap_lib_version

    loader.use(libpcap.load(system))
    before = pcap_lib_version()
    first = libpcap.library()
    assert loader.use(libpcap.load(old)) is first
    assert pcap_lib_version() == libpcap.pcap_lib_version() == b"libpcap version 1.0.0"
    loader.use(first)
    assert pcap_lib_version() == before
    # Both at a time, each through its own object.
    assert libpcap.load(old).function("pcap_snapshot")(None) == 4711
    assert first.function("pcap_lib_version")() == before


def test_arguments_are_checked(restored: None) -> None:
    with pytest.raises(ctypes.ArgumentError):
        libpcap.pcap_create(b"lo", b"immutable bytes are no buffer for an error")
    with pytest.raises(ctypes.ArgumentError):
        libpcap.pcap_close(12345)
    buffer = ctypes.create_string_buffer(256)
    for errbuf in (buffer, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_char))):
        assert not libpcap.pcap_open_offline(b"/nowhere/at.all", errbuf)
        assert b"No such file" in buffer.value


def test_a_function_may_be_an_argument(restored: None, tmp_path: Path) -> None:
    """pcap_dump as the callback of pcap_dispatch: packets pass from file to file without Python code."""
    header = libpcap.pcap_file_header(0xA1B2C3D4, 2, 4, 0, 0, 65535, libpcap.LINKTYPE_ETHERNET)
    record = (1).to_bytes(4, sys.byteorder) * 2 + (60).to_bytes(4, sys.byteorder) * 2 + bytes(60)
    file, copy = tmp_path / "in.pcap", tmp_path / "out.pcap"
    file.write_bytes(bytes(header) + 3 * record)
    handle = libpcap.pcap_open_offline(bytes(file), libpcap.error_buffer())
    dumper = libpcap.pcap_dump_open(handle, bytes(copy))
    assert libpcap.pcap_dispatch(handle, -1, libpcap.pcap_dump, dumper) == 3
    libpcap.pcap_dump_close(dumper)
    libpcap.pcap_close(handle)
    assert copy.read_bytes() == file.read_bytes()


def test_a_filter_program_and_a_callback_in_python(restored: None, tmp_path: Path) -> None:
    handle = libpcap.pcap_open_dead(libpcap.DLT_EN10MB, 100)
    program = libpcap.bpf_program()
    mask = libpcap.PCAP_NETMASK_UNKNOWN
    assert libpcap.pcap_compile(handle, program, b"len > 50", 1, mask) == 0
    assert libpcap.bpf_validate(program.bf_insns, program.bf_len) == 1
    assert libpcap.bpf_image(program.bf_insns, 0).startswith(b"(000)")
    header = libpcap.pcap_pkthdr(caplen=60, len=60)
    assert libpcap.pcap_offline_filter(program, header, bytes(60))
    assert libpcap.bpf_filter(program.bf_insns, bytes(60), 60, 60)
    assert not libpcap.bpf_filter(program.bf_insns, bytes(60), 40, 40)
    libpcap.pcap_freecode(program)
    assert libpcap.pcap_compile(handle, program, b"no such thing", 1, mask) == libpcap.PCAP_ERROR
    assert libpcap.pcap_geterr(handle)
    libpcap.pcap_close(handle)


def test_devices_are_listed(restored: None) -> None:
    first, errbuf = ctypes.POINTER(libpcap.pcap_if_t)(), libpcap.error_buffer()
    assert libpcap.pcap_findalldevs(first, errbuf) == 0
    names, device = [], first
    while device:
        names.append(device.contents.name)
        device = device.contents.next
    libpcap.pcap_freealldevs(first)
    if sys.platform.startswith("linux"):
        assert b"lo" in names


def test_one_library_for_all_threads(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, real = [], loader.load

    def counted() -> loader.Library:
        loads.append(1)
        return real()

    monkeypatch.setattr(loader, "load", counted)
    barrier, found = threading.Barrier(8), []

    def look() -> None:
        barrier.wait()
        found.append((libpcap.pcap_lib_version(), libpcap.library()))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(set(found)) == 1


# --- symbols of other libraries ------------------------------------------------------------------------


@linux_only
def test_symbols_stay_local() -> None:
    code = """
import ctypes
from pypcapzc import libpcap
libpcap.pcap_lib_version()
print(hasattr(ctypes.CDLL(None), "pcap_lib_version"))
"""
    assert python(code) == "False"


@linux_only
@pytest.mark.cc
@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="the C library has no RTLD_DEEPBIND")
def test_a_global_libpcap_does_not_take_over_inner_calls(tmp_path: Path) -> None:
    """pcap_open_dead calls pcap_open_dead_with_tstamp_precision: the library's own, not the preloaded one."""
    source = OLD + "pcap_t *pcap_open_dead_with_tstamp_precision(int l, int s, unsigned p) { return 0; }\n"
    intruder = shared_library(tmp_path, "intruder.so", source)
    code = "from pypcapzc import libpcap; print(bool(libpcap.pcap_open_dead(1, 100)))"
    assert python(code, LD_PRELOAD=str(intruder)) == "True"


# --- the patch's symbols -------------------------------------------------------------------------------


@pytest.mark.cc
def test_the_patch_is_told_by_its_symbol(restored: None, old: Path, tmp_path: Path) -> None:
    assert extension.abi(libpcap.load(old)) is None
    patched = libpcap.load(shared_library(tmp_path, "patched.so", PATCHED))
    assert extension.abi(patched) == 1
    loader.use(patched)
    assert extension.abi() == 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("libpcap version 1.10.3 (with TPACKET_V3)", (1, 10, 3)),
        ("libpcap version 1.11.0-PRE-GIT (with TPACKET_V3)", (1, 11, 0)),
        ("libpcap version 1.10.1 -- Apple version 133", (1, 10, 1)),
        ("Npcap version 1.79, based on libpcap version 1.10.4", (1, 10, 4)),
        ("something else", ()),
    ],
)
def test_version_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert loader._version_numbers(text) == numbers
