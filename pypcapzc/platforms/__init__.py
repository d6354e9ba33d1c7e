"""Facts about this system, behind one provider.

Everything that depends on the operating system is asked here, so that tests and a simulated platform can
answer in its place: ``use()`` installs a provider, PYPCAPZC_PLATFORM names one.  A name that is none of
ours is that of a platform that the loaded libpcap brings along: ``bpfsim`` is a simulated BPF device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .base import Clipping, CounterMeanings, Descriptor, Kernel, Permission, Platform
from .bpf import BPF
from .freebsd import FreeBSD
from .linux import TPACKET_NAMES, Linux
from .supplied import Supplied

__all__ = [
    "BPF",
    "TPACKET_NAMES",
    "Clipping",
    "CounterMeanings",
    "Descriptor",
    "FreeBSD",
    "Kernel",
    "Linux",
    "Permission",
    "Platform",
    "Supplied",
    "current",
    "use",
]


def _detect() -> Platform:
    wanted = os.environ.get("PYPCAPZC_PLATFORM", "")
    system = wanted or sys.platform
    if system.startswith("linux"):
        return Linux()
    if system.startswith("freebsd"):
        return FreeBSD()
    if wanted:
        return Supplied.by_name(wanted)
    return BPF(sys.platform)


_chosen: Platform | None = None


def current() -> Platform:
    """The provider in use: the one given to use(), else PYPCAPZC_PLATFORM's, else this system's."""
    return _chosen if _chosen is not None else _detect()


@contextmanager
def use(platform: Platform) -> Iterator[Platform]:
    """Let ``platform`` answer for this system within a ``with`` statement."""
    global _chosen
    before, _chosen = _chosen, platform
    try:
        yield platform
    finally:
        _chosen = before
