"""Sleeping packets: what they keep, and how they become what scapy makes of their bytes.

A sleeping packet is an instance of a class (see `lazy`) that adds nothing to the layout of the real one, so
that Python lets it become an instance of the real class where it lies. Once awake it is a plain scapy packet,
and costs nothing extra.
"""

from __future__ import annotations

import decimal
import functools
import operator
import os
import threading
import types
from collections.abc import Callable
from typing import Any

from scapy.base_classes import Packet_metaclass
from scapy.config import conf
from scapy.packet import Packet
from scapy.utils import EDecimal

# What scapy notes on a packet that has been made, and what may be read and set without waking one. `comment`
# and `comments` are the names of one slot, up to scapy 2.6 and since 2.7.
_NOTES_OF_ALL_RELEASES = (
    "time",
    "sent_time",
    "sniffed_on",
    "direction",
    "wirelen",
    "comment",
    "comments",
    "process_information",
)
NOTES = frozenset(_NOTES_OF_ALL_RELEASES).intersection(Packet.__slots__)
# For EDecimal: more digits than any time in nanoseconds has.
_EXACT = decimal.Context(prec=40)
_NANO = decimal.Decimal(-9)

Getter = Callable[[Packet], Any]
Setter = Callable[[Packet, Any], None]
# ts_ns, wirelen, sniffed_on, direction; other notes that were set while it slept; and what scapy makes
# of the bytes, if that has been found out already
State = tuple[int, int, Any, "int | None", "dict[str, Any] | None", "Packet | None"]
_PLACES = {"wirelen": 1, "sniffed_on": 2, "direction": 3}
# What Packet.__init__ sets and the state does not tell. Scapy sets `_answered` later, in sr(), `_pkt` never.
_MADE = tuple(set(Packet.__slots__) - {"original", "_answered", "_pkt", "time", *_PLACES})


def slot(name: str) -> tuple[Getter, Setter]:
    """How to read and set a slot, past `Packet.__setattr__`; reading an unset one raises AttributeError."""
    descriptor = vars(Packet)[name]
    return descriptor.__get__, descriptor.__set__


# Asleep, a packet has its bytes in `original`, where the awake one has them too, and its State in `_pkt`. All
# other slots are unset, but for a sleeping clone, which has the packet that it is a clone of in `underlayer`.
get_data, put_data = slot("original")
get_state, put_state = slot("_pkt")
_get_source, put_source = slot("underlayer")

_drop_state = vars(Packet)["_pkt"].__delete__
_read_made = operator.attrgetter(*_MADE)
_PUT_MADE = tuple(slot(name)[1] for name in _MADE)
_put_underlayer, _put_parent = slot("underlayer")[1], slot("parent")[1]
_put_time, _put_wirelen = slot("time")[1], slot("wirelen")[1]
_put_sniffed_on, _put_direction = slot("sniffed_on")[1], slot("direction")[1]

# Held while a packet wakes up, and whenever something is written to one that sleeps: two threads that touch a
# packet at once dissect it once, and neither loses what it has set. Reentrant: a dissector may look into
# other packets.
waking = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child must not inherit the lock from a thread that does not exist there.
    os.register_at_fork(before=waking.acquire, after_in_parent=waking.release, after_in_child=waking.release)


class Asleep(Packet_metaclass):
    """The type of the classes of sleeping packets: each stands for its real class.

    `type(p) == Ether` and dictionaries keyed by class (scapy's `conf.l2types` is one) work before a packet
    wakes; only `type(p) is Ether` does not.
    """

    _real: type[Packet]
    _clones: type[Packet]
    _dissect: Callable[[Packet], Packet]

    def __call__(self, *args: Any, **kwargs: Any) -> Packet:
        return self._real(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return self is other or self._real is other or (type(other) is Asleep and self._real is other._real)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._real)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real)

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self._real)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._real, name)

    def __repr__(self) -> str:
        return repr(self._real)


def is_asleep(packet: Packet) -> bool:
    """Whether nothing has made scapy dissect the packet yet; asking does not."""
    return type(type(packet)) is Asleep


def seconds(ts_ns: int) -> EDecimal:
    """The time as scapy's packets have it, exact to the nanosecond."""
    return EDecimal(_EXACT.scaleb(ts_ns, _NANO))


def read_note(state: State, name: str) -> Any:
    """A note of a sleeping packet."""
    place = _PLACES.get(name)
    if place is not None:
        return state[place]
    others = state[4]
    if others is not None and name in others:
        return others[name]
    return seconds(state[0]) if name == "time" else None


def with_note(state: State, name: str, value: Any) -> State:
    """What a sleeping packet has noted once it has noted that."""
    place = _PLACES.get(name)
    if place is None:
        return *state[:4], {**(state[4] or {}), name: value}, state[5]
    return *state[:place], value, *state[place + 1 :]


