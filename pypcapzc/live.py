"""Opening a device."""

from __future__ import annotations

from typing import Literal

from . import zerocopy
from .capture import Capture, Mode
from .fanout import Fanout, start
from .libpcap import extension, library
from .sources.live import Options, open_device
from .waker import Waker

_LONGEST_NAP = 0.04
"""Seconds."""


def open_live(
    device: str,
    *,
    snaplen: int = 262144,
    promisc: bool = True,
    timeout_ms: int = 100,
    buffer_size: int | None = None,
    immediate: bool = False,
    mode: Mode = "auto",
    filter: str | None = None,
    tstamp_precision: Literal["nano", "micro"] = "nano",
    tstamp_type: str | None = None,
    rfmon: bool = False,
    fanout: Fanout | None = None,
) -> Capture:
    """Capture on a device (pcap_create(3PCAP), pcap_activate(3PCAP); libpcap 1.0, nanoseconds 1.5.1).

    snaplen       bytes kept of each packet, 1 to 262144
    promisc       promiscuous mode
    timeout_ms    how long the kernel may hold a partly filled buffer; 0: until it is full
    buffer_size   bytes of the kernel's buffer; None: libpcap's default (2 MiB on Linux)
    immediate     deliver each packet at once (lent blocks: within 1 ms), at a price under load
    mode          "auto": lent blocks where library and kernel can, else copied batches; "zerocopy": lent,
                  or ZeroCopyUnavailableError that says what is missing; "buffered": copied
    filter        a pcap-filter(7) expression, installed before the first packet is read
    tstamp_type   a pcap-tstamp(7) name, as "adapter"
    rfmon         monitor mode
    fanout        share the device's packets with other captures: see Fanout

    Raises DeviceNotFoundError, CapturePermissionError, FilterError, LibraryError, ValueError for an option
    out of range, PcapError with libpcap's message for anything else.
    """
    options = Options(
        snaplen, promisc, timeout_ms, buffer_size, immediate, rfmon, tstamp_type, tstamp_precision, mode
    )
    if mode == "zerocopy":
        zerocopy.require(device)
    c = library()
    handle, source = open_device(c, extension.of(c), device, options)
    try:
        capture = Capture(
            handle,
            source,
            Waker(),
            live=True,
            asked=mode,
            asked_bytes=buffer_size,
            # In what goes to a file packets may wait a bit longer than the kernel keeps them anyway.
            longest_nap=0 if immediate else min(_LONGEST_NAP, timeout_ms / 2500),
        )
    except BaseException:
        handle.close()
        raise
    try:
        _begin(capture, fanout, filter, 0.2 + 2 * timeout_ms / 1000)
    except BaseException:
        capture.close()
        raise
    return capture


def _begin(capture: Capture, fanout: Fanout | None, expression: str | None, patience: float) -> None:
    """Join the group, install the filter, and let packets flow in."""
    if fanout is not None:
        capture.enter(fanout, patience)
    if expression is not None:
        capture.set_filter(expression)
    elif fanout is not None:
        start(capture.fileno())
