"""``pypcapzc doctor``."""

from __future__ import annotations

import json

import click
from rich.text import Text

from .. import companion, zerocopy
from .outcome import Exit, one_line
from .terminal import standard_output, wrapped


@click.command()
@click.option("-i", "--device", metavar="DEV", help="Open this device for a moment, and say what it gives.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def doctor(device: str | None, as_json: bool) -> int:
    """Why zero-copy is or is not available here, and what changes it.

    Exits with 0 where captures lend blocks to Python uncopied, with 1 where they copy.
    """
    status = zerocopy.status(device)
    if as_json:
        click.echo(json.dumps({**status.as_dict(), "companion": _companion()}, indent=2))
    else:
        _show(status)
    return Exit.DONE if status.available else Exit.NO


def _companion() -> dict[str, str | None]:
    """Where the companion library is, or why there is none."""
    found = companion.current()
    return {"path": str(found.path) if found else None, "reason": None if found else companion.reason()}


def _headline(status: zerocopy.Status) -> Text:
    if status.available:
        return Text("Zero-copy is available: the kernel's blocks reach Python uncopied.", "bold green")
    if status.library.path is None:
        return Text("Zero-copy is not available: without a libpcap nothing can be captured.", "bold red")
    if not status.permissions.allowed:
        return Text("Zero-copy is not available: this user may not capture at all.", "bold red")
    if status.zero_copy:
        return Text(
            "Zero-copy ends inside libpcap: packets are captured, but copied to Python.", "bold yellow"
        )
    return Text("Zero-copy is not available: packets are captured, but copied.", "bold yellow")


def _facts(status: zerocopy.Status) -> dict[str, str]:
    library = status.library
    return {
        "libpcap": library.path or "none",
        "version": library.version or "-",
        "patched": f"yes, ABI {library.abi}" if library.patched else "no",
        "platform": status.platform,
        "mechanism": status.mechanism,
        "lent": "yes" if status.lent else "no",
        "companion": companion.reason(),
        "permission": status.permissions.reason,
        **{name: f"{value} bytes" for name, value in status.limits.items()},
    }


def _show(status: zerocopy.Status) -> None:
    console = standard_output()
    console.print(_headline(status))
    console.print()
    facts = _facts(status)
    width = max(len(name) for name in facts) + 2
    for name, value in facts.items():
        label = f"{name:{width}}"
        text = Text(wrapped(one_line(value), " " * width, label))
        text.stylize("bold", 0, width)
        console.print(text)
    if status.reasons:
        console.print(Text("\nWhy", "bold"))
        for line in status.reasons:
            console.print(Text(wrapped(one_line(line), "    ", "  - ")))
    if status.fixes:
        console.print(Text("\nWhat changes it", "bold"))
        for line in status.fixes:  # to be copied: not broken into lines
            console.print(Text(f"  {one_line(line)}"))
    if status.tuning:
        console.print(Text("\nWhat allows larger buffers", "bold"))
        for line in status.tuning:
            console.print(Text(f"  {one_line(line)}"))
