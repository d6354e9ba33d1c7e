"""Reports HTTP logins that go over the network in clear text: sudo python http_credentials.py eth0

TCPSession puts requests together that come in several segments.
"""

from __future__ import annotations

import base64
import binascii
import sys
from urllib.parse import parse_qs

from scapy.layers.http import HTTPRequest
from scapy.layers.inet import IP
from scapy.packet import Packet, Raw
from scapy.sendrecv import sniff
from scapy.sessions import TCPSession

import pypcapzc.scapy

_USERS = ("user", "username", "login", "email")


def login(packet: Packet) -> str | None:
    """Who logs in where, without the password; None for other packets."""
    if HTTPRequest not in packet:
        return None
    request = packet[HTTPRequest]
    user = _basic(request.Authorization) or _form(packet)
    if user is None:
        return None
    host = (request.Host or b"?").decode(errors="replace")
    return f"{packet[IP].src} logs in at {host} as {user}, in clear text"


def _basic(header: bytes | None) -> str | None:
    kind, _, value = (header or b"").partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        return base64.b64decode(value).decode(errors="replace").partition(":")[0]
    except binascii.Error:
        return None


def _form(packet: Packet) -> str | None:
    if Raw not in packet:
        return None
    fields = parse_qs(packet[Raw].load.decode(errors="replace"))
    return next((fields[name][0] for name in _USERS if name in fields and "password" in fields), None)


def main(iface: str | None = None, **options: object) -> None:
    """Report until Ctrl-C; ``options`` are further ones of sniff()."""
    pypcapzc.scapy.enable()
    sniff(iface=iface, filter="tcp port 80", session=TCPSession, prn=login, store=False, **options)


if __name__ == "__main__":
    main(*sys.argv[1:2])
