"""What can be wrong with a FreeBSD system: one clear error each that says what to do."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pypcapzc
from pypcapzc import platforms, zerocopy
from pypcapzc.errors import (
    CapturePermissionError,
    DeviceNotFoundError,
    LibraryError,
    PcapError,
    ZeroCopyUnavailableError,
)
from pypcapzc.platforms import freebsd, supplied
from pypcapzc.sources import live
from support import cli, simulated
from support.bpfsim import Simulator

pytestmark = pytest.mark.bpfsim

BIOCGDLT = freebsd._ior(106, 4)
BIOCSETZBUF = freebsd._iow(129, 24)
BIOCSETIF = freebsd._iow(108, 32)
ENABLE = "sysctl net.bpf.zerocopy_enable=1"


@pytest.fixture(scope="module")
def library(patched: Callable[[str], Path]) -> Path:
    """The newest patched one, or that of a run that is on the simulated device as a whole."""
    return Path(os.environ["PYPCAPZC_LIBPCAP"]) if simulated.ACTIVE else patched("plain")


@pytest.fixture
def sim(library: Path) -> Iterator[Simulator]:
    with simulated.loaded(library) as simulator:
        simulator.set_sysctl("net.bpf.zerocopy_enable", 1)
        simulator.add_interface("em0")
        yield simulator
        simulator.set_minors(-1)


def _open(**options: Any) -> pypcapzc.Capture:
    return pypcapzc.open_live("em0", timeout_ms=10, **options)


def _refused(kind: type[PcapError], **options: Any) -> str:
    with pytest.raises(PcapError) as caught:
        _open(**options)
    assert type(caught.value) is kind, caught.value
    message = str(caught.value)
    assert "em0" in message
    assert "\n" not in message
    return message


def _auto() -> tuple[bool, str]:
    """Whether mode auto captures, then copied, and what it says."""
    try:
        with _open() as capture:
            assert not capture.zero_copy.lent
            return True, capture.zero_copy.reason
    except PcapError as error:
        return False, str(error)


def _falls_back(why: str) -> None:
    """Mode auto captures, copies, and says why."""
    with _open() as capture:
        used = capture.zero_copy
        assert (used.lent, used.shared, used.mechanism) == (False, False, "none")
        assert why in used.reason


def test_zero_copy_is_switched_off(sim: Simulator) -> None:
    sim.set_sysctl("net.bpf.zerocopy_enable", 0)
    _falls_back(ENABLE)
    assert ENABLE in _refused(ZeroCopyUnavailableError, mode="zerocopy")
    found = zerocopy.status("em0")
    assert (found.lent, found.zero_copy, found.mechanism) == (False, False, "bpf_zbuf")
    assert ENABLE in found.fixes
    assert any("/etc/sysctl.conf" in fix for fix in found.fixes)
    assert found.device is not None
    assert found.device.opened


def test_it_is_switched_off_between_the_question_and_the_opening(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zerocopy, "require", lambda device: sim.set_sysctl("net.bpf.zerocopy_enable", 0))
    message = _refused(ZeroCopyUnavailableError, mode="zerocopy")
    assert ENABLE in message
    assert "pypcapzc doctor" in message


@pytest.mark.parametrize("error", [errno.ENOTTY, errno.EOPNOTSUPP])
def test_a_kernel_without_the_ioctls(sim: Simulator, error: int) -> None:
    sim.fail(freebsd.BIOCSETBUFMODE, error)
    with _open() as capture:
        used = capture.zero_copy
    assert (used.lent, used.mechanism) == (False, "none")
    assert "the kernel doesn't have zero-copy BPF" in used.reason
    message = _refused(ZeroCopyUnavailableError, mode="zerocopy")
    assert os.strerror(error) in message


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOMEM, errno.EFAULT])
def test_a_kernel_that_refuses_the_buffers(sim: Simulator, error: int) -> None:
    sim.fail(BIOCSETZBUF, error)
    message = _refused(ZeroCopyUnavailableError, mode="zerocopy")
    assert os.strerror(error) in message or "required" in message
    with _open(mode="buffered") as capture:  # as the message says
        assert capture.zero_copy.mechanism == "none"
    went_on, said = _auto()
    assert os.strerror(error) in said
    assert went_on or ("mode='buffered'" in said and "buffer_size" in said)
    assert sim.open_descriptors() == 0


def test_an_unpatched_library_that_would_never_return(unpatched: Callable[[str], Path]) -> None:
    with simulated.loaded(unpatched("plain")) as simulator:
        simulator.add_interface("em0")
        simulator.set_sysctl("net.bpf.zerocopy_enable", 1)
        message = _refused(PcapError)
        assert "sysctl net.bpf.zerocopy_enable=0" in message
        assert "pypcapzc build" in message
        assert simulator.open_descriptors() == 0
        simulator.set_sysctl("net.bpf.zerocopy_enable", 0)  # as the message says
        with _open() as capture:
            assert capture.next_block(0.1) is None
            simulator.send("em0", bytes(60))
            assert len(capture.next_block(1) or ()) == 1
            used = capture.zero_copy
            assert (used.lent, used.mechanism) == (False, "none")
            assert "not patched" in used.reason
            assert any("pypcapzc build" in fix for fix in used.fixes)
            capture.set_filter("udp")  # which sets the counters of an unpatched one to 0
            simulator.send("em0", bytes(60))
            assert capture.stats().received == 2


def test_buffers_over_the_maximum_are_cut_and_said(sim: Simulator) -> None:
    for value in (2**31 - 1, 1 << 30):
        with _open(buffer_size=value) as capture:
            clipped = capture.zero_copy.clipped
            assert clipped is not None
            assert f"asked for {value} bytes, got 2097152" in clipped
    with pytest.raises(ValueError, match="buffer_size"):
        _open(buffer_size=2**31)
    for value in (1, 4096):
        with _open(buffer_size=value) as capture:
            assert capture.zero_copy.clipped is None


def test_no_device_is_free(sim: Simulator) -> None:
    sim.set_minors(1)
    with _open():
        assert "fstat" in _refused(PcapError)
        permission = zerocopy.status().permissions
    assert not permission.allowed
    assert "in use" in permission.reason
    assert permission.fix is not None
    assert "fstat" in permission.fix
    sim.set_minors(-1)
    sim.fail_open(errno.EMFILE)
    assert os.strerror(errno.EMFILE) in _refused(PcapError)


def test_no_device_at_all(sim: Simulator) -> None:
    sim.set_minors(0)
    permission = zerocopy.status().permissions
    assert not permission.allowed
    assert permission.fix is not None
    assert "devfs" in permission.fix
    message = _refused(PcapError)
    assert "no BPF devices" in message
    assert "devfs" in message


@pytest.mark.parametrize("mode", ["auto", "zerocopy", "buffered"])
def test_no_permission(sim: Simulator, mode: Any) -> None:
    sim.fail_open(errno.EACCES)
    kind: type[PcapError] = ZeroCopyUnavailableError if mode == "zerocopy" else CapturePermissionError
    message = _refused(kind, mode=mode)
    assert "run as root" in message or "pypcapzc doctor" in message
    found = zerocopy.status()
    assert not found.permissions.allowed
    assert not found.zero_copy
    assert found.permissions.fix in found.fixes
    assert "chgrp" in str(found.permissions.fix)


def test_an_interface_that_vanishes_between_create_and_activate(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = live._configure

    def vanishing(*arguments: Any) -> None:
        configure(*arguments)
        sim.remove_interface("em0")

    monkeypatch.setattr(live, "_configure", vanishing)
    assert "pypcapzc devices" in _refused(DeviceNotFoundError)
    assert sim.open_descriptors() == 0


def test_an_interface_that_vanishes_while_it_is_opened(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bound already, and gone when its link-layer type is asked for."""
    sim.fail(BIOCGDLT, errno.EINVAL)
    refusal = live._refusal

    def vanished(*arguments: Any) -> PcapError:
        sim.remove_interface("em0")
        return refusal(*arguments)

    monkeypatch.setattr(live, "_refusal", vanished)
    message = _refused(DeviceNotFoundError)
    assert "disappeared while it was opened" in message
    assert "pypcapzc devices" in message


