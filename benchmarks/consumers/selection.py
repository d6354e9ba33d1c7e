"""One run of benchmarks/selection.py, in a process of its own, with WHO and RUN as its arguments.

WHO is pypcapzc or pcapy-ng.  RUN is JSON: the savefile, which packets, what becomes of them, and as the case
may be the name of a file with a set of IPv4 addresses as they are in packets, a number of heads, and the size
of a buffer.  Timed is all from the opened savefile to the last packet, making the tables included.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = dict[str, Any]
_OTHER, _HEAD, _SET = 1, 2, 4
"""pcapy-ng's classes, as bits of an admit_mask."""


def _peer(run: Run, addresses: bytes, buffer: bytearray) -> Callable[[], int]:
    """What gives the number of admitted packets."""
    import pcapy

    reader = pcapy.open_offline(run["savefile"])
    mask = {"all": _OTHER | _HEAD | _SET, "none": 0, "set": _SET, "heads": _HEAD}[run["which"]]
    rest = mask, addresses, run["heads"]
    if run["into"] == "buffer":
        return lambda: int(reader.loop_to_buffer(-1, buffer, *rest)[0])
    if run["into"] == "callback":
        return lambda: int(reader.loop_filtered(-1, lambda header, data, kind: None, *rest)[0])
    return lambda: _batches(reader)


def _batches(reader: Any) -> int:
    count, meta_of = 0, struct.Struct("=IIII")
    while True:
        packets, meta = reader.next_batch(1024)
        if not meta:
            return count
        for _, _, offset, caplen in meta_of.iter_unpack(meta):
            packets[offset : offset + caplen]
            count += 1


def _ours(run: Run, addresses: bytes, buffer: bytearray) -> Callable[[], int]:
    import numpy as np

    import pypcapzc
    from pypcapzc import decode, selection

    capture = pypcapzc.open_offline(run["savefile"])
    datalink = capture.datalink

    def wanted() -> selection.Condition:
        if run["which"] == "heads":
            # What pcapy-ng counts: TCP and UDP over IPv4, each direction by itself, and a million flows.
            ports = selection.has(decode.IPV4 | decode.PORTS) & selection.protocol(6, 17)
            return ports & selection.FlowHeads(run["heads"], flows=1 << 20, directed=True)
        if run["which"] == "all":
            return selection.has(0)
        return selection.host(selection.AddressSet(np.frombuffer(addresses, ">u4")))

    def by_packet() -> int:
        condition, count = wanted(), 0
        for block in capture.blocks():
            for _ts_ns, _data in selection.each(block, condition.choose(block, datalink)):
                count += 1
        return count

    def into_buffer() -> int:
        condition, count, room = wanted(), 0, memoryview(buffer)
        for block in capture.blocks():
            headers = selection.copy_into(block, condition.choose(block, datalink), room)
            count += len(headers)
            room = room[int(headers["caplen"].sum()) :]
        return count

    def iterated() -> int:
        count = 0
        for _ts_ns, _data in capture:
            count += 1
        return count

    return {"buffer": into_buffer, "callback": by_packet, "batch": iterated}[run["into"]]


def main(who: str, text: str) -> None:
    """Prints what was counted, and the seconds that it took."""
    run = json.loads(text)
    addresses = Path(run["addresses"]).read_bytes() if run["addresses"] else b""
    go = (_ours if who == "pypcapzc" else _peer)(run, addresses, bytearray(run["buffer"]))
    wall, cpu = time.perf_counter(), time.process_time()
    admitted = go()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"admitted": admitted, "wall": wall, "cpu": cpu, "memory_kib": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
