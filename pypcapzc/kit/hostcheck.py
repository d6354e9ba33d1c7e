"""Run in a process of its own: loads the library that ``PYPCAPZC_LIBPCAP`` names, and captures on loopback.

Prints a JSON list of checks.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from ctypes import POINTER, byref, c_ubyte, string_at
from typing import Any

from .. import libpcap
from ..errors import LibraryError

_DEVICE = b"lo" if sys.platform.startswith("linux") else b"lo0"
_SECONDS = 5.0


def _row(name: str, passed: bool | None, detail: str) -> dict[str, object]:
    return {"name": name, "passed": passed, "detail": detail}


def _loads() -> dict[str, object]:
    try:
        return _row("loads here", True, libpcap.pcap_lib_version().decode())
    except LibraryError as error:
        return _row("loads here", False, str(error))


def _text(handle: Any, status: int) -> str:
    text: bytes = libpcap.pcap_geterr(handle) or libpcap.pcap_statustostr(status)
    return text.decode(errors="replace")


def _captures() -> dict[str, object]:
    name = "captures here"
    errbuf = libpcap.error_buffer()
    handle = libpcap.pcap_create(_DEVICE, errbuf)
    if not handle:
        return _row(name, False, errbuf.value.decode(errors="replace"))
    try:
        libpcap.pcap_set_snaplen(handle, 65535)
        libpcap.pcap_set_timeout(handle, 50)
        status = libpcap.pcap_activate(handle)
        if status < 0:
            return _row(name, None, f"not tried: {_text(handle, status)}")
        if libpcap.pcap_setnonblock(handle, 1, errbuf):
            return _row(name, False, errbuf.value.decode(errors="replace"))
        return _row(name, *_sees_itself(handle))
    finally:
        libpcap.pcap_close(handle)


def _sees_itself(handle: Any) -> tuple[bool | None, str]:
    """Send datagrams over loopback until one of them is captured."""
    token = secrets.token_bytes(16)
    header, data = POINTER(libpcap.pcap_pkthdr)(), POINTER(c_ubyte)()
    deadline = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while time.monotonic() < deadline:
            try:
                sender.sendto(token, ("127.0.0.1", 9))
            except OSError as error:
                return None, f"not tried: nothing can be sent over loopback ({error.strerror})"
            time.sleep(0.02)
            while (status := libpcap.pcap_next_ex(handle, byref(header), byref(data))) == 1:
                if token in string_at(data, header.contents.caplen):
                    return True, f"a packet of {header.contents.caplen} bytes on {_DEVICE.decode()}"
            if status < 0:
                return False, _text(handle, status)
    return False, f"no packet of its own within {_SECONDS:.0f} s"


def main() -> None:
    """Print the checks."""
    rows = [_loads()]
    if rows[0]["passed"]:
        rows.append(_captures())
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
