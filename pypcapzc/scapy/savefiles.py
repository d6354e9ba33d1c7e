"""sniff(offline=...): savefiles in blocks, with filters that libpcap itself compiles."""

from __future__ import annotations

import gzip
import os
import tempfile
from typing import Any, NoReturn

from scapy.config import conf
from scapy.error import Scapy_Exception, warning
from scapy.packet import Packet
from scapy.plist import PacketList
from scapy.supersocket import IterSocket, SuperSocket
from scapy.utils import PcapReader, PcapWriter

from ..errors import FilterError, SavefileError
from ..savefile import open_offline
from ..waker import readable
from .sockets import BlockSocket, layer_of

_GZIP = b"\x1f\x8b"
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_STOPPABLE = 0.05
"""Seconds that a pipe without packets keeps sniff() from seeing that it was told to stop."""


class SavefileSocket(BlockSocket):
    """Receives the packets of a savefile; EOFError at its end."""

    desc = "read packets from a savefile in blocks, by pypcapzc"
    nonblocking_socket = True  # sniff() asks at once whether it was told to stop

    def __init__(self, source: Any, filter: str | None, lazy: bool, owned: Any = None) -> None:
        """``owned`` is closed with the socket."""
        self._owned = owned
        capture = open_offline(source)
        try:
            if filter is not None:
                capture.set_filter(filter)
        except BaseException:
            capture.close()
            raise
        self._capture = capture
        cls, self.lvl = layer_of(capture.datalink)
        if cls is None:
            warning("%s: unknown link-layer type %i. Using Raw packets", capture.name, capture.datalink)
            cls = conf.raw_layer
        self.LL = cls
        self._begin(capture, None, lazy)

    def fill(self) -> bool:
        """As of any socket; the end of the file is something to be received, too."""
        if not super().fill() and self._failure is None:
            self._failure = EOFError()
        return True

    def _await(self) -> bool:
        while not self.fill():
            pass  # a pipe waits in there
        return self._give()

    def _patience_of_fill(self) -> float | None:
        return None

    @property
    def descriptor(self) -> int:
        """None: recv() does not wait for one."""
        return -1

    @property
    def patience(self) -> float | None:
        """No time: a savefile is always ready."""
        return 0

    def fileno(self) -> int:
        """None."""
        return -1

    def close(self) -> None:
        """Close the file, but for one that the caller has opened."""
        super().close()
        if self._owned is not None:
            self._owned.close()

    def send(self, x: Any) -> NoReturn:
        """Raises Scapy_Exception."""
        raise Scapy_Exception("Can't send anything with a savefile")


class PipeSocket(SavefileSocket):
    """The same for what is no regular file, where packets that have not come yet may not keep sniff() from
    stopping.
    """

    def __init__(self, source: Any, filter: str | None, lazy: bool, pipe: int) -> None:
        self._pipe = os.dup(pipe)
        super().__init__(source, filter, lazy, os.fdopen(self._pipe, "rb", buffering=0))

    def fill(self) -> bool:
        """Whether there is something, after a short wait; a long one where a filter lets nothing pass."""
        assert self._capture is not None
        if self.left or self._failure is not None or self.closed or self._capture.at_hand:
            return super().fill()
        return bool(readable([self._pipe], _STOPPABLE)) and super().fill()


def sockets_of(offline: Any, filter: str | None, lazy: bool) -> dict[SuperSocket, Any] | None:
    """What sniff() reads for its argument ``offline``: sockets with the labels that it gives them.

    None where scapy has to see to it: for packets in memory without a filter, and files that libpcap does
    not read.  Raises OSError where a file cannot be opened, Scapy_Exception for a filter that is none.
    """
    opened: dict[SuperSocket, Any] = {}
    try:
        for source, label in _sources(offline, filter):
            opened[_open(source, filter, lazy)] = label
        if opened:
            return opened
    except BaseException as error:
        for each in opened:
            each.close()
        if isinstance(error, FilterError):
            raise Scapy_Exception(f"Cannot set filter: {error}") from error
        if not isinstance(error, SavefileError):
            raise
    return None


def _sources(offline: Any, filter: str | None) -> list[tuple[Any, Any]]:
    """What is to be opened, and its label, as scapy takes the argument apart."""
    if isinstance(offline, list) and offline and all(isinstance(each, str) for each in offline):
        return [(each, each) for each in offline]
    if isinstance(offline, dict):
        return list(offline.items())
    if isinstance(offline, (Packet, PacketList, list)) and (filter is None or not offline):
        return []
    return [(offline, offline)]


def _open(source: Any, filter: str | None, lazy: bool) -> SuperSocket:
    """Raises SavefileError for what is not for libpcap."""
    if isinstance(source, (Packet, PacketList, list)):
        with _written(source) as file:
            return SavefileSocket(file, filter, lazy)
    if not isinstance(source, str) or source == "-":
        return _open_file(source, filter, lazy)
    with open(source, "rb") as file:
        return _open_file(file, filter, lazy)


def _written(packets: Any) -> Any:
    """A savefile of packets that are in memory: a filter needs their bytes and link-layer type."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with PcapWriter(os.fdopen(os.dup(file.fileno()), "wb"), sync=True) as writer:
        for packet in IterSocket(packets).iter:
            writer.write(packet)
    file.seek(0)
    return file


def _open_file(file: Any, filter: str | None, lazy: bool) -> SuperSocket:
    if not _is_regular(file):
        descriptor = 0 if file == "-" else _number(file)
        return (
            PipeSocket(file, filter, lazy, descriptor)
            if descriptor >= 0
            else SavefileSocket(file, filter, lazy)
        )
    start = os.pread(file.fileno(), 4, file.tell())
    if start.startswith(_GZIP):
        packed = os.fdopen(os.dup(file.fileno()), "rb")
        unpacked: Any = gzip.open(packed)  # noqa: SIM115 - the socket closes it
        unpacked.myfileobj = packed  # which it closes with itself
        return SavefileSocket(unpacked, filter, lazy, unpacked)
    if start == _PCAPNG and filter is None:
        # scapy's own reader knows comments, directions and files of several link-layer types.
        return PcapReader(os.fdopen(os.dup(file.fileno()), "rb"))  # type: ignore[arg-type, return-value]
    return SavefileSocket(file, filter, lazy)


def _number(file: Any) -> int:
    try:
        return int(file if isinstance(file, int) else file.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def _is_regular(file: Any) -> bool:
    try:
        return not isinstance(file, int) and os.path.isfile(file.name) and file.seekable()
    except (AttributeError, TypeError, OSError):
        return False
