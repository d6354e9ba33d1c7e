"""``pypcapzc kit``: what the kit is made of, and what it has left in an engine.

``python -m pypcapzc.kit`` is the same where the command line's libraries are not installed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import paths
from ..errors import PcapError
from . import artefacts, wheels
from .trust import Trust


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _show(_arguments: argparse.Namespace) -> int:
    for image in artefacts.read().get("images", {}).values():
        print(f"{image['digest'] or 'EMPTY':<72} {image['name']}")
    for processor in artefacts.PROCESSORS:
        for wheel in artefacts.wheels(processor):
            print(f"sha256:{wheel.sha256} {wheel.file}")
    for target in artefacts.read().get("sysroots", {}):
        for archive in artefacts.sysroots(target):
            print(f"{f'sha256:{archive.sha256}' if archive.sha256 else 'EMPTY':<72} {archive.file}")
    return 0


def _refresh(arguments: argparse.Namespace) -> int:
    from .refresh import refresh

    path, changes = refresh(arguments.all, Trust(arguments.ca_cert), _say)
    for change in changes:
        print(f"{change.pin}: {change.value or 'NOT READ'} ({change.detail})")
    if any(change.value for change in changes):
        print(f"written to {path}: look at what has changed before you use it")
    return 0 if all(change.value for change in changes) else 1


def _tools(arguments: argparse.Namespace) -> int:
    trust = Trust(arguments.ca_cert)
    found = wheels.fetched(arguments.processor, paths.cache_dir() / "kit" / "wheels", trust, _say)
    with arguments.file.open("wb") as file:
        wheels.pack(found, file)
    return 0


def _sysroot(arguments: argparse.Namespace) -> int:
    from .sources import sha256_of
    from .sysroots import Sysroot

    base = Sysroot("", sha256_of(arguments.base), arguments.base)
    with base.archive() as archive, arguments.file.open("wb") as file:
        shutil.copyfileobj(archive, file)
    return 0


def _clean(_arguments: argparse.Namespace) -> int:
    from .engines import discovery, leftovers

    connection = discovery.connect()
    print(f"{leftovers.remove_all(connection.client)} removed from {connection}")
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    description = "What the kit is made of, and what it has left in an engine."
    parser = argparse.ArgumentParser(prog=prog, description=description)
    commands = parser.add_subparsers(required=True)
    pins = commands.add_parser("pins", help="what docker/pins.toml pins").add_subparsers(required=True)
    pins.add_parser("show", help="print it").set_defaults(run=_show)
    refresh = pins.add_parser("refresh", help="read what is empty, and write it there")
    refresh.add_argument("--all", action="store_true", help="read the rest again, too")
    refresh.add_argument("--ca-cert", type=Path, metavar="FILE", help="more certificate authorities")
    refresh.set_defaults(run=_refresh)
    tools = commands.add_parser("tools", help="write tools.tar, for making the image by hand")
    tools.add_argument("file", type=Path)
    tools.add_argument("--processor", choices=artefacts.PROCESSORS, default="amd64")
    tools.add_argument("--ca-cert", type=Path, metavar="FILE", help="more certificate authorities")
    tools.set_defaults(run=_tools)
    sysroot = commands.add_parser("sysroot", help="write sysroot.tar out of a base.txz")
    sysroot.add_argument("base", type=Path)
    sysroot.add_argument("file", type=Path)
    sysroot.set_defaults(run=_sysroot)
    clean = commands.add_parser("clean", help="remove our images, and what was left, from the engine")
    clean.set_defaults(run=_clean)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m pypcapzc.kit") -> int:
    """Run a command; returns the exit code."""
    parsed = _parser(prog).parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (PcapError, OSError) as error:
        _say(f"pypcapzc.kit: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
