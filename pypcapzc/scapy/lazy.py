"""Packets that scapy dissects when somebody first looks into them.

Dissecting takes some hundred times as long as taking a packet from the ring, and many programs only count
packets, write them to a file or look into a few. A packet from `packet_maker` keeps the bytes and its time,
and becomes what scapy would have made of them at once on the first use of anything but its bytes, length,
time, length on the wire, interface or direction.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

from scapy.config import conf
from scapy.packet import Packet

from .lazy_waking import (
    NOTES,
    Asleep,
    dissect,
    dissect_clone,
    dissected,
    fits,
    get_data,
    get_state,
    is_asleep,
    made_of,
    note,
    put_data,
    put_source,
    put_state,
    read_note,
    seconds,
    wake,
    waking,
    with_note,
)

__all__ = ["Maker", "is_asleep", "packet_maker", "seconds"]

# data, ts_ns (nanoseconds since the epoch), wirelen (bytes), sniffed_on, direction
Maker = Callable[[bytes, int, int, Any, "int | None"], Packet]
# A class of sleeping packets, and how many bytes make one; None when there can be none.
Choice = tuple[type[Packet], int] | None

# Classes whose own header cannot fail to dissect when so many bytes are there: whatever goes wrong further
# up, scapy catches and gives a Raw payload. Their packets are known to be of the class without dissecting.
# With other classes that shows in dissecting, since scapy makes a Raw of a packet whose first header is
# broken.
_HEADER_BYTES = {
    "scapy.layers.l2.Ether": 14,
    "scapy.layers.l2.Dot3": 14,
    "scapy.layers.l2.CookedLinux": 16,
    "scapy.layers.l2.CookedLinuxV2": 20,
    "scapy.layers.l2.Loopback": 4,
    "scapy.layers.inet.IP": 20,
    "scapy.packet.Raw": 1,
}
_LONGEST_802_3 = b"\x05\xdc"  # 1500: up to here a length, above a type
# A program that has looked into each of so many packets before it asked for the next will look into those of
# the same block that follow: they are spared the detour, which takes 60,000 instructions.
_LOOKS_INTO_ALL = 64
# What makes classes and instances rather than uses them, and what is the same for all packets.
_INHERITED = {"__new__", "__init__", "__init_subclass__", "__class_getitem__", "__getattribute__", "__bool__"}


def _getattribute(self: Packet, name: str) -> Any:
    if name in NOTES:
        try:
            return read_note(get_state(self), name)
        except AttributeError:  # another thread has woken it
            pass
    wake(self)
    return type(self).__getattribute__(self, name)


def _getattribute_of_known(self: Packet, name: str) -> Any:
    if name == "__class__":
        cls = type(self)
        return cls._real if type(cls) is Asleep else cls
    return _getattribute(self, name)


def _getattribute_of_unknown(self: Packet, name: str) -> Any:
    if name == "__class__":
        # isinstance() asks for it and compares it with the type from before, which therefore has to stay.
        with waking:
            return type(made_of(self)) if is_asleep(self) else type(self)
    return _getattribute(self, name)


def _setattr(self: Packet, name: str, value: Any) -> None:
    if name in NOTES:
        with waking:
            if is_asleep(self):
                state = get_state(self)
                if read_note(state, name) is not value:  # sniff() sets `sniffed_on` on every packet
                    put_state(self, with_note(state, name, value))
                return
    wake(self)
    setattr(self, name, value)


def _bytes(self: Packet) -> bytes:
    data: bytes = get_data(self)
    if is_asleep(self) and conf.padding:
        return data
    wake(self)
    return bytes(self)


def _len(self: Packet) -> int:
    return len(_bytes(self))


def _iter(self: Packet) -> Iterator[Packet]:
    # Scapy iterates over the packets of what it writes to a file; a dissected packet gives a single clone.
    with waking:
        clone = _clone(self) if is_asleep(self) else None
    if clone is None:
        yield from self
    else:
        yield clone


@functools.cache
def _notes_of_clones() -> frozenset[str]:
    """The notes that this release of scapy copies when it iterates over a packet."""
    packet = Packet()
    for name in NOTES:
        object.__setattr__(packet, name, name)
    clone = packet.clone_with()
    return frozenset(name for name in NOTES if getattr(clone, name) == name)


def _clone(packet: Packet) -> Packet:
    state = get_state(packet)
    for name in NOTES - _notes_of_clones():
        if read_note(state, name) is not None:
            state = with_note(state, name, None)
    clone: Packet = object.__new__(type(packet)._clones)
    put_data(clone, get_data(packet))
    put_state(clone, state)
    put_source(clone, packet)
    return clone


def _special_method(name: str) -> Callable[..., Any]:
    """A special method that wakes the packet and then does what Python would have done with it awake."""
    operation = getattr(operator, f"__{name[3:]}", None) if name.startswith("__r") else None

    def method(self: Packet, *args: Any) -> Any:
        wake(self)
        return getattr(type(self), name)(self, *args)

    def reflected(self: Packet, other: Any) -> Any:
        wake(self)
        return operation(other, self)  # type: ignore[misc]

    return method if operation is None else reflected


@functools.cache
def _choice(real: type[Packet]) -> Choice:
    """The class of the sleeping packets of a class."""
    header = _HEADER_BYTES.get(f"{real.__module__}.{real.__qualname__}")
    # isinstance() asks a packet for its `__class__` unless type() tells, and that may wake it: so packets
    # that could turn out to be Raw are no instances of the class before.
    base = Packet if header is None else real
    namespace = _special_methods(real)
    namespace |= {
        "__slots__": (),
        "__module__": real.__module__,
        "__qualname__": real.__qualname__,
        "__doc__": real.__doc__,
        "__getattribute__": _getattribute_of_unknown if header is None else _getattribute_of_known,
        "__setattr__": _setattr,
        "_real": real,
    }

    def asleep(
        dissect: Callable[[type[Packet], Packet], Packet], clones: type[Packet] | None
    ) -> type[Packet]:
        own = {"_dissect": staticmethod(functools.partial(dissect, real)), "_clones": clones}
        # Not through Packet_metaclass.__new__, which would add the class to scapy's lists of layers.
        cls: Any = type.__new__(Asleep, real.__name__, (base,), namespace | own)
        return cls  # type: ignore[no-any-return]

    packets = asleep(dissect, asleep(dissect_clone, None))
    if fits(packets, real) and (header is not None or fits(packets, conf.raw_layer)):
        return packets, header or 1
    return None


def _special_methods(real: type[Packet]) -> dict[str, Any]:
    """What Python looks up in the class and not through `__getattribute__`."""
    methods: dict[str, Any] = {}
    for ancestor in real.__mro__[:-1]:  # not those of object
        for name, value in vars(ancestor).items():
            special = name.startswith("__") and name.endswith("__") and name not in _INHERITED
            if special and isinstance(value, types.FunctionType | None):
                methods.setdefault(name, value and _special_method(name))
    if real.__bool__ is not Packet.__bool__:
        methods["__bool__"] = _special_method("__bool__")
    if (real.__bytes__, real.__len__) == (Packet.__bytes__, Packet.__len__):
        methods |= {"__bytes__": _bytes, "__len__": _len}
    if real.__iter__ is Packet.__iter__:
        methods["__iter__"] = _iter
    return methods


def packet_maker(cls: type[Packet], *, lazy: bool = True, **options: Any) -> Maker:
    """A function that makes packets of a datalink's class, as `conf.l2types` gives it: see `Maker`.

    The packets keep the bytes objects that they are given. With `lazy`, scapy dissects them when they are
    first looked into, by the layers that are bound then; but at once while `conf.layers.filter` is on, if
    `conf.debug_dissector` is on now, and when not even the first header is whole. Options are those that
    `SuperSocket.recv` passes to the class; with any, packets are dissected at once.

    Raises what dissectors raise if `conf.debug_dissector` is on; else a packet that cannot be dissected is
    Raw.
    """
    make: Callable[[bytes], Packet] = functools.partial(cls, **options) if options else cls

    def make_awake(data: bytes, ts_ns: int, wirelen: int, sniffed_on: Any, direction: int | None) -> Packet:
        packet = dissected(make, data, cls)
        note(packet, ts_ns, wirelen, sniffed_on, direction)
        return packet

    if not lazy or options or conf.debug_dissector:
        return make_awake
    return _asleep_maker(_chooser(cls), make_awake)


def _asleep_maker(choose: Callable[[bytes], Choice], make_awake: Maker) -> Maker:
    new, layers = object.__new__, conf.layers
    last: object = None  # the packet before this one, as long as all have been looked into; else False
    looked_into = 0

    def make(data: bytes, ts_ns: int, wirelen: int, sniffed_on: Any, direction: int | None) -> Packet:
        nonlocal last, looked_into
        choice, caplen = choose(data), len(data)
        if choice is None or caplen < choice[1] or layers.filtered:
            return make_awake(data, ts_ns, wirelen, sniffed_on, direction)
        if last is not False:
            if type(type(last)) is Asleep:
                last = False
            elif looked_into == _LOOKS_INTO_ALL:
                return make_awake(data, ts_ns, wirelen, sniffed_on, direction)
            looked_into += 1
        packet: Packet = new(choice[0])
        put_data(packet, data)
        put_state(packet, (ts_ns, wirelen, sniffed_on, direction, None, None))
        if last is not False:
            last = packet
        return packet

    return make


def _chooser(cls: type[Packet]) -> Callable[[bytes], Choice]:
    """A function that chooses by a packet's bytes, as `Packet_metaclass.__call__` does."""
    hook = vars(cls).get("dispatch_hook")
    if hook is None:
        always = _choice(cls)
        return lambda data: always
    if _is_scapys_ether(cls):
        from scapy.layers.l2 import Dot3

        ether, dot3 = _choice(cls), _choice(Dot3)
        return lambda data: ether if data[12:14] > _LONGEST_802_3 else dot3

    def choose(data: bytes) -> Choice:
        try:
            return _choice(cls.dispatch_hook(data))
        except Exception:
            return None

    return choose


def _is_scapys_ether(cls: type[Packet]) -> bool:
    return (cls.__module__, cls.__name__) == ("scapy.layers.l2", "Ether") and (
        cls.dispatch_hook.__func__.__module__ == cls.__module__
    )
