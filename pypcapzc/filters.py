"""Filters: pcap-filter(7) expressions, compiled by libpcap."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .constants import PCAP_NETMASK_UNKNOWN
from .errors import FilterError
from .libpcap import Library, bpf_program

# The compiler had global state before libpcap 1.8.
_compiling = threading.Lock()


@contextmanager
def compiled(
    c: Library, pcap: Any, expression: str, netmask: int = PCAP_NETMASK_UNKNOWN
) -> Iterator[bpf_program]:
    """The program of an expression for the link-layer type of ``pcap`` (pcap_compile(3PCAP)).

    ``netmask``, 0xFFFFFF00 for a /24, is what "ip broadcast" needs.  Raises FilterError with
    libpcap's own message.
    """
    if "\0" in expression:
        raise FilterError(f"filter {expression!r} contains a NUL character")
    program = bpf_program()
    with _compiling:
        status = c.pcap_compile(
            pcap, ctypes.byref(program), expression.encode(errors="surrogateescape"), 1, netmask
        )
    if status < 0:
        why = c.pcap_geterr(pcap).decode(errors="replace")
        raise FilterError(f"filter {expression!r} does not compile: {why}", status)
    try:
        yield program
    finally:
        c.pcap_freecode(ctypes.byref(program))
