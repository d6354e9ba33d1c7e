"""Counts the packets in a savefile that is still arriving, so that nobody waits for one that has not."""

from __future__ import annotations

_PCAP_ORDERS = {
    bytes.fromhex("d4c3b2a1"): "little",
    bytes.fromhex("4d3cb2a1"): "little",
    bytes.fromhex("a1b2c3d4"): "big",
    bytes.fromhex("a1b23c4d"): "big",
}
_SECTION = bytes.fromhex("0a0d0d0a")
_SECTION_ORDERS = {bytes.fromhex("4d3c2b1a"): "little", bytes.fromhex("1a2b3c4d"): "big"}
_PACKET_BLOCKS = (2, 3, 6)


class Framer:
    """Sees the bytes of a pcap or pcapng stream pass, and how many packets of it were whole.

    It reads lengths only, and judges nothing: what is damaged is for libpcap to say, and from there on
    (as from the beginning of a format that it does not know) it counts nothing more.
    """

    def __init__(self) -> None:
        self.packets = 0
        self._head = b""
        self._need = 12  # bytes of the head of the next record or block
        self._skip = 0  # bytes of the current one still to come
        self._counts = False  # whether the current one is a packet
        self._order = ""
        self._pcapng = False
        self._lost = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        position, end = 0, len(data)
        while not self._lost:
            if self._skip > end - position:
                self._skip -= end - position
                return
            position += self._skip
            self._skip = 0
            if self._counts:
                self.packets += 1
                self._counts = False
            taken = data[position : position + self._need - len(self._head)]
            position += len(taken)
            self._head += taken
            if len(self._head) < self._need:
                return
            head, self._head = self._head, b""
            self._begin(head)

    def _begin(self, head: bytes) -> None:
        if not self._order:
            self._pcapng = head[:4] == _SECTION
            if not self._pcapng:
                self._order = _PCAP_ORDERS.get(head[:4], "")
                self._lost = not self._order
                self._need, self._skip = 16, 12  # the rest of the file's header; then records
                return
        if not self._pcapng:
            self._skip, self._counts = self._number(head[8:12]), True
            return
        if head[:4] == _SECTION:
            self._order = _SECTION_ORDERS.get(head[8:], "")
        length = self._number(head[4:8])
        self._lost = not self._order or length < 12
        self._skip, self._counts = length - 12, self._number(head[:4]) in _PACKET_BLOCKS

    def _number(self, field: bytes) -> int:
        return int.from_bytes(field, "little" if self._order == "little" else "big")
