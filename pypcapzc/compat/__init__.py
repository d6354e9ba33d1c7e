"""Stand-ins for other capture libraries, so that programs written for them run unchanged.

    import pypcapzc.compat

    pypcapzc.compat.install()
    import pcap  # pypcap's interface, on pypcapzc

`pypcapzc run` does that for a program that knows nothing of it.
"""

from __future__ import annotations

from .placing import STAND_INS as STAND_INS
from .placing import install as install
from .placing import uninstall as uninstall
