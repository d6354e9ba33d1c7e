"""``pypcapzc devices``."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click
from rich.text import Text

from .. import devices as list_devices
from ..devices import Device
from .outcome import one_line
from .terminal import standard_output, wrapped


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def devices(as_json: bool) -> None:
    """List the devices that can be captured on.

    Where standard output is no terminal, each device is one line.
    """
    found = list_devices()
    if as_json:
        click.echo(json.dumps([_as_dict(device) for device in found], indent=2))
    else:
        _show(found)


def _as_dict(device: Device) -> dict[str, object]:
    return {**device._asdict(), "addresses": [address._asdict() for address in device.addresses]}


def _show(found: Iterable[Device]) -> None:
    console = standard_output()
    rows = [(one_line(device.name), _state(device), _details(device)) for device in found]
    names = max([len("device"), *(len(name) for name, _, _ in rows)])
    states = max([len("state"), *(len(state) for _, state, _ in rows)])
    console.print(Text(f"{'device':{names}}  {'state':{states}}  addresses, description", "bold"))
    for name, state, details in rows:
        head = f"{name:{names}}  {state:{states}}  "
        lines = details if console.is_terminal else ["  ".join(details)]
        for number, line in enumerate(lines or [""]):
            first = head if number == 0 else None
            console.print(Text(wrapped(line, " " * len(head), first).rstrip()))


def _details(device: Device) -> list[str]:
    """Addresses and description, each for a line of its own."""
    addresses = [address.address for address in device.addresses if address.address]
    return [*addresses, *([one_line(device.description)] if device.description else [])]


def _state(device: Device) -> str:
    words = ["up" if device.up else "down"]
    if device.up and not device.running:
        words.append("not running")
    if device.connected is False:
        words.append("no link")
    if device.loopback:
        words.append("loopback")
    if device.wireless:
        words.append("wireless")
    return ", ".join(words)
