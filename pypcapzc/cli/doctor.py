"""``pypcapzc doctor``."""

from __future__ import annotations

import json

import click
from rich.table import Table
from rich.text import Text

from .. import zerocopy
from .outcome import Exit
from .terminal import standard_output


@click.command()
@click.option("-i", "--device", metavar="DEV", help="Ask for this device.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def doctor(device: str | None, as_json: bool) -> int:
    """Why zero-copy is or is not available here, and what changes it.

    Exits with 0 where captures lend blocks to Python uncopied, with 1 where they copy.
    """
    status = zerocopy.status(device)
    if as_json:
        click.echo(json.dumps(status.as_dict(), indent=2))
    else:
        _show(status)
    return Exit.DONE if status.available else Exit.NO


def _headline(status: zerocopy.Status) -> Text:
    if status.available:
        return Text("Zero-copy is available: the kernel's blocks reach Python uncopied.", "bold green")
    if not status.permissions.allowed:
        return Text("Zero-copy is not available: this user may not capture at all.", "bold red")
    if status.zero_copy:
        return Text(
            "Zero-copy ends inside libpcap: packets are captured, but copied to Python.", "bold yellow"
        )
    return Text("Zero-copy is not available: packets are captured, but copied.", "bold yellow")


def _show(status: zerocopy.Status) -> None:
    library = status.library
    console = standard_output()
    console.print(_headline(status))
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold")
    rows.add_column(overflow="fold")
    rows.add_row("libpcap", library.path or "none")
    rows.add_row("", library.version or "")
    rows.add_row("patched", f"yes, ABI {library.abi}" if library.patched else "no")
    rows.add_row("platform", status.platform)
    rows.add_row("mechanism", status.mechanism)
    rows.add_row("lent", "yes" if status.lent else "no")
    rows.add_row("permission", status.permissions.reason)
    for name, value in status.limits.items():
        rows.add_row(name, f"{value} bytes")
    console.print(rows)
    for title, lines in (("Why", status.reasons), ("What changes it", status.fixes)):
        if lines:
            console.print(Text(f"\n{title}", "bold"))
            for line in lines:
                console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
