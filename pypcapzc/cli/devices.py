"""``pypcapzc devices``."""

from __future__ import annotations

import json

import click
from rich.table import Table

from .. import devices as list_devices
from ..devices import Device
from .terminal import standard_output


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def devices(as_json: bool) -> None:
    """List the devices that can be captured on."""
    found = list_devices()
    if as_json:
        click.echo(json.dumps([_as_dict(device) for device in found], indent=2))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("device", "state", "addresses", "description"):
        table.add_column(title, overflow="fold")
    for device in found:
        addresses = "\n".join(address.address or "" for address in device.addresses)
        table.add_row(device.name, _state(device), addresses, device.description or "")
    standard_output().print(table, markup=False, highlight=False)


def _as_dict(device: Device) -> dict[str, object]:
    return {**device._asdict(), "addresses": [address._asdict() for address in device.addresses]}


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
