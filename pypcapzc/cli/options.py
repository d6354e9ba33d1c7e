"""Options that several commands have."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import click

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LARGEST = 2**31 - 1


def buffer_size(text: str) -> int:
    """Bytes, with an optional K, M or G (powers of 1024)."""
    found = re.fullmatch(r"(\d{1,18})([kmg]?)i?b?", text, re.ASCII | re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a size; write 4194304, 4096K or 4M")
    size = int(found[1]) * _UNITS[found[2].lower()]
    if not 1 <= size <= _LARGEST:
        raise click.BadParameter(f"{text} is out of range; it is 1 to {_LARGEST} bytes (less than 2G)")
    return size


class _Seconds(click.FloatRange):
    """A number of seconds from 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


SECONDS = _Seconds(min=0)


filter_option = click.option(
    "-f", "--filter", "filter_", metavar="FILTER", help="A pcap-filter(7) expression."
)
write_option = click.option(
    "-w", "--write", "target", metavar="FILE", help="Write a savefile; - is standard output."
)
count_option = click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N packets."
)
print_option = click.option("-p", "--print", "show", is_flag=True, help="Print a line for each packet.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object with the totals, at the end."
)


def check_standard_output(target: str | None, as_json: bool, show: bool) -> None:
    """Only one thing can go to standard output, and it has to be open."""
    writers = {"-w -": target == "-", "--json": as_json, "--print": show}
    if sum(writers.values()) > 1:
        names = " and ".join(name for name, wanted in writers.items() if wanted)
        raise click.UsageError(f"{names} write to standard output: choose one")
    if sys.stdout is None and (target == "-" or as_json or show):
        raise click.UsageError("standard output is closed")
