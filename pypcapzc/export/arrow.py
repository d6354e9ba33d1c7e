"""Arrow record batches of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from .. import decode
from ..block import Block
from ..capture import Capture
from ..decode.numeric import np
from ..errors import PcapError
from ..selection.taking import move

Array = Any
"""A numpy array."""

_INLINE = 12  # bytes of a value that a binary view holds itself (Arrow columnar format, variable-size view)

_IP = decode.IPV4 | decode.IPV6
_HOLDS = {
    "ethertype": decode.LINK,
    "link_": decode.LINK,
    "cooked_": decode.LINK,
    "vlan_": decode.VLAN,
    "arp_": decode.ARP,
    "ip_": _IP,
    "network_": _IP | decode.ARP,
    "protocol": _IP,
    "flow_label": decode.IPV6,
    "fragment_offset": decode.FRAGMENT,
    "transport_offset": decode.TRANSPORTS | decode.PORTS,
    "payload_": decode.PAYLOAD,
    "src_port": decode.PORTS,
    "dst_port": decode.PORTS,
    "src": decode.ADDRESSES,
    "dst": decode.ADDRESSES,
    "icmp_": decode.ICMP | decode.ICMPV6,
    "tcp_": decode.TCP,
    "udp_": decode.UDP,
    "sctp_": decode.SCTP,
    "checksum": decode.TCP | decode.UDP | decode.ICMP | decode.ICMPV6,
    "layers": 0,
}
"""The bits of ``layers``, one of which says that a field holds, by the beginning of its name; 0: always."""

COLUMNS = (
    "ethertype",
    "vlan_outer",
    "src",
    "dst",
    "protocol",
    "src_port",
    "dst_port",
    "ip_ttl",
    "ip_length",
    "tcp_flags",
    "tcp_seq",
    "tcp_ack",
    "tcp_window",
    "icmp_type",
    "icmp_code",
    "payload_offset",
    "payload_length",
    "layers",
)
"""The header fields that ``decode`` adds where no others are named."""


@cache
def arrow() -> Any:
    """The pyarrow module.  Raises PcapError where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise PcapError("pyarrow is not installed: pip install 'pypcapzc[arrow]'") from None
    return pyarrow


def schema(columns: Sequence[str] = (), *, lend: bool = False) -> Any:
    """The pyarrow.Schema of record batches with these header fields.

    ``columns``: names of decode.FIELDS, and "src" and "dst" for the addresses as text.  Raises ValueError
    for others.
    """
    pa = arrow()
    fields = [
        pa.field("ts", pa.timestamp("ns"), nullable=False),
        pa.field("caplen", pa.uint32(), nullable=False),
        pa.field("wirelen", pa.uint32(), nullable=False),
        pa.field("data", pa.binary_view() if lend else pa.binary(), nullable=False),
    ]
    for name in columns:
        if name in ("src", "dst"):
            fields.append(pa.field(name, pa.string()))
        elif name in (decode.FIELDS.names or ()):
            fields.append(pa.field(name, pa.from_numpy_dtype(decode.FIELDS[name]), nullable=name != "layers"))
        else:
            raise ValueError(f"no header field is called {name!r}; docs/decoding.md lists them")
    return pa.schema(fields, {"pypcapzc.data": "lent" if lend else "copied"})


def record_batch(
    block: Block, datalink: int | None = None, columns: Sequence[str] = COLUMNS, *, lend: bool = False
) -> Any:
    """One block as a pyarrow.RecordBatch: ts, caplen, wirelen, data, and header fields.

    ``datalink``, the link-layer type of the block (``capture.datalink``), adds ``columns``; None leaves them
    out.  ``lend``: ``data`` is a binary view of the block's own memory, and the block goes back only when
    the batch and all that was made of it is gone; else it is a copy.  The other columns are always copies.
    ``schema.metadata`` tells which it is, "pypcapzc.data".

    Raises BlockReleasedError after release, ValueError for a link-layer type or a field that is not known.
    """
    pa = arrow()
    wanted = schema(columns if datalink is not None else (), lend=lend)
    index = np.frombuffer(block.index, decode.RECORDS)
    made = [
        pa.array(index["ts_ns"].astype("i8"), pa.int64()).view(pa.timestamp("ns")),
        pa.array(np.ascontiguousarray(index["caplen"])),
        pa.array(np.ascontiguousarray(index["wirelen"])),
        _lent(block, index) if lend else _copied(block, index),
    ]
    if datalink is not None:
        found = decode.fields(block, datalink)
        made += [_column(found, name) for name in columns]
    return pa.RecordBatch.from_arrays(made, schema=wanted)


