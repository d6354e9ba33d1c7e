"""The command group."""

from __future__ import annotations

from importlib import import_module

import click

from .. import __version__
from .outcome import Exit, guarded

_COMMANDS = ("bench", "build", "capture", "devices", "doctor", "kit", "read", "run")
"""Each is a function of its name in a module of its name."""


class _Commands(click.Group):
    """Imports a command when it is needed: together they take longer to import than most take to run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __package__), cmd_name)
        return command


@click.group(
    cls=_Commands,
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


def run() -> int:
    """Run the command line; returns the exit code."""
    return guarded(lambda: app.main(prog_name="pypcapzc", standalone_mode=False))
