"""What the figures of a comparison are made of: whom to show, and how each looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import binomtest

from probe import figures
from probe.classifier import metrics

Array = NDArray[np.float64]
Record = Mapping[str, Any]
Look = tuple[str, str, Any]
"""Colour, marker and dashes."""

OURS = "probe"
"""The peer that stands out."""
USUAL = "spread"
"""What is used today: always among the few."""
FEW: tuple[Look, ...] = (
    (figures.WARM, "o", "-"),
    (figures.COOL, "s", (0, (5, 1.5))),
    ("#009e73", "^", (0, (3, 1.2, 1, 1.2))),
    ("#8a5a9e", "D", (0, (1, 1.2))),
)
"""The looks of PROBE and of the few it is drawn with: colour, marker and dashes all differ."""
COVERAGES = np.linspace(0.05, 1, 96)


def few(records: Iterable[Record]) -> dict[str, Look]:
    """PROBE, the best others that are no variant of it, and the usual signal, with their looks.

    At most four, by their order at the boundary, without those that gave one answer for all.
    """
    ranked = [r for r in records if r["tolerance"] == "boundary" and r["n_flat"] < r["n_seeds"]]
    names = list(dict.fromkeys(r["peer"] for r in ranked))
    usual = [USUAL] if USUAL in names else []
    others = [name for name in names if not name.startswith((OURS, USUAL))]
    beside = [*others[: len(FEW) - 1 - len(usual)], *usual]
    ours = {OURS: FEW[0]} if OURS in names else {}
    return {**ours, **dict(zip(beside, FEW[1:], strict=False))}


def few_by_tolerance(
    by_tolerance: Mapping[str, Sequence[Record]],
) -> dict[str, list[tuple[Record, Look]]]:
    """For each tolerance the records of the few at the boundary, with their looks."""
    looks = few(by_tolerance.get("boundary", []))
    found = {t: chosen(records, looks) for t, records in by_tolerance.items()}
    return {t: records for t, records in found.items() if records}


def chosen(
    records: Sequence[Record], looks: Mapping[str, Look] | None = None
) -> list[tuple[Record, Look]]:
    """The records of the few (of these ``looks``, where they are given), with their looks."""
    looks = few(records) if looks is None else looks
    by_name = {r["peer"]: r for r in records}
    return [(by_name[name], look) for name, look in looks.items() if name in by_name]


def overlaid(
    by_tolerance: Mapping[str, Sequence[Record]],
    panel: Callable[[Axes, str, Record, dict[str, Any]], None],
    across: str,
    up: str,
    width: float = 3.9,
) -> Figure | None:
    """A panel for each tolerance in which ``panel`` draws each of the few."""
    found = few_by_tolerance(by_tolerance)
    if not found:
        return None
    drawn = figures.figure(0.5 + width * len(found), 3.5, layout="constrained")
    panels = drawn.subplots(1, len(found), squeeze=False)[0]
    for axes, (tolerance, records) in zip(panels, found.items(), strict=True):
        for record, (colour, marker, dashes) in records:
            panel(axes, tolerance, record, {"color": colour, "marker": marker, "ls": dashes})
        axes.set(xlabel=across, ylim=(0, None))
        axes.set_title(tolerance)
    panels[0].set_ylabel(up)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return drawn


def risk_curve(rows: pl.DataFrame) -> Array:
    """Mean over seeds of the unreliable fraction among the first of each of ``COVERAGES``."""
    curves = []
    for part in rows.partition_by("seed", maintain_order=True):
        unreliable = (part["error_kcal"].abs() > part["tolerance_kcal"]).to_numpy()
        rate = metrics.risk_by_rank(part["score"].to_numpy(), unreliable)
        curves.append(np.interp(COVERAGES, np.arange(1, len(rate) + 1) / len(rate), rate))
    return np.asarray(np.mean(curves, axis=0))


def reliability(axes: Axes, record: Record, colour: str) -> None:
    """Draw the calibration diagram of a peer."""
    bins(axes, record["reliability"], colour)
    ece = record["figures"]["ece"]["value"]
    axes.set_aspect("equal")
    axes.set_title(f"{record['peer']}\nECE {ece:.3f}, by chance {record['ece_chance']:.3f}")
    axes.title.set_fontsize(8.5)


def bins(axes: Axes, found: Sequence[Record], colour: str) -> None:
    """Draw the frequency in bins of p_unreliable with its 95 % interval; area is how many."""
    counts = numbers(row["n"] for row in found)
    axes.plot([0, 1], [0, 1], color=figures.MUTED, lw=1, ls=":")
    for row in found:
        hits = binomtest(round(row["frequency"] * row["n"]), row["n"]).proportion_ci()
        ends = [hits.low, hits.high]
        axes.plot([row["mean_p"]] * 2, ends, color=colour, lw=1, alpha=0.5, zorder=2)
    axes.scatter(
        [row["mean_p"] for row in found],
        [row["frequency"] for row in found],
        s=8 + 110 * counts / counts.max(initial=1),
        color=colour,
        alpha=0.85,
        linewidth=0,
        clip_on=False,
        zorder=3,
    )
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set(xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))


def interval(axes: Axes, found: Record, row: float, colour: str, marker: str) -> None:
    """Draw a value and its interval on a line of their own, where there is a value."""
    if found["value"] is not None:
        axes.plot([found["low"], found["high"]], [row, row], color=colour, lw=1.3, alpha=0.75)
        axes.plot(found["value"], row, color=colour, marker=marker, ms=4.8)


def curve(axes: Axes, x: Array, found: Sequence[Record], look: Look, name: str) -> None:
    """Draw values over ``x`` with their intervals."""
    colour, marker, dashes = look
    value, low, high = (numbers(one[end] for one in found) for end in ("value", "low", "high"))
    axes.plot(x, value, color=colour, marker=marker, ms=4.5, ls=dashes, lw=1.4, label=name)
    axes.vlines(x, low, high, color=colour, lw=1, alpha=0.6)


def box(axes: Axes, quantiles: Sequence[float], row: float, colour: str) -> None:
    """Draw the five ``metrics.QUANTILES`` of a distribution on a line of its own."""
    low, first, median, third, high = quantiles
    axes.plot([low, high], [row, row], color=colour, lw=1.2)
    axes.plot([first, third], [row, row], color=colour, lw=7, alpha=0.7, solid_capstyle="butt")
    axes.plot(median, row, color=figures.INK, marker="|", ms=8, mew=1.6)


def handles(looks: Mapping[str, Look]) -> list[Line2D]:
    """What a legend shows of the few."""
    return [
        Line2D([], [], color=colour, marker=marker, ms=5, ls=dashes, lw=1.4, label=name)
        for name, (colour, marker, dashes) in looks.items()
    ]


def numbers(values: Iterable[float | None]) -> Array:
    """``values``, with not a number for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
