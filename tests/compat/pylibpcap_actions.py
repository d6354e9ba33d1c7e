"""What a program can do with ``pylibpcap``: run on python-libpcap itself and on the stand-in.

    python pylibpcap_actions.py MICRO OTHER FOLDER

prints one JSON object: what each action gave, or which exception it raised.  MICRO and OTHER are savefiles.
Imports nothing of pypcapzc.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pylibpcap
from pylibpcap.base import LibPcap, Sniff
from pylibpcap.exception import LibpcapError
from pylibpcap.open import OpenPcap
from pylibpcap.utils import from_c_str, get_pcap_file, to_c_str

MICRO, OTHER, FOLDER = sys.argv[1:4]
CUT = os.path.join(FOLDER, "cut.pcap.1")
with open(MICRO, "rb") as _file, open(CUT, "wb") as _copy:
    _copy.write(_file.read()[:-7])


def path(name: str) -> str:
    return os.path.join(FOLDER, name)


def packets(found: Any) -> Any:
    return [[length, when, data.hex()] for length, when, data in found]


def written(name: str) -> Any:
    """A file's header, and its packets but for the times of now."""
    with open(name, "rb") as file:
        header = file.read(24).hex()
    return [header, [[length, data.hex()] for length, _, data in pylibpcap.rpcap(name)]]


def appended() -> Any:
    name = path("appended")
    results = [
        pylibpcap.wpcap(b"1" * 30, name),
        pylibpcap.wpcap([b"2" * 40, "no packet", b"3"], name),
        pylibpcap.wpcap([], name),
    ]
    with OpenPcap(name, "a") as file:
        file.write(b"4" * 9)
        file.write([b"5"])
    return [results, written(name)]


def anew() -> Any:
    name = path("anew")
    for _ in range(2):
        file = LibPcap(name, "w", "", 77)
        file.write(b"1" * 30)
        file.close()
        file.close()
    return written(name)


def merged() -> Any:
    folder, name = path("folder"), path("merged")
    os.makedirs(os.path.join(folder, "below"))
    for target in ("a.pcap", "below/b.pcapng", "c.txt"):
        with open(OTHER, "rb") as file, open(os.path.join(folder, target), "wb") as copy:
            copy.write(file.read())
    pylibpcap.mpcap(folder, name)
    pylibpcap.mpcap(MICRO, name, "udp")
    with OpenPcap(name, "a", filters="len > 100") as file:
        file.write_path(CUT)
    with open(name, "rb") as file:
        return [file.read().hex(), packets(pylibpcap.rpcap(name)), sorted(get_pcap_file(folder))[1][-8:]]


def device() -> Any:
    """A device, where this user may open one."""
    sniffer = Sniff(
        "lo", timeout=20, snaplen=99, promisc=0, filters="ether proto 0x9000", out_file=path("out")
    )
    sent = pylibpcap.send_packet("lo", bytes(12) + b"\x90\0" + b"x" * 200)
    found = next(each for each in sniffer.capture() if each[0])
    stats = sniffer.stats()
    sniffer.close()
    sniffer.close()
    return [
        sent,
        [found[0], type(found[1]).__name__, found[2].hex()],
        stats.capture_cnt,
        sorted(vars(stats)),
        written(path("out")),
    ]


def outcome(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": kinds[: kinds.index("Exception")], "text": str(error)}


ACTIONS: dict[str, Any] = {
    "names": lambda: [sorted(pylibpcap.__all__), pylibpcap.__version__],
    "reading": lambda: packets(pylibpcap.rpcap(MICRO)),
    "reading a filter": lambda: packets(pylibpcap.rpcap(MICRO, "tcp and len > 100")),
    "reading a broadcast": lambda: packets(pylibpcap.rpcap(MICRO, filters="ip broadcast")),
    "reading nanoseconds": lambda: packets(pylibpcap.rpcap(OTHER)),
    "reading what is cut": lambda: packets(pylibpcap.rpcap(CUT)),
    "reading twice": lambda: [len(list(each.read())) for each in [LibPcap(MICRO)] * 2],
    "reading in a with": lambda: [len(list(each.read())) for each in [OpenPcap(MICRO).__enter__()]],
    "appending": appended,
    "writing anew": anew,
    "merging": merged,
    "modes": lambda: [[LibPcap(MICRO).isr, LibPcap(MICRO).isw], LibPcap(path("m"), "a").isw],
    "messages": lambda: [LibPcap(MICRO).get_errbuf(), LibPcap(MICRO).get_handler_error()],
    "text": lambda: [to_c_str("é").hex(), to_c_str(None).hex(), from_c_str(b"\xff"), from_c_str(b"a")],
    "the error": lambda: [str(LibpcapError("why")), LibpcapError("why").message],
    "device": device,
    "devices": lambda: ["lo" in pylibpcap.get_iface_list(), pylibpcap.get_first_iface()],
    "wrong filter": lambda: list(pylibpcap.rpcap(MICRO, "nonsense at all")),
    "wrong filter, unread": lambda: pylibpcap.rpcap(MICRO, "nonsense at all") is None,
    "no file": lambda: list(pylibpcap.rpcap(path("none"))),
    "no savefile": lambda: list(pylibpcap.rpcap(__file__)),
    "merging no savefile": lambda: pylibpcap.mpcap(__file__, path("x")),
    "merging nothing": lambda: pylibpcap.mpcap(path("none"), path("y")),
    "appending to another kind": lambda: pylibpcap.wpcap(b"1", OTHER),
    "writing in no folder": lambda: [
        outcome(lambda mode=mode: LibPcap(path("none/x"), mode)) for mode in ("a", "w")
    ],
    "writing what is read": lambda: LibPcap(MICRO).write(b"1"),
    "reading what is written": lambda: list(LibPcap(path("z"), "w").read()),
    "no such device": lambda: Sniff("zcnone0"),
    "sending to no device": lambda: pylibpcap.send_packet("zcnone0", bytes(20)),
    "sending nothing": lambda: pylibpcap.send_packet("lo", b""),
    "sending text": lambda: pylibpcap.send_packet("lo", "text"),
    "monitor mode": lambda: Sniff("lo", monitor=1),
    "a device's wrong filter": lambda: Sniff("lo", filters="nonsense at all"),
    "no text": lambda: [
        outcome(lambda: Sniff(b"lo")),
        outcome(lambda: LibPcap(b"x")),
        outcome(lambda: LibPcap(5)),
    ],
    "no numbers": lambda: [
        outcome(lambda each=each: Sniff("lo", **{each: "x"}))
        for each in ("count", "promisc", "snaplen", "timeout", "monitor", "immediate_mode")
    ],
    "more arguments": lambda: len(list(LibPcap(MICRO, "r", "", 99, "more", even="more").read())),
}


if __name__ == "__main__":
    print(json.dumps({name: outcome(action) for name, action in ACTIONS.items()}))