def dissected(make: Callable[[bytes], Packet], data: bytes, cls: type[Packet]) -> Packet:
    """What scapy's sockets make of the bytes: Raw when the first header is broken, unless debugging."""
    try:
        return make(data)
    except Exception:
        if conf.debug_dissector:
            from scapy.sendrecv import debug

            debug.crashed_on = (cls, data)
            raise
        raw: Packet = conf.raw_layer(data)
        return raw


def dissect(real: type[Packet], packet: Packet) -> Packet:
    """What the class makes of the packet's bytes, which have been dispatched to it."""

    def make(data: bytes) -> Packet:
        made: Packet = real.__new__(real)
        real.__init__(made, data)
        return made

    return dissected(make, get_data(packet), real)


def dissect_clone(real: type[Packet], packet: Packet) -> Packet:
    """The same for a packet that stands for what iterating over another one gives."""
    source = _get_source(packet)
    if is_asleep(source):
        wake(source)
    else:  # it may have been changed since then
        source = dissect(real, packet)
    (clone,) = source  # to the end, since scapy cleans up there
    return clone  # type: ignore[no-any-return]


def made_of(packet: Packet) -> Packet:
    """What scapy makes of a sleeping packet, which sleeps on. With `waking` held."""
    state: State = get_state(packet)
    made = state[5]
    if made is None:
        asleep: Any = type(packet)
        made = asleep._dissect(packet)
        if type(made) is not asleep._real and not fits(asleep, type(made)):
            made = _without_header(asleep._real, made)
        put_state(packet, (*state[:5], made))
    return made


def wake(packet: Packet) -> None:
    """Turn the packet into what scapy makes of its bytes; nothing happens to one that is awake.

    Scapy dissects into a second packet, whose parts the first one takes over: threads that come in between
    find it asleep, and so does whoever interrupts a dissection.
    """
    with waking:
        if not is_asleep(packet):
            return
        made = made_of(packet)
        _take_over(packet, made)
        *known, others, _ = get_state(packet)
        note(packet, *known)
        if others is not None:
            for name, value in others.items():
                object.__setattr__(packet, name, value)
        object.__setattr__(packet, "__class__", type(made))
        put_data(packet, made.original)
        _drop_state(packet)


def note(packet: Packet, ts_ns: int, wirelen: int, sniffed_on: Any, direction: int | None) -> None:
    """Set what is known of every packet that was captured."""
    _put_time(packet, seconds(ts_ns))
    _put_wirelen(packet, wirelen)
    _put_sniffed_on(packet, sniffed_on)
    _put_direction(packet, direction)


def _take_over(packet: Packet, made: Packet) -> None:
    """Give the packet all that dissecting set in `made`, and its place towards other layers."""
    for put, value in zip(_PUT_MADE, _read_made(made), strict=False):
        put(packet, value)
    for get, put in _own_slots(type(made)):
        try:
            put(packet, get(made))
        except AttributeError:  # not set by every dissection
            pass
    for name, value in made.__dict__.items():  # what a dissector set that is neither field nor slot
        if getattr(value, "__self__", None) is made:  # a method that a field like FCSField adds
            value = types.MethodType(value.__func__, packet)
        object.__getattribute__(packet, "__dict__")[name] = value
    # Up to scapy 2.5 the cache has copies of the packets among the fields.
    cached = made.raw_packet_cache_fields or {}
    for value in (made.payload, *made.fields.values(), *cached.values()):
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, Packet):
                if part.underlayer is made:
                    _put_underlayer(part, packet)
                if part.parent is made:
                    _put_parent(part, packet)


@functools.cache
def _own_slots(cls: type[Packet]) -> list[tuple[Getter, Setter]]:
    """How to read and set the slots that the classes below Packet add, and that dissecting may set."""
    below = cls.__mro__[: cls.__mro__.index(Packet)]
    slots = [vars(base)[name] for base in below for name in vars(base).get("__slots__", ())]
    # `_defrag_pos` is set by sessions, on packets that are awake. Reading a slot that is not set takes 2 us.
    return [(own.__get__, own.__set__) for own in slots if own.__name__ != "_defrag_pos"]


def fits(asleep: type[Packet], cls: type[Packet]) -> bool:
    """Whether packets can change from one class to the other: they must lie in memory alike."""
    try:
        object.__setattr__(object.__new__(asleep), "__class__", cls)
    except TypeError:
        return False
    return True


def _without_header(cls: type[Packet], payload: Packet) -> Packet:
    """A packet of the class with nothing in its header and all bytes in its payload.

    For one that is known to be of the class, when an override of the class's methods fails to dissect it.
    """
    packet = cls()
    packet.explicit = 1
    packet.raw_packet_cache, packet.raw_packet_cache_fields = b"", {}
    packet.original = payload.original
    packet.add_payload(payload)
    return packet
