"""The simulated /dev/bpf under Python tests: those of FreeBSD, and the Linux ones on another system.

With PYPCAPZC_LIBPCAP naming such a library, PYPCAPZC_PLATFORM=bpfsim and BPFSIM_OUTSIDE_POLLER=1, the tests
of live captures run on it as they are: the interfaces of the simulated kernel have the names of the lab's
devices, and their packets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.netns import Lab
from pypcapzc import platforms
from pypcapzc.libpcap import loader
from support.bpfsim import Simulator

NAME = "bpfsim"
ACTIVE = os.environ.get("PYPCAPZC_PLATFORM") == NAME
"""This whole run is on the simulated device."""
SHARING = os.environ.get("BPFSIM_ZEROCOPY", "1") != "0"
"""And net.bpf.zerocopy_enable is 1 there."""
linux_only = pytest.mark.skipif(ACTIVE, reason="about Linux: its rights, its devices' states or its ring")


@contextmanager
def loaded(path: Path) -> Iterator[Simulator]:
    """Captures of this process are on the simulated device within the ``with``."""
    library = loader.load(path)
    before = loader.use(library)
    simulator = Simulator(library.path)
    try:
        with platforms.use(platforms.Supplied(NAME, library)):
            simulator.reset()
            simulator.set_outside_poller(True)
            yield simulator
            simulator.reset()
    finally:
        loader.use(before)


def environment(library: Path, sharing: bool) -> dict[str, str]:
    """Of a process that is on the simulated device as a whole."""
    return {
        **os.environ,
        "PYPCAPZC_LIBPCAP": str(library),
        "PYPCAPZC_PLATFORM": NAME,
        "BPFSIM_OUTSIDE_POLLER": "1",
        "BPFSIM_ZEROCOPY": str(int(sharing)),
    }


def control() -> Simulator:
    """Of the library that this process uses."""
    return Simulator(loader.current().path)


def attach(net: Lab) -> None:
    """Let the lab's devices appear as interfaces of the simulated kernel."""
    simulator = control()
    simulator.reset()
    with net.inside():
        for device in (net.capture_device, net.send_device):
            simulator.add_interface(device)
            simulator.attach_device(device, device)


def interfaces(net: Lab) -> str:
    """The same for processes that are started in the lab: BPFSIM_INTERFACES."""
    return ",".join(f"{device}={device}" for device in (net.capture_device, net.send_device))