@pytest.mark.usefixtures("sim")
def test_no_such_device() -> None:
    for name in ("nosuch0", "x" * 40):
        with pytest.raises(DeviceNotFoundError, match="pypcapzc devices"):
            pypcapzc.open_live(name)
    found = zerocopy.status("nosuch0")
    assert found.device is not None
    assert not found.device.opened
    assert not found.lent


@pytest.mark.usefixtures("sim")
def test_another_layout_of_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = bytearray(ctypes.sizeof(freebsd.XbpfD))
    assert len(entry) == 168  # on 64-bit systems
    struct.pack_into("I", entry, 0, len(entry))
    assert len(freebsd._entries(bytes(entry * 3))) == 3
    for wrong in (struct.pack("I", 176) + bytes(172), bytes(168), bytes(entry) + b"x", b"x"):
        with pytest.raises(freebsd.UnknownError, match="168"):
            freebsd._entries(wrong)
    monkeypatch.setattr(
        platforms.FreeBSD, "descriptors", lambda _: (_ for _ in ()).throw(freebsd.UnknownError("another"))
    )
    with _open() as capture:
        told = capture.zero_copy.descriptor
    assert told is not None
    assert "another" in told.how
    assert told.buffer_mode == "zbuf"


def test_a_platform_that_no_library_brings_along(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PcapError, match=r"plan9.*brings none of that name along"):
        platforms.Supplied.by_name("plan9")

    def missing() -> object:
        raise LibraryError("there is none")

    monkeypatch.setattr(supplied, "current", missing)
    nothing = platforms.Supplied.by_name("bpfsim")
    assert (nothing.kernel().usable, nothing.permission().allowed) == (False, False)
    assert (nothing.limits(), nothing.tuning()) == ({}, ())


