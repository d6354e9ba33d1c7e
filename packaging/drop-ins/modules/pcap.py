"""pypcap's and pcap-ct's module: pypcapzc's stand-in takes the place of this one."""

import sys

from pypcapzc.compat import pcap

sys.modules[__name__] = pcap
