"""``pypcapzc build``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from .outcome import one_line
from .terminal import size, standard_output

if TYPE_CHECKING:
    from ..kit.driver import Result
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
@click.option("--libpcap", "version", metavar="V", help="The libpcap version.  [default: 1.10.5]")
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
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the end.")
def build(
    targets: tuple[str, ...],
    version: str | None,
    engine: str,
    base_image: str | None,
    source: Path | None,
    sysroot: Path | None,
    ca_cert: Path | None,
    stock: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build libpcap with the zero-copy patches, check it, and install it where pypcapzc finds it.

    Takes the tools that `pip install 'pypcapzc[kit]'` brings, and no compiler of the system.
    """
    # Here, and not above: it is needed by this command only.
    from ..kit import driver
    from ..kit.failures import BuildError, PinError, UnknownTargetError
    from ..kit.targets import HOST, parse

    chosen = tuple(dict.fromkeys(targets)) or (HOST,)
    results = []
    try:
        for target in chosen:
            parse(target)
        for target in chosen:
            request = driver.Request(
                target,
                version or driver.DEFAULT_LIBPCAP,
                stock,
                engine,
                source,
                out,
                force,
                sysroot=sysroot,
                base_image=base_image,
                ca_cert=ca_cert,
            )
            with _progress(target) as report:
                results.append(driver.build(request, report))
    except (UnknownTargetError, PinError) as error:
        raise click.UsageError(str(error)) from error
    except BuildError as error:
        _show_tail(error.tail)
        raise
    if as_json:
        click.echo(json.dumps({"results": [result.as_dict() for result in results]}, indent=2))
    else:
        _show(results)


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


def _show(results: list[Result]) -> None:
    for result in results:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold")
        rows.add_column(overflow="fold")
        what = f"libpcap {result.libpcap}, {'unpatched' if result.stock else 'patched'}, for {result.target}"
        rows.add_row("built" if not result.cached else "cached", f"{what} ({result.seconds:.1f} s)")
        rows.add_row("path", str(result.path))
        rows.add_row("size", size(result.size))
        rows.add_row("sha256", result.sha256)
        rows.add_row("engine", f"{result.engine} ({result.sysroot})")
        for check in result.checks:
            verdict = {True: "ok", False: "wrong", None: "-"}[check["passed"]]
            rows.add_row(
                "" if check is not result.checks[0] else "checks",
                f"{verdict:<3} {check['name']}: {check['detail']}",
            )
        standard_output().print(rows)
