"""sniff() while frames are sent, and what is expected of it."""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.plist import PacketList
from scapy.sendrecv import sniff
from scapy.sessions import DefaultSession

from lab import frames
from lab.traffic import Sender

PATIENCE = 30
# Else scapy drops warnings that come soon after others from a line of the same number, in whatever file.
conf.warning_threshold = 0
TAKES_FROM_SOCKETS = hasattr(DefaultSession, "recv")
"""A session does, from scapy 2.6 on; before, sniff() did, and gave it the packets."""


def sent_while(sender: Sender, number: int, /, **options: Any) -> PacketList:
    """What sniff() gives when ``number`` frames are sent as soon as it has begun."""
    options = {"iface": "zc0", "timeout": PATIENCE, **options}
    return sniff(started_callback=lambda: sender.send(number), **options)


def numbers(packets: Any) -> list[int]:
    return [frames.sequence_of(bytes(each)) for each in packets]
