"""What a program can do with ``pcapy`` and a savefile: run on pcapy-ng itself and on the stand-in.

    python pcapy_actions.py SAVEFILE FOLDER

prints one JSON object: what each action gave, or which exception it raised.  Imports nothing of pypcapzc.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

import pcapy

SAVED, FOLDER = sys.argv[1:3]
SET = b"".join(bytes([10, 0, 0, n]) for n in range(0, 250, 7))


def opened() -> Any:
    return pcapy.open_offline(SAVED)


def header(hdr: Any) -> Any:
    return None if hdr is None else [list(hdr.getts()), hdr.getcaplen(), hdr.getlen()]


def collected(call: str, *arguments: Any) -> Any:
    """A reader's method with a callback in the place of None, and what the callback was given."""
    seen: list[Any] = []

    def callback(*given: Any) -> None:
        seen.append([header(given[0]), given[1].hex(), *given[2:]])

    reader = opened()
    result = getattr(reader, call)(*(callback if each is None else each for each in arguments))
    rest = reader.next()
    return [result, seen, header(rest[0])]


def walk() -> Any:
    reader, found = opened(), []
    while True:
        hdr, data = reader.next()
        found.append([header(hdr), data.hex()])
        if hdr is None:
            return [*found, header(reader.next()[0])]


def broken_off(call: str, *arguments: Any) -> Any:
    """The callback raises at the fourth packet that it gets: what comes next?"""
    seen: list[Any] = []

    def callback(*given: Any) -> None:
        seen.append(header(given[0]))
        if len(seen) == 4:
            raise KeyError("four")

    reader = opened()
    try:
        getattr(reader, call)(*(callback if each is None else each for each in arguments))
    except KeyError as error:
        seen.append(str(error))
    after = reader.next()[0]
    if after is None:  # dispatch() leaves libpcap's mark of a broken loop behind
        after = reader.next()[0]
    return [seen, header(after), [list(part) for part in reader.next_batch(3)]]


def mixture() -> Any:
    reader, seen = opened(), []
    seen.append(header(reader.next()[0]))
    seen.append(reader.dispatch(3, lambda hdr, data: seen.append([header(hdr), data.hex()])))
    seen.append([part.hex() for part in reader.next_batch(2)])
    reader.setfilter("udp and len > 80")
    seen.append(reader.loop(4, lambda hdr, data: seen.append([header(hdr), data.hex()])))
    seen.append(list(reader.loop_filtered(5, lambda *given: None)))
    seen.append(reader.dispatch(-1, lambda hdr, data: seen.append(header(hdr))))
    seen.append(reader.dispatch(-1, lambda hdr, data: seen.append("more")))
    return seen


def batches(size: int) -> Any:
    reader = opened()
    found: list[Any] = []
    while True:
        data, meta = reader.next_batch(size)
        if not meta:
            return found
        for sec, usec, offset, caplen in struct.iter_unpack("=IIII", meta):
            found.append([sec, usec, data[offset : offset + caplen].hex()])
        assert len(data) == sum(record[3] for record in struct.iter_unpack("=IIII", meta))


def to_buffer(size: int, *arguments: Any) -> Any:
    buffer = bytearray(size)
    result = opened().loop_to_buffer(-1, buffer, *arguments)
    return [result, buffer[: result[3]].hex()]


def dumped() -> Any:
    path = os.path.join(FOLDER, "dumped")
    reader = opened()
    dumper = reader.dump_open(path)
    for _ in range(7):
        dumper.dump(*reader.next())
    dumper.close()
    dumper.close()
    raised = outcome(lambda: dumper.dump(*reader.next()))
    with open(path, "rb") as file:
        return [file.read().hex(), raised]


def closed() -> Any:
    reader = opened()
    with reader as same:
        assert same is reader
    reader.close()
    calls = ("next", "stats", "datalink", "getnet", "getfd", "getnonblock", "activate", "__enter__")
    return [outcome(getattr(reader, call)) for call in calls] + [
        outcome(lambda: reader.loop(1, print)),
        outcome(lambda: reader.setfilter("ip")),
        outcome(lambda: reader.set_snaplen(1)),
        reader.filtered_stats()[0] if False else None,
    ]


def programs() -> Any:
    program = pcapy.BPFProgram("ip host 10.0.0.7")
    compiled = pcapy.compile(pcapy.DLT_EN10MB, 65535, "tcp port 80 or vlan", 1, 0xFFFFFF00)
    reader = opened()
    found: list[Any] = []
    while (packet := reader.next()[1]) != b"":
        found.append([program.filter(packet) != 0, compiled.filter(packet)])
    return [found, compiled.get_bpf(), pcapy.BPFProgram("arp", pcapy.DLT_RAW).get_bpf()]


