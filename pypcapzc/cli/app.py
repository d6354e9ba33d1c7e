"""The command group."""

from __future__ import annotations

import click

from .. import __version__
from .bench import bench
from .build import build
from .capture import capture
from .devices import devices
from .doctor import doctor
from .outcome import Exit, guarded
from .read import read
from .run import run as run_program


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(__version__, "-V", "--version", prog_name="pypcapzc")
@click.pass_context
def app(context: click.Context) -> None:
    """Capture packets, and say plainly whether they are copied.

    Exit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 not permitted, 4 no such device or file,
    130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(Exit.USAGE)


for command in (doctor, devices, capture, read, run_program, build, bench):
    app.add_command(command)


def run() -> int:
    """Run the command line; returns the exit code."""
    return guarded(lambda: app.main(prog_name="pypcapzc", standalone_mode=False))
