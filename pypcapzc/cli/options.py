"""Options that several commands have."""

from __future__ import annotations

import click

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(text: str) -> int:
    """Bytes, with an optional K, M or G (powers of 1024)."""
    number = text.lower().removesuffix("b").removesuffix("i")
    unit = _UNITS.get(number[-1:], 1)
    try:
        return int(number[:-1] if unit > 1 else number) * unit
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a size; write 4194304, 4096K or 4M") from None


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
    """Only one thing can go to standard output."""
    if target == "-" and (as_json or show):
        raise click.UsageError(f"-w - and {'--json' if as_json else '--print'} both write to standard output")
