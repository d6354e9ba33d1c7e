"""The command line: one module per command."""

from __future__ import annotations

import sys


def main() -> None:
    """The ``pypcapzc`` command; exits with the codes that cli.outcome gives."""
    try:
        try:
            import click  # noqa: F401
            import rich  # noqa: F401
        except ImportError as error:
            needed = f"the command line needs {error.name}: pip install 'pypcapzc[cli]'"
            print(f"pypcapzc: {needed}", file=sys.stderr)
            sys.exit(1)
        from .app import run

        code = run()
    except KeyboardInterrupt:  # while all this was being imported
        code = 130
    sys.exit(code)
