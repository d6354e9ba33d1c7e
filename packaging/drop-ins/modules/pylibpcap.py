"""python-libpcap's package: pypcapzc's stand-in, with its modules, takes the place of this one."""

import importlib
import pkgutil
import sys

from pypcapzc.compat import pylibpcap

for _each in pkgutil.iter_modules(pylibpcap.__path__):
    # Under both names the same module: its classes and exceptions exist once.
    sys.modules[f"{__name__}.{_each.name}"] = importlib.import_module(f"{pylibpcap.__name__}.{_each.name}")
sys.modules[__name__] = pylibpcap
