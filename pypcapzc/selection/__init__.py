"""Choosing packets of a block by their headers, and taking them out of it.

>>> wanted = selection.host(["192.0.2.1", "2001:db8::1"]) & selection.port(443) & selection.FlowHeads(10)
>>> indices = wanted.choose(block, capture.datalink)
>>> dumper.write(selection.take(block, indices))

Conditions are combined by ``&``, ``|`` and ``~``.  Indices are positions in the block, ascending.
"""

from __future__ import annotations

from .addresses import AddressSet
from .conditions import Condition, dst, dst_port, has, host, port, protocol, src, src_port, where
from .flows import FlowHeads
from .taking import copy_into, each, packets, take

__all__ = [
    "AddressSet",
    "Condition",
    "FlowHeads",
    "copy_into",
    "dst",
    "dst_port",
    "each",
    "has",
    "host",
    "packets",
    "port",
    "protocol",
    "src",
    "src_port",
    "take",
    "where",
]
