"""``pypcapzc run``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from .. import compat
from .options import buffer_size

_SITE = Path(compat.__file__).parent / "site"


@click.command(
    short_help="Run a program written for another library, unchanged.",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.option("-m", "as_module", is_flag=True, help="SCRIPT is the name of a module, as of python -m.")
@click.option(
    "--buffer-size",
    type=buffer_size,
    metavar="N",
    help="The kernel's buffer of each device, bytes, or with K, M, G; whatever the program asks for.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "zerocopy", "buffered"]),
    default="auto",
    help="auto: lent blocks where they can be had; zerocopy: nothing else; buffered: copied.",
)
@click.option("--summary", is_flag=True, help="Say at the end what was captured and lost.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    as_module: bool, buffer_size: int | None, mode: str, summary: bool, script: str, args: tuple[str, ...]
) -> None:
    """Run a program written for pcap, pcapy, pylibpcap or scapy, unchanged, on this library.

    It is Python that runs it, with its arguments, exit code, signals and tracebacks; the Pythons that the
    program starts have the stand-ins too.  Options of this command go before SCRIPT.
    """
    if not sys.executable:
        raise click.ClickException("this Python does not know where its interpreter is")
    options = {"buffer_size": buffer_size, "mode": mode, "summary": summary}
    before = os.environ.get("PYTHONPATH")
    paths = before.split(os.pathsep) if before else []
    environment = {
        **os.environ,
        "PYPCAPZC_RUN": json.dumps(options),
        "PYTHONPATH": os.pathsep.join([str(_SITE), *(each for each in paths if each != str(_SITE))]),
    }
    command = [sys.executable, *(["-m"] if as_module else []), script, *args]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.execve(sys.executable, command, environment)
