"""``pypcapzc build``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from .outcome import Exit, one_line
from .terminal import size, standard_output

if TYPE_CHECKING:
    from ..kit.engines import Report

_ENGINES = ("auto", "container", "local")


@click.command(short_help="Build a patched libpcap for this host or another system.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="T",
    help="host (default), linux-amd64, linux-arm64, linux-musl-amd64, linux-musl-arm64, "
    "freebsd-amd64[:release] or freebsd-arm64[:release]; may be repeated.",
)
@click.option("--libpcap", metavar="V", help="The libpcap version.  [default: 1.10.5]")
@click.option(
    "--engine", type=click.Choice(_ENGINES), default="auto", show_default=True, help="Where it is built."
)
@click.option(
    "--base-image", metavar="IMAGE", help="What the container's image is made on, in place of the pinned one."
)
@click.option("--source", metavar="FILE", type=click.Path(path_type=Path), help="libpcap's tarball.")
@click.option(
    "--sysroot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="FreeBSD's base.txz, in place of zig's headers.",
)
@click.option(
    "--ca-cert",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="More certificate authorities, for what is fetched.",
)
@click.option("--stock", is_flag=True, help="Leave the patches out, for comparison.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put results into DIR/TARGET; the host's is installed too.",
)
@click.option("--force", is_flag=True, help="Build even what was built before.")
@click.option("--all", "everything", is_flag=True, help="Build every target, and end with a table.")
@click.option(
    "--package",
    is_flag=True,
    help="Make packages: FreeBSD's .pkg; for Linux a tarball and a wheel; SHA256SUMS.",
)
@click.option(
    "--in-place",
    is_flag=True,
    help="With --package, on FreeBSD: programs that ask for the base system's libpcap.so.8 get this one.",
)
@click.option("--sign", metavar="KEY", help="With --package: sign SHA256SUMS with this key of gpg's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def build(
    targets: tuple[str, ...],
    everything: bool,
    package: bool,
    in_place: bool,
    sign: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Build libpcap with the zero-copy patches, check it, and install it where pypcapzc finds it.

    Takes the tools that `pip install 'pypcapzc[kit]'` brings, and no compiler of the system.
    """
    # Here, and not above: it is needed by this command only.
    from ..kit.failures import PinError, UnknownTargetError

    if everything and targets:
        raise click.UsageError("--all builds every target: leave --target out")
    if (in_place or sign) and not package:
        raise click.UsageError(f"{'--in-place' if in_place else '--sign'} goes with --package")
    if package and settings["stock"]:
        raise click.UsageError("a library without patches is for comparison and is not packed")
    try:
        rows = _everything(settings) if everything else _these(targets, settings)
        packages = _packed(rows, settings["out"], in_place, sign) if package else None
    except (UnknownTargetError, PinError) as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        made = {} if packages is None else {"packages": [str(path) for path in packages]}
        click.echo(json.dumps({"results": rows, **made}, indent=2))
    else:
        if not everything:
            _show(rows)
        for path in packages or ():
            click.echo(str(path))
    if everything and any("error" in row for row in rows):
        raise click.exceptions.Exit(Exit.NO)


def _these(targets: tuple[str, ...], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Build the targets that were named, one after the other."""
    from ..kit import driver
    from ..kit.failures import BuildError
    from ..kit.targets import HOST, parse

    chosen = tuple(dict.fromkeys(targets)) or (HOST,)
    for target in chosen:
        parse(target)
    rows = []
    for target in chosen:
        known = {name: value for name, value in settings.items() if value is not None}
        request = driver.Request(target, **known)
        with _progress(target) as report:
            try:
                rows.append(driver.build(request, report).as_dict())
            except BuildError as error:
                _show_tail(error.tail)
                raise
    return rows


def _everything(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Build all targets; shows the table, on standard error as the rest of what tells of the progress."""
    from ..kit.targets import HOST, NAMES
    from . import everything

    arguments: list[str] = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments += [option, str(value)]
    outcomes = everything.build_all([name for name in NAMES if name != HOST], arguments)
    everything.show(outcomes)
    return [outcome.as_dict() for outcome in outcomes]


def _packed(rows: list[dict[str, Any]], out: Path | None, in_place: bool, key: str | None) -> list[Path]:
    """Packages of what was built, and their checksums."""
    from .. import paths
    from ..kit import packages
    from ..kit.packages import sums

    folder = packages.folder_of(out, paths.data_dir())
    made: dict[Path, None] = {}
    for row in rows:
        if "error" not in row:
            result = Path(row["manifest"]).parent
            made.update(dict.fromkeys(packages.make(result, folder, packages.Options(in_place))))
    return [*made, *(sums.write(folder, key) if made else [])]


@contextmanager
def _progress(target: str) -> Iterator[Report]:
    """What is being done, on standard error: one line that changes in a terminal, else a line a step."""
    if sys.stderr is None:
        yield lambda _: None
    elif sys.stderr.isatty():
        with Console(stderr=True).status(f"{target}: starting") as status:
            yield lambda line: status.update(f"{target}: {line}")
    else:
        yield lambda line: None if line.startswith("compiling") else click.echo(f"{target}: {line}", err=True)


def _show_tail(lines: list[str]) -> None:
    for line in lines:
        click.echo(f"  | {one_line(line)}", err=True)


def _show(results: list[dict[str, Any]]) -> None:
    for result in results:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold")
        rows.add_column(overflow="fold")
        patched = "unpatched" if result["stock"] else "patched"
        what = f"libpcap {result['libpcap']}, {patched}, for {result['target']}"
        rows.add_row("cached" if result["cached"] else "built", f"{what} ({result['seconds']:.1f} s)")
        rows.add_row("path", result["path"])
        rows.add_row("size", size(result["size"]))
        rows.add_row("sha256", result["sha256"])
        rows.add_row("engine", f"{result['engine']} ({result['sysroot']})")
        for number, check in enumerate(result["checks"]):
            verdict = {True: "ok", False: "wrong", None: "-"}[check["passed"]]
            rows.add_row("" if number else "checks", f"{verdict:<3} {check['name']}: {check['detail']}")
        standard_output().print(rows)
