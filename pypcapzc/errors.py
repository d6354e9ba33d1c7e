"""Exceptions: one per thing a caller can do something about.

Every message says what happened and, where there is a remedy, what to do.  An exception
that stems from a libpcap status code keeps it in ``code`` (``PCAP_ERROR_*``, pcap/pcap.h).
"""

from __future__ import annotations


class PcapError(Exception):
    """Base of everything that pypcapzc raises on purpose.

    ``code`` is libpcap's status (a negative ``PCAP_ERROR_*``), or None where libpcap gave none.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class LibraryError(PcapError, OSError):
    """No usable libpcap: the file is missing, is for another architecture, or is no libpcap."""


class MissingFunctionError(PcapError, NotImplementedError):
    """The loaded libpcap lacks a function: names it, the version that has it, and the library."""


class DeviceNotFoundError(PcapError, OSError):
    """There is no such capture device (PCAP_ERROR_NO_SUCH_DEVICE)."""


class CapturePermissionError(PcapError, PermissionError):
    """This user may not capture (PCAP_ERROR_PERM_DENIED, PCAP_ERROR_PROMISC_PERM_DENIED)."""


class DeviceGoneError(PcapError, OSError):
    """The interface disappeared or went down while capturing; all it had delivered was handed out first."""


class FilterError(PcapError, ValueError):
    """A filter does not compile or cannot be installed; the message is libpcap's own."""


class SavefileError(PcapError, ValueError):
    """A savefile is empty, truncated, corrupt, or of a format that libpcap cannot read."""


class CaptureClosedError(PcapError, ValueError):
    """The capture was closed, or it belongs to the parent of this forked process."""


class ZeroCopyUnavailableError(PcapError):
    """``mode="zerocopy"`` was asked for and cannot be had; says what is missing and how to get it."""


class BlockInUseError(PcapError, BufferError):
    """A block cannot be released while a memoryview or numpy array of it is alive."""


class BlockReleasedError(PcapError, ValueError):
    """The block was given back; its packets are no longer to be had."""


class DumpError(PcapError, OSError):
    """A savefile cannot be written on: disk full, reader gone.  ``errno`` is the system's."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.errno = number
