"""What python-libpcap 0.5 offers, on pypcapzc: compat.install() and `pypcapzc run` make it ``pylibpcap``.

Names, arguments, results and exceptions are python-libpcap's; messages say more.  What differs,
docs/migrating.md lists.  Its command line is `pypcapzc` here.
"""

from __future__ import annotations

from .base import LibPcap, Sniff, get_first_iface, get_iface_list, send_packet
from .open import OpenPcap
from .pcap import mpcap, rpcap, sniff, wpcap

__version__ = "0.5.4"

__all__ = [
    "LibPcap",
    "OpenPcap",
    "Sniff",
    "get_first_iface",
    "get_iface_list",
    "mpcap",
    "rpcap",
    "send_packet",
    "sniff",
    "wpcap",
]
