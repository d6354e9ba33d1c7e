"""``pypcapzc kit``: the kit's own commands."""

from __future__ import annotations

import click


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kit(arguments: tuple[str, ...]) -> int:
    """Pins, tools and leftovers of the build kit."""
    from ..kit.__main__ import main

    return main(arguments, "pypcapzc kit")
