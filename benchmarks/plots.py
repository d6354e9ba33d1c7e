"""Pictures of the results, as PNG and SVG, by matplotlib.

Colours are Okabe and Ito's, which people with impaired colour vision can tell apart; what matters is told
by shape or position too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.peers import BYTES, COLUMN, DISSECTED, IN_C, OWN, VIEWS

_COLOURS = {
    COLUMN: "#009E73",
    VIEWS: "#56B4E9",
    BYTES: "#0072B2",
    IN_C: "#767676",
    DISSECTED: "#CC79A7",
}
_LABELS = {
    COLUMN: "whole blocks (numpy adds up a column)",
    VIEWS: "time and view of each packet",
    BYTES: "time and bytes of each packet",
    IN_C: "C program (tcpdump)",
    DISSECTED: "dissected packets",
}
_LINES = ("#D55E00", "#0072B2", "#E69F00", "#000000", "#CC79A7", "#56B4E9", "#009E73", "#767676")
_MARKS = "os^Dv<>PX*"
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "pypcapzc",
    "svg.fonttype": "path",
}
_NAMES = {"pypcapzc": "pypcapzc, patched libpcap", "pypcapzc-stock": "pypcapzc, stock libpcap"}


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes the pictures of each kind that was measured; their paths."""
    made: list[Path] = []
    with matplotlib.rc_context(_STYLE):
        for kind in ("drain", "savefile"):
            scenarios = [s for s in result["scenarios"] if s["kind"] == kind and s["rows"]]
            if scenarios:
                made += _save(_dots(scenarios), folder / kind)
        for scenario in result["scenarios"]:
            if scenario["kind"] == "live" and len({row["asked"] for row in scenario["rows"]}) > 1:
                made += _save(_curves(scenario, result), folder / "live")
    return made


def draw_sniff(result: dict[str, Any], folder: Path) -> list[Path]:
    """The plot of benchmarks.scapy_loss: loss over the rate, a panel for each kind of prn; its paths."""
    with matplotlib.rc_context(_STYLE):
        works = list(dict.fromkeys(row["work"] for row in result["rows"]))
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        panels = figure.subplots(1, len(works), sharey=True, squeeze=False)[0]
        for axes, work in zip(panels, works, strict=True):
            rows = sorted((r for r in result["rows"] if r["work"] == work), key=lambda r: float(r["asked"]))
            for number, who in enumerate(dict.fromkeys(row["who"] for row in rows)):
                line = [(row["rate"], 100 * row["lost"]) for row in rows if row["who"] == who]
                axes.plot(
                    *zip(*line, strict=True),
                    color=_LINES[number],
                    marker=_MARKS[number],
                    linestyle="-" if number else "--",
                    lw=2.2 if number else 1.3,
                    markersize=5,
                    label=who,
                )
            _loss_axis(axes)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.axvline(result["generator"], color="#999999", lw=1, ls=":")
            axes.grid(color="#dddddd", lw=0.6)
            axes.set_axisbelow(True)
            axes.set_title(f"packets lost, {work}", loc="left")
        figure.supxlabel(
            f"packets of 64 bytes sent a second, for {result['seconds']:g} s"
            " (dotted: what the generator reaches when nobody listens)",
            fontsize=10,
        )
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
        )
        return _save(figure, folder / "scapy")


def _save(figure: Figure, stem: Path) -> list[Path]:
    made = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    figure.savefig(made[0], dpi=130, facecolor="white")
    figure.savefig(made[1], facecolor="white", metadata={"Date": None})
    return made


def _label(name: str, way: str) -> str:
    return f"{_NAMES.get(name, name)}: {way}"


def _time(nanoseconds: float) -> str:
    """For people, with three digits at most: 31 ns, 4.8 µs, 209 µs."""
    value, unit = nanoseconds, "ns"
    for larger in ("µs", "ms", "s"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 and value != round(value) else f"{value:.0f} {unit}"


def _dots(scenarios: list[dict[str, Any]]) -> Figure:
    """Processor time a packet, a row for each library and way, a panel for each scenario."""
    first = sorted(scenarios[0]["rows"], key=lambda row: float(row["cpu_ns"]))
    order = [(row["name"], row["way"]) for row in first]
    figure = Figure(figsize=(4.2 + 3.1 * len(scenarios), 1.6 + 0.27 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(scenarios), sharey=True, sharex=True, squeeze=False)[0]
    for axes, scenario in zip(panels, scenarios, strict=True):
        _panel(axes, scenario, order)
    panels[0].set_yticks(range(len(order)), [_label(*who) for who in order])
    for text, (name, _) in zip(panels[0].get_yticklabels(), order, strict=True):
        text.set_fontweight("bold" if name in OWN else "normal")
    panels[0].invert_yaxis()
    figure.supxlabel("processor time a packet, logarithmic: less is better", fontsize=10)
    seen = {row["work"] for scenario in scenarios for row in scenario["rows"]}
    handles = [
        Line2D([], [], color=_COLOURS[work], marker="o", linestyle="", label=_LABELS[work])
        for work in _LABELS
        if work in seen
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, scenario: dict[str, Any], order: list[tuple[str, str]]) -> None:
    for row in scenario["rows"]:
        if (who := (row["name"], row["way"])) not in order:
            continue
        place, colour = order.index(who), _COLOURS[row["work"]]
        axes.plot([row["cpu_ns_min"], row["cpu_ns_max"]], [place, place], color=colour, alpha=0.5, lw=3)
        axes.plot(row["cpu_ns"], place, "o", color=colour, markersize=7)
        axes.annotate(
            _time(row["cpu_ns"]),
            (row["cpu_ns_max"], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.margins(x=0.16)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_title(scenario["title"], loc="left")


def _curves(scenario: dict[str, Any], result: dict[str, Any]) -> Figure:
    """Loss and processor time over the rate, a line for each library's best way."""
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    loss, work = figure.subplots(1, 2, sharex=True)
    lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(scenario["rows"], key=lambda row: int(row["asked"])):
        lines.setdefault((row["name"], row["way"]), []).append(row)
    ring = result["settings"]["live_buffer_size"] / 2**20
    shown = [who for who in lines if who[1] != "views"]
    for number, who in enumerate(shown):
        rows = lines[who]
        rates = [row["rate"] / 1000 for row in rows]
        own = who[0] in OWN
        look: dict[str, Any] = {
            "color": _LINES[number % len(_LINES)],
            "marker": _MARKS[number % len(_MARKS)],
            "linestyle": "-" if own else "--",
            "lw": 2.2 if own else 1.3,
            "markersize": 5,
            "label": _label(*who),
        }
        loss.plot(rates, [100 * row["lost"] for row in rows], **look)
        work.plot(rates, [row["cpu_share"] for row in rows], **look)
    _loss_axis(loss)
    loss.set_title(f"packets lost, ring of {ring:g} MiB", loc="left")
    work.set_yscale("log")
    work.set_title("processors kept busy by the consumer", loc="left")
    work.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (loss, work):
        axes.grid(color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlim(left=0)
        if (most := result["generator"]) is not None:
            axes.axvline(most / 1000, color="#999999", lw=1, ls=":")
        axes.set_xlabel("packets of 64 bytes sent, thousands a second")
    figure.legend(
        *loss.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def _loss_axis(axes: Axes) -> None:
    """Linear near 0, where most lines are, and logarithmic from a hundredth of a percent."""
    axes.set_yscale("symlog", linthresh=0.01, linscale=0.6)
    axes.set_ylim(-0.003, 130)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 10, 100]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
