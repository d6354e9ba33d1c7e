"""The same by the companion library (companion/csrc/decode.c), in one pass over the packets."""

from __future__ import annotations

from typing import Any

from .. import datalinks
from ..block import Block
from ..companion import Companion, address
from .layout import FIELDS
from .numeric import np

LINKS = {
    datalinks.DLT_EN10MB: 0,
    datalinks.DLT_LINUX_SLL: 1,
    datalinks.DLT_LINUX_SLL2: 2,
    datalinks.DLT_RAW: 3,
    datalinks.DLT_IPV4: 4,
    datalinks.DLT_IPV6: 5,
    datalinks.DLT_NULL: 6,
    datalinks.DLT_LOOP: 6,
}
"""enum link of csrc/fields.h."""


def fields(companion: Companion, block: Block, datalink: int) -> Any:
    """What decode.fields() gives; ``datalink`` is one of LINKS."""
    data, index = block.data, block.index
    out = np.empty(len(block), FIELDS)  # every byte of which is written
    companion.decode(address(data), data.nbytes, address(index), out.size, LINKS[datalink], out.ctypes.data)
    return out
