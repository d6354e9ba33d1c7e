"""Zstandard, by the standard library of Python 3.14 or by backports.zstd, which is the same for older ones.

A stream here is one frame after the other (RFC 8878).  What Packer.pack() returns brings the stream to a
point from which everything before can be unpacked, so that a file cut there, by a crash or a full disk, is
good up to it.
"""

from __future__ import annotations

import io
from types import ModuleType
from typing import BinaryIO

from .errors import PcapError

MAGIC = bytes.fromhex("28b52ffd")
"""What a frame begins with (RFC 8878, 3.1.1)."""
END = bytes.fromhex("010000")
"""An empty raw block that is the frame's last (RFC 8878, 3.1.1.2): ends a frame without a checksum."""
SUFFIX = ".zst"


def _module() -> ModuleType:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd  # type: ignore[no-redef, unused-ignore]
        except ImportError:
            raise PcapError(
                "zstd needs a package that is not installed: pip install 'pypcapzc[zstd]'"
            ) from None
    found: ModuleType = zstd
    return found


class Packer:
    """Makes one frame.  Raises PcapError where no zstd is installed."""

    def __init__(self) -> None:
        module = _module()
        self._begun = False
        self._compressor = module.ZstdCompressor(
            options={module.CompressionParameter.checksum_flag: 0}  # END would have to bring it
        )

    def pack(self, data: bytes | memoryview) -> bytes:
        """What to write for ``data``, all of it."""
        self._begun = True
        packed: bytes = self._compressor.compress(data, self._compressor.FLUSH_BLOCK)
        return packed

    def end(self) -> bytes:
        """What ends the frame, with what was written of it so far."""
        return END if self._begun else b""


def reader(file: BinaryIO) -> io.BufferedIOBase:
    """What the frames in ``file`` unpack to.  Raises PcapError where no zstd is installed.

    Reading raises EOFError where the last frame is cut, after all that can be unpacked before.
    """
    opened: io.BufferedIOBase = _module().ZstdFile(file)
    return opened
