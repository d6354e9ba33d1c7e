"""``pypcapzc bench``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from .. import paths

_PACKAGE = Path(__file__).parent.parent
_KINDS = {
    "drain": ("drain", "drain-mixed"),
    "live": ("live",),
    "savefile": ("savefile", "savefile-mixed", "savefile-pcapng"),
}
_COUNT, _ROUNDS, _RATES = 300_000, 3, "100000,300000,500000"


def _harness() -> Path:
    """The folder with benchmarks/ and lab/: inside of an installed package, or the top of a source tree.

    They are no part of this package, as the peers' own environments run them, too.
    """
    inside = _PACKAGE / "_data" / "bench"
    return inside if inside.is_dir() else _PACKAGE.parent


def _checked_rates(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    rates = value.split(",") if value is not None else []
    if not all(rate.isascii() and rate.isdigit() and 0 < int(rate) <= 10_000_000 for rate in rates):
        raise click.BadParameter("it is numbers from 1 to 10000000 with commas between them")
    return value


@click.command(short_help="Measure this machine, and the peers that are installed.")
@click.option("--kind", "kinds", type=click.Choice(list(_KINDS)), multiple=True, help="Default: all three.")
@click.option("--rounds", type=click.IntRange(1, 1000), help=f"Runs of each, interleaved ({_ROUNDS}).")
@click.option("--count", type=click.IntRange(100, 10_000_000), help=f"Packets of a run ({_COUNT}).")
@click.option("--rates", callback=_checked_rates, help=f"Packets a second sent to live captures ({_RATES}).")
@click.option("--only", "names", metavar="NAME", multiple=True, help="Only this library; may be given again.")
@click.option("--install", is_flag=True, help="Install all peers, each into an environment of its own.")
@click.option("--quick", is_flag=True, help="A few packets only, to see that everything counts right.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results.json, results.md and the plots go; default: the cache folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def bench(
    kinds: tuple[str, ...],
    rounds: int | None,
    count: int | None,
    rates: str | None,
    names: tuple[str, ...],
    install: bool,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Measure this machine: pypcapzc's modes and the peers that are installed.

    A filled ring that is drained, live captures at rising rates, savefiles that are read.  The traffic
    stays in a network namespace of its own; without root only savefiles are read.  Exits with 1 where a
    run did not count what was sent.
    """
    harness = str(_harness())
    if harness not in sys.path:
        sys.path.insert(0, harness)
    known = [each.name for each in importlib.import_module("benchmarks.peers").CONTESTANTS]
    if unknown := set(names) - set(known):
        raise click.UsageError(f"--only {min(unknown)}: it is one of {', '.join(known)}")
    arguments = [f"--only={name}" for name in names]
    arguments += [f"--scenario={name}" for kind in kinds for name in _KINDS[kind]]
    if not quick:
        count, rounds, rates = count or _COUNT, rounds or _ROUNDS, rates or _RATES
        out = out or paths.cache_dir() / "bench" / "results"
    given = {"--count": count, "--rounds": rounds, "--rates": rates, "--out": out}
    arguments += [f"{name}={value}" for name, value in given.items() if value is not None]
    flags = {"--no-install": not install, "--quick": quick, "--json": as_json}
    arguments += [name for name, wanted in flags.items() if wanted]
    code: int = importlib.import_module("benchmarks.run").main(arguments)
    return code
