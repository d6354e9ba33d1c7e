"""All that a program can see of a scapy packet, as values that can be compared.

Each observer looks at a packet in one way, and what it returns says what it has seen; `anatomy` is everything
that is in a packet.
"""

# mypy: disable-error-code="operator, index, misc, func-returns-value"
# Some observers do what does not work.

from __future__ import annotations

import copy
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import NoPayload, Packet, Padding, Raw
from scapy.plist import PacketList
from scapy.sessions import IPSession
from scapy.utils import PcapNgWriter, PcapWriter, hexdump

# What a program may look at, given the packet and a second one of the same bytes that scapy dissected.
Observer = Callable[[Packet, Packet], Any]
OBSERVERS: dict[str, Observer] = {}
# They see bytes, which scapy rebuilds from what it has dissected: see `test_lazy_differential`.
OF_BYTES = {"bytes", "len", "hexdump", "pcap", "pcapng"}
# Scapy's own building leaves traces in packets; reading bytes from one that sleeps does not.
AS_IT_IS: set[Observer] = set()
# What type() tells is decided before scapy has found that a first header is broken.
OF_TYPES = {"type", "type's name", "made by its type", "<= nonsense", "hash"}
CLASSES = (Packet, NoPayload, Raw, Padding, Ether, ARP, IP, TCP, UDP)


