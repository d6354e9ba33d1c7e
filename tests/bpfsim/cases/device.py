"""Packets of Linux devices: zc0, whose other end is zc1, and lo."""

STEPS = [
    ("attach epair0a zc0", "0"),
    ("attach epair0a nope0", "ENXIO"),
    ("zopen 2 nofilter", "0"),
    # Frames for somebody else are heard in promiscuous mode only.
    ("wire zc1 2 60", "ok"),
    ("stats", "recv=0 drop=0"),
    ("null BIOCPROMISC", "0"),
    ("wire zc1 2 60", "ok"),
    ("stats", "recv=2 drop=0"),
    ("rotz", "A 174"),
    ("records A", "60:88b500000000 60:88b500000000"),
    ("ack A", "ok"),
    # A tag that Linux keeps beside the frame is back in its place.
    ("wire zc1 1 64 7", "ok"),
    ("rotz", "B 90"),
    ("records B", "64:8100000788b5"),
    ("ack B", "ok"),
    # What this end sends goes out.
    ("wire zc0 1 60", "ok"),
    ("set BIOCSDIRECTION 0", "0"),
    ("wire zc0 1 60", "ok"),
    ("set BIOCSDIRECTION 2", "0"),
    ("wire zc0 1 60", "ok"),
    ("set BIOCSDIRECTION 1", "0"),
    ("stats", "recv=5 drop=0"),
    ("heard zc1 3", "3 of 60"),
    ("stats", "recv=8 drop=0"),
    # Loopback.
    ("attach lo0 lo", "0"),
    ("zopen 2 nofilter lo0", "0"),
    ("udp_to_lo 10", "ok"),
    ("stats", "recv=1 drop=0"),
    ("rotz", "A 70"),
    ("layout A", "32:28+42/42"),
    ("protocols A", "2/17"),
    # The device goes, and the interface with it.
    ("zopen 2 nofilter", "0"),
    ("wire zc0 1 60", "ok"),
    ("delete zc0", "ok"),
    ("poll_hup", "0x11"),
    ("dlt", "EINVAL"),
    ("rotz", "A 86"),
    ("setif epair0a", "ENXIO"),
]
