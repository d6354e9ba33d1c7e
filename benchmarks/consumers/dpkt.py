"""dpkt: (float, bytes) pairs from its reader of savefiles."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from dpkt.pcap import UniversalReader

from benchmarks.consumers import common


def _open_live(task: common.Task) -> Any:
    raise NotImplementedError(f"dpkt does not capture: {task}")


def _open_offline(task: common.Task) -> Any:
    return UniversalReader(open(task.source, "rb"))  # for as long as this process lives


CONSUMER = common.Consumer(
    version=lambda: version("dpkt"),
    open_live=_open_live,
    open_offline=_open_offline,
    counters=_open_live,
    ways={"reader": common.iterate},
)

if __name__ == "__main__":
    sys.exit(common.run(CONSUMER))