def anatomy(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Everything in a value: packets by their slots, containers by their parts, the rest by its text."""
    seen = {} if seen is None else seen
    if isinstance(value, Packet):
        _ = value.fields  # whoever slept is awake now
        if id(value) in seen:
            return f"packet {seen[id(value)]}"
        seen[id(value)] = len(seen)
        slots = {}
        for name in sorted(value.__all_slots__):
            try:
                slots[name] = anatomy(object.__getattribute__(value, name), seen)
            except AttributeError:
                slots[name] = "unset"
        return type(value).__name__, type(value).__module__, slots, anatomy(vars(value), seen)
    if isinstance(value, dict):
        return {str(key): anatomy(part, seen) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [anatomy(part, seen) for part in value]
    if isinstance(value, type):
        return value.__qualname__
    return type(value).__name__, _text(repr, value)


def _text(form: Callable[[Any], str], value: Any) -> str:
    """Without addresses; what it fails with, for parts of packets that were changed and for odd errors."""
    try:
        return re.sub(r" at 0x\w+", "", form(value))
    except Exception as error:
        return type(error).__name__


def observe(observer: Observer, packet: Packet, twin: Packet) -> Any:
    """What an observer sees, or which error it meets, and what the packet is afterwards."""
    try:
        seen = anatomy(observer(packet, twin))
    except Exception as error:
        seen = type(error).__name__, _text(str, error)
    return seen, None if observer in AS_IT_IS else anatomy(packet)


def observer(function: Observer) -> Observer:
    OBSERVERS[function.__name__.strip("_")] = function
    return function


def of(name: str, function: Callable[[Packet], Any]) -> None:
    OBSERVERS[name] = lambda packet, twin: function(packet)


def _attribute(name: str) -> Callable[[Packet], Any]:
    return lambda packet: getattr(packet, name)


def _changed(change: Callable[[Packet], Any]) -> Callable[[Packet], Any]:
    """What a change returns and what the packet's bytes are then."""
    return lambda packet: (change(packet), bytes(packet))


for _name in (
    # what it is made of
    *("name", "fields", "default_fields", "overloaded_fields", "fieldtype", "packetfields", "payload"),
    *("original", "explicit", "raw_packet_cache", "raw_packet_cache_fields", "post_transforms"),
    *("underlayer", "parent", "_pkt", "_answered", "stop_dissection_after"),
    # what is noted on it
    *(
        "time",
        "sent_time",
        "sniffed_on",
        "direction",
        "wirelen",
        "comment",
        "comments",
        "process_information",
    ),
    # what its class says
    *("fields_desc", "aliastypes", "show_indent", "match_subclass", "overload_fields", "nonsense", "__doc__"),
):
    of(_name, _attribute(_name))
for _class in CLASSES:
    of(f"is {_class.__name__}", lambda p, c=_class: isinstance(p, c))
    of(f"in {_class.__name__}", lambda p, c=_class: c in p)
    of(f"has {_class.__name__}", lambda p, c=_class: p.haslayer(c))
    of(f"get {_class.__name__}", lambda p, c=_class: p.getlayer(c))
    of(f"[] {_class.__name__}", lambda p, c=_class: p[c])
of("is a tuple of classes", lambda p: isinstance(p, (IP, Raw)))
of("class", lambda p: (p.__class__, isinstance(p, p.__class__)))
of("type", lambda p: (type(p) == p.__class__, {p.__class__: 1}.get(type(p)), issubclass(type(p), Packet)))  # noqa: E721
of("type's name", lambda p: (type(p).__name__, type(p).__qualname__, type(p).__module__, repr(type(p))))
of("made by its type", lambda p: type(p)(b"\x45" * 60))
of("named layer", lambda p: p["IP"])
of("numbered layer", lambda p: p.getlayer(1))
of("sliced layer", lambda p: p[Raw:1])
of("layers", lambda p: p.layers())
of("lastlayer", lambda p: p.lastlayer())
of("firstlayer", lambda p: p.firstlayer())
of("iterpayloads", lambda p: list(p.iterpayloads()))
of("field by field", lambda p: [(f.name, getattr(p, f.name, None)) for f in p.fields_desc])
of("getfieldval", lambda p: [p.getfieldval(f.name) for f in p.fields_desc])
of("field of a payload", lambda p: p.sport)
of("repr", repr)
of("str", str)
of("format", lambda p: f"{p} {p!r}")
of("summary", lambda p: p.summary())
of("mysummary", lambda p: p.mysummary())
of("show", lambda p: p.show(dump=True))
of("show2", lambda p: p.show2(dump=True))
of("sprintf", lambda p: p.sprintf("%.time% %IP.src% {TCP:%TCP.flags%}{!TCP:none} %type%"))
of("command", lambda p: p.command())
of("json", lambda p: p.json() if hasattr(Packet, "json") else None)
of("hexdump", lambda p: hexdump(p, dump=True))
of("bool", bool)
of("bytes", bytes)
of("len", len)
of("build", lambda p: p.build())
of("hash", hash)
of("hashret", lambda p: p.hashret())
of("dir", dir)
of("vars", vars)
of("copy", lambda p: p.copy())
of("copy.copy", copy.copy)
of("copy.deepcopy", copy.deepcopy)
of("pickle", lambda p: pickle.loads(pickle.dumps(p)))
of("pickle in a list", lambda p: pickle.loads(pickle.dumps([p, p])))
of("iter", list)
of("unpacked", lambda p: ([q.summary() for q in [*p]], len(list(p))))
of("clone changed", lambda p: [(setattr(q, "time", 5), q.summary(), q.time) for q in p])
of("/ bytes", lambda p: p / b"abc")
of("bytes /", lambda p: b"abc" / p)
of("/ packet", lambda p: p / Raw(b"abc"))
of("packet /", lambda p: Ether(src="02:00:00:00:00:01") / p)
of("/ nonsense", lambda p: p / 5)
of("* 2", lambda p: p * 2)
of("2 *", lambda p: 2 * p)
of("* nonsense", lambda p: p * "a")
of("< nonsense", lambda p: p < 5)
of("< bytes", lambda p: (p < b"", p > b""))
of("<= nonsense", lambda p: p <= p)
of("== nonsense", lambda p: (p == 5, p != 5, p == b"", p is None, p in [1, "a"]))
of("delitem", _changed(lambda p: p.__delitem__(Raw)))
of("del payload", _changed(lambda p: delattr(p, "payload")))
of("remove_payload", _changed(lambda p: p.remove_payload()))
of("add_payload", _changed(lambda p: p.add_payload(b"more")))
of("set payload", _changed(lambda p: setattr(p, "payload", Raw(b"other"))))
of("set slot", _changed(lambda p: setattr(p, "explicit", 0)))
of("set fields", _changed(lambda p: p.fields.clear()))
of("set nonsense", _changed(lambda p: setattr(p, "nonsense", 1)))
of("del nonsense", _changed(lambda p: delattr(p, "nonsense")))
of("set underlayer", _changed(lambda p: setattr(p, "underlayer", Ether())))
of("set parent", _changed(lambda p: p.add_parent(Ether())))
of("set class", _changed(lambda p: setattr(p, "__class__", p.__class__)))
of("setitem", _changed(lambda p: p.__setitem__(Raw, Raw(b"other"))))
of("clear_cache", _changed(lambda p: p.clear_cache()))
of("hide_defaults", _changed(lambda p: p.hide_defaults()))
of("post_transforms appended", _changed(lambda p: p.post_transforms.append(lambda b: b[::-1])))
of("decode_payload_as", lambda p: p.decode_payload_as(Raw))
of("init again", lambda p: p.__init__(b"\x45" * 60))
of("reduce", lambda p: p.__reduce__()[0])
of("a list of packets", lambda p: (repr(PacketList([p])), PacketList([p])[IP].res))
of("filtered", lambda p: [q.summary() for q in PacketList([p]).filter(lambda q: IP in q)])
of("sessions", lambda p: PacketList([p]).sessions())
of("IPSession", lambda p: IPSession().process(p) if hasattr(IPSession, "process") else None)


@observer
def _is_of_its_class(packet: Packet, twin: Packet) -> Any:
    return isinstance(packet, twin.__class__), isinstance(packet, twin.__class__.__mro__[1])


@observer
def _set_field(packet: Packet, twin: Packet) -> Any:
    name = packet.fields_desc[0].name
    setattr(packet, name, getattr(twin, name))
    return bytes(packet), packet.wirelen


@observer
def _del_field(packet: Packet, twin: Packet) -> Any:
    delattr(packet, packet.fields_desc[-1].name)
    return bytes(packet)


@observer
def _notes(packet: Packet, twin: Packet) -> Any:
    """What scapy itself notes on packets, and what stays noted when they are looked into."""
    packet.sniffed_on, packet.sent_time, packet.direction = "other", 5.0, 4
    packet.comment = b"a comment"
    packet.process_information = {"pid": 1}
    packet.time, packet.wirelen = 7.25, 9000
    noted = packet.sniffed_on, packet.sent_time, packet.comment, packet.process_information, packet.wirelen
    return noted, packet.summary(), packet.time


@observer
def _compared(packet: Packet, twin: Packet) -> Any:
    return packet == twin, twin == packet, packet != twin, packet in [twin], packet == packet.copy()


@observer
def _compared_from_the_right(packet: Packet, twin: Packet) -> Any:
    return twin == packet, twin != packet, Packet() == packet


@observer
def _answers(packet: Packet, twin: Packet) -> Any:
    return packet.answers(twin), packet < twin, packet > twin


@observer
def _answers_from_the_right(packet: Packet, twin: Packet) -> Any:
    return twin.answers(packet), twin < packet, twin > packet


@observer
def _divided_from_the_right(packet: Packet, twin: Packet) -> Any:
    return twin / packet


def _written(writer: Callable[[str], Any], packet: Packet) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "written")
        with writer(str(path)) as opened:
            opened.write([packet])
        return path.read_bytes()


of("pcap", lambda p: _written(lambda path: PcapWriter(path, nano=True), p))
of("pcapng", lambda p: _written(PcapNgWriter, p))
AS_IT_IS.update(OBSERVERS[name] for name in (*OF_BYTES, "iter", "unpacked", "filtered"))
