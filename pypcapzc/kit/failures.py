"""Why a library cannot be built: each message is one line that ends with what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import PcapError


class KitError(PcapError):
    """Base of everything that the kit raises on purpose."""


class UnknownTargetError(KitError, ValueError):
    """There is no such target, or this host is none."""


class PinError(KitError, ValueError):
    """No pin says what the sources of a version must be, or the pin is empty."""


class SourceError(KitError):
    """The sources cannot be had, or are not what their pin says."""


class SourceFileError(SourceError, FileNotFoundError):
    """There is no such file."""


class PatchError(KitError):
    """A patch does not apply, or the series is damaged."""


class ToolError(KitError):
    """A tool is missing."""


class BuildError(KitError):
    """configure or make failed; ``log`` is the whole log, ``tail`` its last lines."""

    def __init__(self, message: str, log: Path, tail: Sequence[str]) -> None:
        super().__init__(message)
        self.log = log
        self.tail = list(tail)


class VerificationError(KitError):
    """The library was built, but is not what it must be."""


class NoSpaceError(KitError):
    """A disk is full."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(
            f"no space left for {folder}: a build needs about 200 MB; free some, or set PYPCAPZC_HOME "
            f"to a folder on another disk"
            if folder is not None
            else "no space left on the disk of the container engine: its image and a build need about "
            "1.5 GB; free some (docker system df tells what there is), or build with --engine local"
        )


class EngineError(KitError):
    """There is no container engine, or it does not do what it must."""


class EnginePermissionError(EngineError, PermissionError):
    """The engine is there, but not for this user."""


class EngineLostError(EngineError):
    """The engine went away in mid-build."""


class ImageError(EngineError):
    """The image cannot be had or made, or does not run."""


class PackageError(KitError):
    """A package cannot be made of a library."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = 64 << 20
"""Bytes that must be free before a build begins."""


def is_full(error: BaseException) -> bool:
    """Whether this says that a disk, or the user's part of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Turn "no space left", at the beginning or later, into NoSpaceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < ROOM:
            raise NoSpaceError(folder)
        yield
    except OSError as error:
        if is_full(error):
            where = Path(os.fsdecode(error.filename)) if error.filename else folder
            raise NoSpaceError(where) from error
        raise
