"""The build kit: a checked, patched libpcap for this host and others, from tools that pip installs.

    from pypcapzc.kit.driver import Request, build

    result = build(Request(target="freebsd-amd64"))

``driver`` goes through it step by step; the other modules each know one thing: where sources come from
(``sources``, ``debian``, ``signatures``), what is done to them (``patching``), for whom (``targets``), with
what (``toolchain``, ``recipe``), where (``engines``), and what must be true of the result (``verify``).
"""
