"""fork() after BIOCSETZBUF."""

_HEALTHY = (
    "A kgen=1 | B kgen=1 pkts=1 | ROTZ len=226 A kgen=2 poll=0x1 | ROTZ len=226 B kgen=2 | recv=4 drop=0"
)
_DEAD = "A kgen=1 | B kgen=1 pkts=1 | ROTZ len=0 A kgen=1 poll=0x1 | ROTZ len=0 B kgen=1 | recv=4 drop=0"

STEPS = [
    ("fork private vfork", _HEALTHY),
    ("fork private child", _DEAD),
    ("fork private exec", _HEALTHY),
    ("fork shared child", _HEALTHY),
    ("fork none child", _HEALTHY),
    ("fork share child", _HEALTHY),
]
