"""What install() was asked for: no more than that is loaded as long as the program imports no stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["auto", "zerocopy", "buffered"]
MODES: tuple[Mode, ...] = ("auto", "zerocopy", "buffered")


@dataclass
class Settings:
    """What holds for all devices that the program opens."""

    buffer_size: int | None = None
    """Bytes of the kernel's buffer, whatever the program asks for; None: what it asks for."""
    mode: Mode = "auto"
    """As in open_live()."""
    summary: bool = False
    """Say at the end, on standard error, what was captured and lost."""


settings = Settings()
