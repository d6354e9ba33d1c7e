"""A lease whose books tests can look into."""

from __future__ import annotations

from typing import Any

from pypcapzc.leases import RECORD, Lease, exporter_type, rounded


class Ledger(Lease):
    """Memory that notes how often it was given back."""

    lent = True

    def __init__(self, packets: list[bytes]) -> None:
        self.count, self.returned = len(packets), 0
        self._index, offset = bytearray(), 0
        for number, packet in enumerate(packets):
            self._index += RECORD.pack(number, offset, len(packet), len(packet), 0)
            offset += len(packet)
        self.nbytes = offset
        self._memory = bytearray(b"".join(packets).ljust(rounded(offset), b"\0"))

    def export(self) -> Any:
        return exporter_type(len(self._memory)).from_buffer(self._memory)

    def index(self, keeper: Any) -> memoryview:
        return memoryview(self._index)

    def packets(self) -> list[tuple[int, bytes]]:
        return [
            (ts_ns, bytes(self._memory[at : at + n]))
            for ts_ns, at, n, _, _ in RECORD.iter_unpack(self._index)
        ]

    def give_back(self) -> None:
        self.returned += 1
        assert self.returned == 1
        for view in (memoryview(self._memory),):  # the kernel writes over it
            view[:] = b"\xee" * len(view)


PACKETS = [bytes([n]) * (n + 1) for n in range(10)]
