"""Several processes that share the packets of one device: a function of yours in each.

def count(blocks):
    return sum(len(block) for block in blocks)

with pypcapzc.Workers("eth0", count, 4) as workers:
    time.sleep(10)
print(workers.report.merged(operator.add), workers.report.dropped, workers.report.lost)
"""

from __future__ import annotations

from .pool import Workers
from .report import Report, WorkerError, WorkerReport

__all__ = ["Report", "WorkerError", "WorkerReport", "Workers"]
