"""Tables of (action, outcome): what zbt saw on a FreeBSD 13.2 kernel, one module for each of its tests.

The actions are those of probe.py and actions.py. "after N" is a time in milliseconds, compared by its order
of magnitude. kevent's outcomes are left out, as are numbers of wired pages.
"""
