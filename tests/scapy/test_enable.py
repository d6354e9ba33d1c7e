"""enable() and disable(): what they replace, and that they restore it exactly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.config import conf
from scapy.sendrecv import AsyncSniffer
from scapy.supersocket import SuperSocket

import pypcapzc.scapy
from pypcapzc.scapy import ZeroCopyListenSocket, ZeroCopySocket
from pypcapzc.scapy.options import Current, Options
from support import cli

pytestmark = pytest.mark.unit


def sockets() -> tuple[Any, ...]:
    return conf.L2listen, conf.L2socket, conf.L3socket, vars(AsyncSniffer)["_run"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = sockets()
    yield
    pypcapzc.scapy.disable()
    assert sockets() == before


def test_what_is_replaced_and_restored() -> None:
    before = sockets()
    pypcapzc.scapy.enable(buffer_size=1 << 20)
    assert (conf.L2listen, conf.L2socket) == (ZeroCopyListenSocket, ZeroCopySocket)
    assert sockets()[2] is before[2]
    assert Current.options.buffer_size == 1 << 20
    pypcapzc.scapy.disable()
    assert sockets() == before
    assert Current.options == Options()
    pypcapzc.scapy.disable()  # no error


def test_interfaces_of_all_providers_follow() -> None:
    own = (conf.L2listen, conf.L2socket)
    for interface in conf.ifaces.values():
        assert (interface.l2listen(), interface.l2socket()) == own
    with pypcapzc.scapy.enable():
        for interface in conf.ifaces.values():
            assert (interface.l2listen(), interface.l2socket()) == (ZeroCopyListenSocket, ZeroCopySocket)


def test_twice() -> None:
    before = sockets()
    pypcapzc.scapy.enable(lazy=False)
    run = vars(AsyncSniffer)["_run"]
    pypcapzc.scapy.enable(timeout_ms=7)
    assert vars(AsyncSniffer)["_run"] is run  # not around itself
    assert Current.options == Options(timeout_ms=7)
    pypcapzc.scapy.disable()
    assert sockets() == before


def test_within_each_other() -> None:
    before = sockets()
    with pypcapzc.scapy.enable(timeout_ms=7):
        with pypcapzc.scapy.enable(timeout_ms=9):
            assert Current.options.timeout_ms == 9
        assert Current.options.timeout_ms == 7
        assert conf.L2listen is ZeroCopyListenSocket
    assert sockets() == before


def test_what_somebody_else_has_set_since_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(SuperSocket):
        pass

    before = conf.L2listen
    pypcapzc.scapy.enable()
    monkeypatch.setattr(conf, "L2listen", Own)
    pypcapzc.scapy.disable()
    assert conf.L2listen is Own
    conf.L2listen = before
    monkeypatch.undo()
    conf.L2listen = before


def test_sockets_of_bsd_are_replaced_and_restored_alike() -> None:
    """As scapy.config sets them there."""

    class L2bpfListenSocket(SuperSocket):
        pass

    class L2bpfSocket(SuperSocket):
        pass

    before = conf.L2listen, conf.L2socket
    theirs: list[Any] = [L2bpfListenSocket, L2bpfSocket]
    conf.L2listen, conf.L2socket = theirs
    try:
        with pypcapzc.scapy.enable():
            assert sockets()[:2] == (ZeroCopyListenSocket, ZeroCopySocket)
        assert sockets()[:2] == (L2bpfListenSocket, L2bpfSocket)
    finally:
        conf.L2listen, conf.L2socket = before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snaplen": 0}, "snaplen is 0"),
        ({"buffer_size": -1}, "buffer_size is -1"),
        ({"timeout_ms": -1}, "timeout_ms is -1"),
        ({"mode": "fast"}, "mode is 'fast'"),
    ],
)
def test_options_out_of_range(options: Any, message: str) -> None:
    before = sockets()
    with pytest.raises(ValueError, match=message):
        pypcapzc.scapy.enable(**options)
    assert sockets() == before


def test_what_a_device_is_opened_with() -> None:
    listening, sending = Options().of_device(sends=False), Options().of_device(sends=True)
    assert (listening["buffer_size"], listening["timeout_ms"], listening["immediate"]) == (
        60 << 20,
        50,
        False,
    )
    assert (sending["buffer_size"], sending["timeout_ms"], sending["immediate"]) == (16 << 20, 4, False)
    chosen = Options(buffer_size=5000, timeout_ms=2, immediate=True).of_device(sends=True)
    assert (chosen["buffer_size"], chosen["timeout_ms"], chosen["immediate"]) == (5000, 2, True)
    assert Options(immediate=False).of_device(sends=True)["timeout_ms"] == 50
    assert Options(timeout_ms=0).of_device(sends=True)["timeout_ms"] == 0


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cli.ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_does_not_import_scapy() -> None:
    program = "import sys, pypcapzc.scapy; pypcapzc.scapy.disable(); print('scapy' in sys.modules)"
    assert run(program) == "False\n"


def test_without_scapy() -> None:
    program = """
import sys
sys.modules["scapy"] = None
import pypcapzc.scapy
for use in (pypcapzc.scapy.enable, lambda: pypcapzc.scapy.ZeroCopyListenSocket):
    try:
        use()
    except ImportError as error:
        print(error)
"""
    assert run(program) == "pypcapzc.scapy needs scapy: pip install 'pypcapzc[scapy]'\n" * 2
