"""``pypcapzc read``."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from ..errors import PcapError
from ..savefile import open_offline
from . import options as shared
from .outcome import Exit, code_of, warn
from .output import chosen, opened_files, output_options
from .tally import Tally
from .terminal import packets, progress, size


@click.command(short_help="Count, filter, print or convert the packets of a savefile.")
@click.argument("file")
@shared.filter_option
@output_options
@shared.count_option
@shared.print_option
@shared.json_option
def read(file: str, filter_: str | None, count: int | None, show: bool, as_json: bool, **files: Any) -> int:
    """Read a savefile (pcap or pcapng; - is standard input): count, filter, print, or write its packets."""
    output = chosen(**files)
    shared.check_standard_output(output.target, as_json, show)
    if output.target not in (None, "-") and _same_file(file, output.target):
        raise click.UsageError(f"{file} would be overwritten while it is read; give -w another name")
    failure: PcapError | None = None
    with open_offline(file) as opened:
        if filter_ is not None:
            opened.set_filter(filter_)
        with Tally(output.open(opened), show) as tally, progress(not show) as line:
            try:
                for block in opened.blocks(count=count):
                    tally.take(block)
                    if tally.finished:
                        break
                    if line.due():
                        line.update(tally.packets, tally.nbytes)
            except PcapError as error:  # all packets before the damage count
                failure = error
            try:
                tally.close()
            except PcapError as error:
                failure = failure or error
        summary = {
            "captured": tally.packets,
            "received": None,
            "dropped": None,
            "dropped_by_interface": None,
            "bytes": tally.nbytes,
            "seconds": round(tally.seconds, 6),
            "mode": "buffered",
            "mechanism": opened.zero_copy.mechanism,
            "lent": opened.zero_copy.lent,
            "device": opened.name,
            "datalink": opened.datalink_name,
            "snaplen": opened.snapshot,
            "first_ns": tally.first_ns,
            "last_ns": tally.last_ns,
            "files": opened_files(tally.sink),
        }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        click.echo(_text(summary, output.written(tally.sink)), err=output.target == "-" or show)
    if failure is not None:
        warn(str(failure))
        return code_of(failure)
    return Exit.DONE


def _same_file(source: str, target: str) -> bool:
    try:
        return os.path.samefile(0 if source == "-" else source, target)
    except OSError:  # one of them is not there
        return False


def _text(summary: dict[str, Any], written: str) -> str:
    first, last = summary["first_ns"], summary["last_ns"]
    span = f" over {(last - first) / 1e9:.6f} s" if first is not None else ""
    return (
        f"{packets(summary['captured'])}, {size(summary['bytes'])}{span} "
        f"({summary['datalink']}, snaplen {summary['snaplen']}){written}"
    )
