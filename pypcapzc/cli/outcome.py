"""What a command came to: exit codes, and one clear line for what went wrong."""

from __future__ import annotations

import contextlib
import enum
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

from ..errors import CapturePermissionError, DeviceNotFoundError, FilterError, PcapError


class Exit(enum.IntEnum):
    """Exit codes of all commands."""

    DONE = 0
    NO = 1
    USAGE = 2
    NOT_PERMITTED = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


def code_of(error: BaseException) -> Exit:
    """The exit code for an exception."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, CapturePermissionError | PermissionError):
        return Exit.NOT_PERMITTED
    if isinstance(error, DeviceNotFoundError | FileNotFoundError):
        return Exit.NOT_FOUND
    if isinstance(error, click.UsageError | FilterError):
        return Exit.USAGE
    if isinstance(error, ValueError) and not isinstance(error, PcapError):
        return Exit.USAGE
    return Exit.NO


def _line(error: BaseException) -> str:
    if isinstance(error, BrokenPipeError):
        return "standard output was closed by its reader"
    if isinstance(error, OSError) and not isinstance(error, PcapError) and error.strerror is not None:
        where = "standard output" if error.filename is None else os.fsdecode(error.filename)
        return f"{where}: {error.strerror}"
    return str(error) or type(error).__name__


def one_line(text: str) -> str:
    """The text with line breaks, control characters and undecodable bytes escaped, as \\n or \\x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warn(message: str) -> None:
    """One line on standard error; nothing where that is closed."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            print(f"pypcapzc: {one_line(message)}", file=sys.stderr, flush=True)


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx is not None else "pypcapzc"
    return f"{' '.join(error.format_message().split()).rstrip('.')}; see `{command} --help`"


def guarded(command: Callable[[], Any]) -> int:
    """Run a click command and turn whatever comes out of it into an exit code."""
    _occupy_standard_descriptors()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_args, **_kwargs: warn(f"warning: {message}")
    try:
        result = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        warn(_usage(error))
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        warn("interrupted")
        return Exit.INTERRUPTED
    except (PcapError, OSError, ValueError, MemoryError) as error:
        _settle_standard_output()
        warn(_line(error))
        return code_of(error)
    return result if isinstance(result, int) else Exit.DONE


def _settle_standard_output() -> None:
    """Give up what cannot be written: Python would fail once more when it flushes at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _occupy_standard_descriptors() -> None:
    """See to it that 0, 1 and 2 are open: a packet socket that got number 1 would send what is printed."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
