"""What a program can do with ``pcap``: run on pypcap itself and on the stand-in.

    python pcap_actions.py MICRO NANO FOLDER

prints one JSON object: what each action gave, or which exception it raised.  MICRO and NANO are savefiles
with such times.  Imports nothing of pypcapzc.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pcap

MICRO, NANO, FOLDER = sys.argv[1:4]
CUT = os.path.join(FOLDER, "cut")
DAMAGED = os.path.join(FOLDER, "damaged")
with open(MICRO, "rb") as _file:
    _data = _file.read()
for _name, _content in ((CUT, _data[:-7]), (DAMAGED, _data[:2000] + b"\xff" * 40 + _data[2040:])):
    with open(_name, "wb") as _copy:
        _copy.write(_content)


def opened(name: str = MICRO, **options: Any) -> Any:
    return pcap.pcap(name, **options)


def pair(ts: Any, data: bytes) -> Any:
    return [ts.hex() if isinstance(ts, float) else ts, data.hex()]


def walk(name: str, **options: Any) -> Any:
    return [pair(*each) for each in opened(name, **options)]


def collected(call: str, count: int, *more: Any, name: str = MICRO, **options: Any) -> Any:
    """loop() or dispatch(), what the callback was given, and what comes after it."""
    seen: list[Any] = []
    handle = opened(name, **options)
    result = getattr(handle, call)(count, lambda ts, data, *rest: seen.append([pair(ts, data), *rest]), *more)
    return [at_end(result, handle), seen, next(handle, None) is None]


def at_end(result: Any, handle: Any) -> Any:
    """0 for a dispatch() that met the end of its file: some libpcaps give the number of packets before it."""
    return 0 if result and result > 0 and next(handle, None) is None else result


def mixture() -> Any:
    handle, seen = opened(), []
    for _ in range(3):
        seen.append(pair(*next(handle)))
    for ts, data in handle:
        seen.append(pair(ts, data))
        if len(seen) == 5:
            break
    handle.dispatch(2, lambda ts, data: seen.append(pair(ts, data)))
    handle.setfilter("udp and len > 80")
    seen.append(pair(*next(handle)))
    handle.loop(4, lambda ts, data, what: seen.append([what, pair(ts, data)]), "loop")
    seen += [pair(*each) for each in handle.readpkts()]
    return [seen, list(handle), handle.readpkts(), handle.loop(5, ignore)]


def properties(name: str, **options: Any) -> Any:
    handle = opened(name, **options)
    return [
        handle.name == name,
        handle.snaplen,
        handle.dloff,
        handle.filter,
        handle.precision,
        handle.timestamp_in_ns,
        handle.datalink(),
        handle.fd == handle.fileno() > 2,
        handle.getnonblock(),
        handle.setnonblock(True),
        handle.getnonblock(),
        handle.setdirection(pcap.PCAP_D_IN),
        type(handle.geterr()).__name__,
    ]


def filters() -> Any:
    handle = opened()
    failed = outcome(lambda: handle.setfilter("nonsense at all"))
    after = [handle.filter, b"syntax error" in handle.geterr()]
    handle.setfilter("ip broadcast or tcp", 0)
    return [failed, after, handle.filter, len(handle.readpkts())]


def programs() -> Any:
    packets = [data for _, data in opened()]
    made = [
        pcap.bpf(b"ip host 10.0.0.7", pcap.DLT_EN10MB),
        pcap.bpf(b"tcp or vlan", dlt=pcap.DLT_EN10MB),
        pcap.bpf(b"udp"),
    ]
    return [[each.filter(data) for data in packets] for each in made]


def damaged(name: str) -> Any:
    handle = opened(name)
    walked = len(list(handle))
    said = bool(handle.geterr())
    again = opened(name)
    counts = [at_end(again.dispatch(-1, ignore), again)]
    handle = opened(name)
    counts += [handle.dispatch(3, ignore), len(handle.readpkts()), handle.dispatch(3, ignore)]
    return [walked, said, counts, opened(name).loop(0, ignore)]


def broken_off() -> Any:
    """The callback of a loop() raises: what comes next?"""
    handle, seen = opened(), []

    def callback(ts: Any, data: bytes) -> None:
        seen.append(pair(ts, data))
        if len(seen) == 4:
            raise KeyError("four")

    return [outcome(lambda: handle.loop(-1, callback)), seen, pair(*next(handle))]


def device(**options: Any) -> Any:
    """A device, where this user may open one."""
    handle = opened("lo", **{"timeout_ms": 20, **options})
    found = [
        handle.name,
        handle.snaplen,
        handle.datalink(),
        handle.dloff,
        handle.precision,
        handle.setdirection(pcap.PCAP_D_INOUT),
        handle.setdirection(77),
        handle.fd > 2,
        handle.setnonblock(),
        handle.getnonblock(),
        handle.setnonblock(False),
        handle.getnonblock(),
        handle.sendpacket(bytes(14) + b"\x90" * 30),
        [type(each).__name__ for each in handle.stats()],
        outcome(lambda: handle.sendpacket("text")),
        outcome(lambda: handle.sendpacket(b"")),
    ]
    handle.close()
    return found


def ignore(*given: Any) -> None:
    pass


def counted(count: Any) -> int:
    """How many packets a loop() of ``count`` gives."""
    seen: list[Any] = []
    opened().loop(count, lambda *given: seen.append(given))
    return len(seen)


def outcome(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": kinds[: kinds.index("Exception")], "text": str(error)}


ACTIONS: dict[str, Any] = {
    "constants": lambda: {
        name: value
        for name, value in vars(pcap).items()
        if name.startswith(("DLT_", "PCAP_")) and name != "DLT_LINUX_SLL2"
    },
    "offsets": lambda: sorted(each for each in pcap.dltoff.items() if each[1] != 20),
    "iteration": lambda: walk(MICRO),
    "iteration, nanoseconds": lambda: [walk(NANO), walk(NANO, timestamp_in_ns=True)],
    "iteration, int of microseconds": lambda: walk(MICRO, timestamp_in_ns=True),
    "loop": lambda: [collected("loop", count) for count in (-1, 0, 1, 7)],
    "loop with arguments": lambda: collected("loop", 5, "more", 2),
    "loop, nanoseconds": lambda: collected("loop", 5, name=NANO, timestamp_in_ns=True),
    "dispatch": lambda: [collected("dispatch", count) for count in (-1, 0, 1, 7)],
    "dispatch with arguments": lambda: collected("dispatch", 5, "more", 2),
    "broken off": broken_off,
    "lists": lambda: [[pair(*each) for each in opened(name).readpkts()] for name in (MICRO, NANO)],
    "mixture": mixture,
    "properties": lambda: [properties(MICRO), properties(NANO, timestamp_in_ns=1, snaplen=5)],
    "filters": filters,
    "programs": programs,
    "cut": lambda: damaged(CUT),
    "damaged": lambda: damaged(DAMAGED),
    "statistics": lambda: outcome(opened().stats),
    "sending into a file": lambda: outcome(lambda: opened().sendpacket(b"123")),
    "device": device,
    "device, all options": lambda: device(
        snaplen=99, promisc=False, immediate=True, rfmon=False, timestamp_in_ns=True, buffer_size=1 << 20
    ),
    "device, numbers out of range": lambda: [
        device(snaplen=0),
        device(snaplen=-1),
        device(snaplen=10**6),
        device(buffer_size=-1),
        device(snaplen=1.5),
    ],
    "monitor mode": lambda: device(rfmon=True),
    "no such device": lambda: pcap.pcap("zcnone0"),
    "no savefile": lambda: pcap.pcap(__file__),
    "names": lambda: [
        all(isinstance(each, str) for each in pcap.findalldevs()),
        sorted(set(pcap.findalldevs())) == sorted(pcap.findalldevs()),
        "lo" in pcap.findalldevs(),
        pcap.ex_name(b"any"),
        outcome(pcap.lookupdev) if isinstance(outcome(pcap.lookupdev), dict) else pcap.lookupdev(),
    ],
    "network": lambda: [each.hex() for each in pcap.lookupnet(b"lo")],
    "network of none": lambda: pcap.lookupnet(b"zcnone0"),
    "positions": lambda: next(pcap.pcap(MICRO, 65535, True, 0, False, False, True, 0))[0],
    "no text": lambda: [outcome(lambda each=each: pcap.pcap(each)) for each in (b"lo", 5, [1])],
    "no numbers": lambda: [
        outcome(lambda each=each: pcap.pcap("lo", **{each: "x"}))
        for each in ("snaplen", "promisc", "timeout_ms", "immediate", "rfmon", "buffer_size")
    ],
    "None for a number": lambda: [
        outcome(lambda each=each: pcap.pcap("lo", **{each: None}))
        for each in ("snaplen", "promisc", "timeout_ms")
    ],
    "unknown argument": lambda: pcap.pcap(MICRO, nonsense=1),
    "optimize that is no number": lambda: opened().setfilter("ip", "x"),
    "wrong program": lambda: pcap.bpf(b"nonsense at all"),
    "callback that is none": lambda: [
        outcome(lambda: opened().loop(1, None)),
        outcome(lambda: opened().dispatch(1, None)),
    ],
    "count that is no number": lambda: outcome(lambda: opened().dispatch("1", ignore)),
    "count of a loop": lambda: [counted(each) for each in ("1", None, 2.0, 2.5, True, False)],
    "too few": lambda: [outcome(lambda: opened().loop(1)), outcome(lambda: opened().dispatch(1))],
    "attribute": lambda: opened().nonsense,
    "read-only": lambda: setattr(opened(), "snaplen", 1),
}


if __name__ == "__main__":
    results = {name: outcome(action) for name, action in ACTIONS.items()}
    print(json.dumps(results, default=lambda value: value.decode("latin-1")))
