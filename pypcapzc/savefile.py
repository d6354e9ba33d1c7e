"""Reading savefiles."""

from __future__ import annotations

import os
from typing import Any

from .capture import Capture, Mode
from .errors import ZeroCopyUnavailableError
from .sources.live import check_mode
from .sources.savefile import Readable, open_savefile
from .waker import Waker


def open_offline(
    path_or_file: str | bytes | os.PathLike[Any] | int | Readable, *, mode: Mode = "auto"
) -> Capture:
    """Read a savefile: pcap in both byte orders and precisions, pcapng as far as libpcap reads it.

    A path, "-" for standard input, a descriptor, or a binary file object (anything with ``read(size)``, as
    an open gzip file); pipes work, and are read no further ahead than needed.  The source stays the
    caller's.  A file that zstd has compressed is unpacked as it is read, and copied.  Times are nanoseconds
    (pcap_fopen_offline_with_tstamp_precision(3PCAP), libpcap 1.5.1).

    mode   as in open_live(): with a patched libpcap a regular file is read in large pieces that are lent;
           what is no regular file is always copied

    Raises FileNotFoundError and the like, SavefileError where libpcap cannot read it,
    ZeroCopyUnavailableError where ``mode="zerocopy"`` cannot be had.
    """
    check_mode(mode)
    if isinstance(path_or_file, int):
        os.fstat(path_or_file)  # a closed one is an error here, before the waker's pipe gets its number
    waker = Waker()
    handle, source = open_savefile(path_or_file, waker, mode != "buffered")
    try:
        capture = Capture(handle, source, waker, live=False, asked=mode)
        if mode == "zerocopy" and not source.lent:
            raise ZeroCopyUnavailableError(
                f"{capture.name}: no zero-copy reading; {capture.zero_copy.reason}"
            )
        return capture
    except BaseException:
        handle.close()
        source.close()
        raise
