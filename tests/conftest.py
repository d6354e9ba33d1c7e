"""What a test needs, and what happens where it cannot be had.

A test marked ``netns`` (or another marker in CAPABILITIES) is skipped with its reason where the
machine cannot run it; ``PYPCAPZC_REQUIRE=netns,...`` turns such a skip into a failure.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from lab import netns, traffic
from pypcapzc import zerocopy
from support import bpfsim, engine, headers, kit, simulated

CAPABILITIES: dict[str, Callable[[], str | None]] = {
    "netns": cache(netns.why_not),
    "cc": headers.why_not,
    "kit": kit.why_not,
    "docker": cache(engine.why_not),
    "bpfsim": bpfsim.why_not,
}

# A shell's background job ignores SIGINT, and so would every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[netns.Lab]:
    """A private network namespace with the veth pair zc0 (capture here) and zc1 (send here).

    Its devices are interfaces of the simulated kernel too, where the run is on that.
    """
    with netns.Lab() as made:
        if not simulated.ACTIVE:
            yield made
            return
        simulated.attach(made)
        monkeypatch.setenv("BPFSIM_INTERFACES", simulated.interfaces(made))
        yield made
        monkeypatch.delenv("BPFSIM_INTERFACES")
        simulated.control().reset()


@pytest.fixture
def sender(net: netns.Lab) -> Iterator[traffic.Sender]:
    """Sends 64-byte frames into the lab's pair."""
    with net.inside():
        opened = traffic.Sender(net.send_device)
    with opened:
        yield opened


@pytest.fixture
def enabled(net: netns.Lab) -> Iterator[netns.Lab]:
    """The lab, with this thread in it and scapy's backend enabled; scapy knows its devices."""
    from scapy.config import conf

    import pypcapzc.scapy

    with net.inside(), pypcapzc.scapy.enable():
        conf.ifaces.reload()
        yield net
    conf.ifaces.reload()


@pytest.fixture(scope="session")
def patched() -> bool:
    """Whether the libpcap in use has the zero-copy patch; the suite has to pass with either."""
    return zerocopy.status().library.patched


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = {word.strip() for word in os.environ.get("PYPCAPZC_REQUIRE", "").split(",")}
    for marker, why_not in CAPABILITIES.items():
        if item.get_closest_marker(marker) and (reason := why_not()):
            if marker in required:
                pytest.fail(f"PYPCAPZC_REQUIRE names {marker!r}, but {reason}", pytrace=False)
            pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not any(item.get_closest_marker(marker) for marker in CAPABILITIES):
            item.add_marker(pytest.mark.unit)
