"""Header fields of all packets of a block at once, with numpy, read where the packets lie.

>>> fields = decode.fields(block, capture.datalink)
>>> syn = fields[(fields["layers"] & decode.TCP != 0) & (fields["tcp_flags"] & 0x12 == 2)]

Results are copies and own their memory: they stay after the block is gone, and keep no block from going back.
No byte behind a packet's caplen is read, and no packet makes it raise.  docs/decoding.md has the fields.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from .. import companion, datalinks
from ..block import FIELDS as _INDEX_FIELDS
from ..block import Block
from ..leases import RECORD
from . import fast
from .layout import (
    ADDRESSES,
    ARP,
    DEEP,
    FIELDS,
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LINK,
    MALFORMED,
    MAX_EXTENSIONS,
    MAX_VLAN_TAGS,
    MORE_FRAGMENTS,
    PAYLOAD,
    PORTS,
    SCTP,
    TCP,
    TRANSPORTS,
    TRUNCATED,
    UDP,
    VLAN,
)
from .link import LINKS
from .numeric import np
from .part import Part, gather

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "ADDRESSES",
    "ARP",
    "DEEP",
    "FIELDS",
    "FRAGMENT",
    "ICMP",
    "ICMPV6",
    "IPV4",
    "IPV6",
    "LINK",
    "MALFORMED",
    "MAX_EXTENSIONS",
    "MAX_VLAN_TAGS",
    "MORE_FRAGMENTS",
    "PAYLOAD",
    "PORTS",
    "RECORDS",
    "SCTP",
    "TCP",
    "TRANSPORTS",
    "TRUNCATED",
    "UDP",
    "VLAN",
    "addresses",
    "check_datalink",
    "field",
    "fields",
]

RECORDS = np.dtype(list(zip(_INDEX_FIELDS, ("u8", "u4", "u4", "u4", "u4"), strict=True)))
assert RECORDS.itemsize == RECORD.size


def _spans(block: Block) -> tuple[Any, Any, Any]:
    """The block's bytes (not copied), and where its packets begin and end in them."""
    data = np.frombuffer(block.data, "u1") if block.nbytes else np.empty(0, "u1")
    index = np.frombuffer(block.index, RECORDS)
    start = index["offset"].astype("i8")
    return data, start, start + index["caplen"]


def check_datalink(datalink: int) -> None:
    """ValueError for a link-layer type that is not decoded."""
    if datalink not in LINKS:
        name = datalinks.dlt_name(datalink) or f"link-layer type {datalink}"
        known = ", ".join(str(datalinks.dlt_name(dlt)) for dlt in LINKS)
        raise ValueError(f"{name} is not decoded; {known} are")


def fields(block: Block, datalink: int = datalinks.DLT_EN10MB) -> npt.NDArray[np.void]:
    """Link, network and transport headers of all packets: an array of FIELDS, one element a packet.

    ``datalink`` is the block's link-layer type, ``capture.datalink``: DLT_EN10MB, DLT_LINUX_SLL,
    DLT_LINUX_SLL2, DLT_RAW, DLT_IPV4, DLT_IPV6, DLT_NULL or DLT_LOOP; ValueError for others.

    ``layers`` says what was found, as a sum of this module's bits; fields of what was not found are 0.
    Numbers have this machine's byte order.  The array owns its memory: no view of the block is kept.
    Raises BlockReleasedError after release.
    """
    check_datalink(datalink)
    library = companion.current()
    if library is not None:
        found: npt.NDArray[np.void] = fast.fields(library, block, datalink)
        return found
    size, decode = LINKS[datalink]
    out: npt.NDArray[np.void] = np.zeros(len(block), FIELDS)
    data, start, end = _spans(block)
    if len(out):
        Part(data, start, end, out).whole(size, decode)
    return out


def field(
    block: Block, offset: int | npt.ArrayLike, dtype: npt.DTypeLike
) -> tuple[Any, npt.NDArray[np.bool_]]:
    """One more field of all packets: the ``dtype`` at ``offset``, and a mask of the packets that have it.

    ``offset``, in bytes from the packet's first, is one number, or one a packet, such as
    ``fields["payload_offset"]``.  ``dtype`` is any of fixed size, with its byte order (">u4"), structured if
    need be.  Where not all of its bytes are among the packet's caplen, the value is 0 and the mask False.
    Both arrays own their memory.  Raises BlockReleasedError after release.
    """
    wanted = np.dtype(dtype)
    if wanted.hasobject or not wanted.itemsize:
        raise TypeError(f"{wanted} is no dtype of plain bytes")
    data, start, end = _spans(block)
    relative = np.broadcast_to(np.asarray(offset).astype("i8"), start.shape)
    # Compared without adding to what the caller gave, which may be anything.
    there = (relative >= 0) & (relative <= end - start - wanted.itemsize)
    places = np.flatnonzero(there)
    raw = np.zeros(start.size, f"V{wanted.itemsize}")
    raw[places] = gather(data, (start + relative)[places], raw.dtype)
    return raw.view(wanted), there


def addresses(found: npt.NDArray[np.void], side: str = "src") -> list[IPv4Address | IPv6Address | None]:
    """The addresses of decoded packets as objects of the standard library, for ``side`` "src" or "dst".

    None where there are none.  Made one by one: for showing some, not for computing with many.
    """
    if side not in ("src", "dst"):
        raise ValueError(f"a side is src or dst, not {side!r}")
    made: list[IPv4Address | IPv6Address | None] = []
    rows = np.atleast_1d(found)
    columns = (rows["layers"], rows["ip_version"], rows[f"{side}_hi"], rows[f"{side}_lo"])
    for layers, version, hi, lo in zip(*(column.tolist() for column in columns), strict=True):
        if not layers & ADDRESSES:
            made.append(None)
        else:
            made.append(IPv6Address(hi << 64 | lo) if version == 6 else IPv4Address(lo))
    return made