# --- as processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", [True, False])
def test_doctor(library: Path, sharing: bool) -> None:
    env = cli.environment(
        PYPCAPZC_LIBPCAP=str(library),
        PYPCAPZC_PLATFORM=simulated.NAME,
        BPFSIM_ZEROCOPY=str(int(sharing)),
        BPFSIM_INTERFACES="em0",
    )
    done = cli.run("doctor", "--json", env=env)
    assert done.code == (0 if sharing else 1)
    found = done.json
    assert (found["platform"], found["mechanism"]) == ("bpfsim", "bpf_zbuf")
    assert (found["lent"], found["zero_copy"]) == (sharing, sharing)
    assert found["library"]["patched"] is True
    assert found["limits"] == {"net.bpf.maxbufsize": 524288, "net.bpf.bufsize": 4096, "BIOCGETZMAX": 2097152}
    assert any(line.startswith("sysctl net.bpf.maxbufsize=") for line in found["tuning"])
    assert found["fixes"] == [] if sharing else found["fixes"][0] == ENABLE
    assert found["device"] is None
    asked = cli.run("doctor", "--json", "--device", "em0", env=env)
    assert asked.code == done.code
    assert asked.json["device"]["mechanism"] == ("bpf_zbuf" if sharing else "none")
    text = cli.run("doctor", env=env).text
    assert "net.bpf.maxbufsize" in text
    assert "What allows larger buffers" in text
    assert (ENABLE in text) is not sharing
    assert cli.run("doctor", "-i", "nosuch0", env=env).code == 1
    devices = cli.run("devices", "--json", env=env).json
    assert {"em0", "lo0"} <= {device["name"] for device in devices}


@pytest.mark.parametrize("sharing", [True, False])
def test_capture_says_what_it_does(library: Path, sharing: bool) -> None:
    env = cli.environment(
        PYPCAPZC_LIBPCAP=str(library),
        PYPCAPZC_PLATFORM=simulated.NAME,
        BPFSIM_ZEROCOPY=str(int(sharing)),
        BPFSIM_INTERFACES="em0",
    )
    arguments = ("capture", "-i", "em0", "--duration", 0.1, "--buffer-size", "8M")
    found = cli.run(*arguments, "--json", env=env).json
    assert (found["lent"], found["mode"], found["mechanism"]) == (
        (True, "zerocopy", "bpf_zbuf") if sharing else (False, "buffered", "none")
    )
    assert ("512 pages" if sharing else "net.bpf.maxbufsize") in found["clipped"]
    assert (found["captured"], found["received"], found["matched"], found["dropped"]) == (0, 0, 0, 0)
    done = cli.run(*arguments, env=env)
    assert "the buffer is smaller than asked for" in done.err
    assert (ENABLE in done.err) is not sharing
    required = cli.run(*arguments, "--mode", "zerocopy", env=env)
    if sharing:
        assert required.code == 0
    else:
        assert ENABLE in required.complaint(1)
