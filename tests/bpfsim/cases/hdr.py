"""How records lie in a buffer."""

STEPS = [
    ("zopen 4", "0"),
    ("inj_sizes 60 69", "ok"),
    ("rotz", "A 935"),
    ("dlt", "dlt=1"),
    (
        "layout A",
        "32:26+60/60; 120:26+61/61; 208:26+62/62; 296:26+63/63; 392:26+64/64; "
        "488:26+65/65; 584:26+66/66; 680:26+67/67; 776:26+68/68; 872:26+69/69",
    ),
    ("walk A", "klen=935 packets=10 seq=1..10 bad=0"),
    ("stamped MICROTIME", "0 hdrlen=26 caplen=61 datalen=61 klen=175 realtime"),
    ("stamped NANOTIME", "0 hdrlen=26 caplen=61 datalen=61 klen=175 realtime"),
    ("stamped BINTIME", "0 hdrlen=26 caplen=61 datalen=61 klen=175 realtime"),
    ("stamped NONE", "0 hdrlen=26 caplen=61 datalen=61 klen=175 zero"),
    ("stamped MICROTIME|FAST", "0 hdrlen=26 caplen=61 datalen=61 klen=175 realtime"),
    ("stamped NANOTIME|MONOTONIC", "0 hdrlen=26 caplen=61 datalen=61 klen=175 uptime"),
    # Loopback: a header of four bytes, and so two more in front of it.
    ("zopen 2 nofilter lo0", "0"),
    ("dlt", "dlt=0"),
    ("udp 4 42", "ok"),
    ("icmp 4 70", "ok"),
    ("rotz", "A 709"),
    ("stats", "recv=8 drop=0"),
    (
        "layout A",
        "32:28+42/42; 104:28+43/43; 176:28+44/44; 248:28+45/45; "
        "328:28+70/70; 432:28+71/71; 536:28+72/72; 640:28+73/73",
    ),
    ("protocols A", "2/17 2/17 2/17 2/17 2/1 2/1 2/1 2/1"),
    # What write(2) does not take is not captured either.
    ("mtu 9000", "ok"),
    ("zopen 1", "0"),
    ("inj 1 9000", "EIO"),
    ("rotz", "none 0"),
    ("stats", "recv=0 drop=0"),
    ("mtu 1500", "ok"),
    # The filter's answer cuts.
    ("zopen 2", "0"),
    ("snaplen 64", "0"),
    ("inj 2 200", "ok"),
    ("rotz", "A 186"),
    ("layout A", "32:26+64/200; 128:26+64/200"),
]
