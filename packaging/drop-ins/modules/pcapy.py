"""pcapy-ng's module: pypcapzc's stand-in takes the place of this one."""

import sys

from pypcapzc.compat import pcapy

sys.modules[__name__] = pcapy
