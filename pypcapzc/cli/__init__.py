"""The command line: one module per command."""

from __future__ import annotations

import sys


def main() -> None:
    """The ``pypcapzc`` command; exits with the codes that cli.outcome gives."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        print(f"pypcapzc: the command line needs {error.name}: pip install 'pypcapzc[cli]'", file=sys.stderr)
        sys.exit(1)
    from .app import run

    sys.exit(run())
