"""The exception of python-libpcap."""

from __future__ import annotations


class LibpcapError(Exception):
    """What libpcap reports, in words."""

    __module__ = "pylibpcap.exception"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message