def outcome(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": kinds[: kinds.index("Exception")], "text": str(error)}


def everything(mask: int, cutoff: int, profile: int) -> tuple[Any, ...]:
    return (mask, SET, cutoff, None, None, 53, 14, profile)


ACTIONS: dict[str, Any] = {
    "constants": lambda: {
        name: value for name, value in vars(pcapy).items() if name.isupper() and isinstance(value, int)
    },
    "errors": lambda: [pcapy.PcapError.__mro__[1].__name__, pcapy.BPFError.__mro__[1].__name__],
    "next": walk,
    "loop": lambda: collected("loop", -1, None),
    "loop of 0": lambda: collected("loop", 0, None),
    "loop of 5": lambda: collected("loop", 5, None),
    "dispatch": lambda: collected("dispatch", -1, None),
    "dispatch of 5": lambda: collected("dispatch", 5, None),
    "loop broken off": lambda: broken_off("loop", -1, None),
    "dispatch broken off": lambda: broken_off("dispatch", 9, None),
    "filtered broken off": lambda: broken_off("loop_filtered", -1, None, 6, SET, 2),
    "mixture": mixture,
    "batches of 1": lambda: batches(1),
    "batches of 7": lambda: batches(7),
    "batches of any": lambda: batches(0),
    "generic": lambda: [collected("loop_filtered", -1, None, *everything(m, 2, 0)) for m in (0, 1, 2, 4, 7)],
    "generic, few": lambda: collected("loop_filtered", 9, None, *everything(6, 1, 0)),
    "security": lambda: [collected("loop_filtered", -1, None, *everything(m, 3, 1)) for m in (1, 63, 27)],
    "ports": lambda: [
        collected("loop_filtered", -1, None, 63, b"", 1, dpi, tls, dns, 14, 1)
        for dpi, tls, dns in (([], [], 53), ((443, 53), [80], 8080), ([65536 + 80], [53], 1))
    ],
    "offsets": lambda: [
        list(opened().loop_filtered(-1, print, 0, SET, 2, None, None, 53, offset, profile))
        for offset in (0, 1, 2, 4, 13, 16, 18, 64)
        for profile in (0, 1)
    ],
    "buffer": lambda: [to_buffer(1 << 20, *everything(m, 2, p)) for m, p in ((7, 0), (4, 0), (63, 1))],
    "small buffer": lambda: [to_buffer(size, *everything(7, 2, 0)) for size in (0, 4, 100, 1000, 5000)],
    "dumped": dumped,
    "closed": closed,
    "programs": programs,
    "datalink": lambda: opened().datalink(),
    "network": lambda: [opened().getnet(), opened().getmask(), opened().getnonblock()],
    "descriptor": lambda: opened().getfd() > 2,
    "statistics": lambda: outcome(opened().stats),
    "fanout": lambda: outcome(lambda: opened().set_fanout(1)),
    "no file": lambda: outcome(lambda: pcapy.open_offline(os.path.join(FOLDER, "none"))),
    "no savefile": lambda: outcome(lambda: pcapy.open_offline(__file__)),
    "no text": lambda: outcome(lambda: pcapy.open_offline(b"bytes")),
    "wrong filter": lambda: outcome(lambda: opened().setfilter("nonsense at all")),
    "wrong program": lambda: outcome(lambda: pcapy.BPFProgram("nonsense at all")),
    "no such device": lambda: outcome(lambda: pcapy.open_live("zcnone0", 65535, 1, 10)),
    "too few": lambda: outcome(lambda: opened().loop(1)),
    "no number": lambda: outcome(lambda: opened().loop("1", print)),
    "no set": lambda: outcome(lambda: opened().loop_filtered(-1, print, 7, None)),
    "offset out of range": lambda: outcome(lambda: opened().loop_filtered(-1, print, l2_offset=65)),
    "profile out of range": lambda: outcome(lambda: opened().loop_filtered(-1, print, profile=2)),
    "ports that are none": lambda: outcome(lambda: opened().loop_filtered(-1, print, dpi_ports=["x"])),
    "read-only buffer": lambda: outcome(lambda: opened().loop_to_buffer(-1, b"123456")),
    "not activated": lambda: outcome(lambda: pcapy.create("lo").loop(1, print)),
}


if __name__ == "__main__":
    print(json.dumps({name: outcome(action) for name, action in ACTIONS.items()}, default=list))