def _copied(block: Block, index: Array) -> Any:
    """The packets' bytes, one after the other, in memory of Arrow's."""
    pa = arrow()
    caplen = index["caplen"].astype("i8")
    ends = np.zeros(index.size + 1, "i8")
    np.cumsum(caplen, out=ends[1:])
    total = int(ends[-1])
    if total > 2**31 - 1:
        raise ValueError(f"a block of {total} bytes of packets is too large for one record batch")
    memory = pa.allocate_buffer(total)
    if total:
        source = np.frombuffer(block.data, "u1")
        move(source, index["offset"].astype("i8"), caplen, np.frombuffer(memory, "u1"), ends[:-1])
    return pa.Array.from_buffers(pa.binary(), index.size, [None, pa.py_buffer(ends.astype("i4")), memory])


def _lent(block: Block, index: Array) -> Any:
    """The packets' bytes where they lie: a view is a length, four bytes, a buffer's number and an offset."""
    pa = arrow()
    if block.nbytes > 2**31 - 1:
        raise ValueError(f"a block of {block.nbytes} bytes is too large to be lent to Arrow")
    data = block.data
    views = np.zeros((index.size, 4), "u4")
    views[:, 0] = index["caplen"]
    long = np.flatnonzero(index["caplen"] > _INLINE)
    views[long, 3] = index["offset"][long]
    if long.size:
        memory = np.frombuffer(data, "u1")
        windows = np.ndarray((memory.size - 3,), "V4", memory, 0, (1,))
        views[long, 1] = windows[index["offset"][long]].view("u4")
    flat = views.view("u1")
    for place in np.flatnonzero(index["caplen"] <= _INLINE).tolist():
        offset, caplen = int(index["offset"][place]), int(index["caplen"][place])
        flat[place, 4 : 4 + caplen] = np.frombuffer(data[offset : offset + caplen], "u1")
    buffers = [None, pa.py_buffer(views), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary_view(), index.size, buffers)


def _column(found: Array, name: str) -> Any:
    pa = arrow()
    bits = _HOLDS.get(name) or next((bits for start, bits in _HOLDS.items() if name.startswith(start)), 0)
    absent = (found["layers"] & bits == 0) if bits else None
    if name == "vlan_inner":
        absent = found["vlan_count"] < 2
    if name in ("src", "dst"):
        return _addresses(found, name)
    return pa.array(np.ascontiguousarray(found[name]), mask=absent)


def _addresses(found: Array, side: str) -> Any:
    """As text, each different one written once: there are few in a block."""
    pa = arrow()
    there = np.flatnonzero(found["layers"] & decode.ADDRESSES)
    keys = np.zeros(there.size, [("version", "u8"), ("hi", "u8"), ("lo", "u8")])
    keys["version"], keys["hi"] = found["ip_version"][there], found[f"{side}_hi"][there]
    keys["lo"] = found[f"{side}_lo"][there]
    order = np.lexsort((keys["lo"], keys["hi"], keys["version"]))
    ordered = keys.view("u8").reshape(-1, 3)[order]
    fresh = np.ones(there.size, bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(there.size, "i4")
    numbers[order] = np.cumsum(fresh) - 1
    texts = [str(address) for address in decode.addresses(found[there[order[fresh]]], side)]
    places = np.zeros(len(found), "i4")
    places[there] = numbers
    absent = np.ones(len(found), bool)
    absent[there] = False
    coded = pa.DictionaryArray.from_arrays(pa.array(places, mask=absent), pa.array(texts, pa.string()))
    return coded.dictionary_decode()


def batches(
    blocks: Iterable[Block], datalink: int | None = None, columns: Sequence[str] = COLUMNS
) -> Iterator[Any]:
    """A record batch of each block, copied, so that the blocks go back at once."""
    for block in blocks:
        yield record_batch(block, datalink, columns)


def reader(
    capture: Capture,
    *,
    decode: bool = False,
    columns: Sequence[str] = COLUMNS,
    timeout: float | None = None,
    count: int | None = None,
) -> Any:
    """A pyarrow.RecordBatchReader of a capture's packets: what DuckDB, polars and Parquet writers take.

    It ends as ``capture.blocks(timeout, count)`` does.  ``decode``: with these header fields.  All is copied.
    """
    datalink = capture.datalink if decode else None
    blocks = capture.blocks(timeout, count)
    return arrow().RecordBatchReader.from_batches(
        schema(columns if decode else ()), batches(blocks, datalink, columns)
    )
