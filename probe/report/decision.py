"""How much of the library can be accepted at which risk, and what that saves of DFT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import betaincinv

from probe import figures, schemas, tables
from probe.classifier import risk
from probe.classifier.card import HELD_OUT
from probe.report import population
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening
from probe.triage import verdicts
from probe.triage.policy import Policy

STEPS = 100
"""Of the grid of cutoffs, from confidence 0 to 1."""
SHOWN = (0, 50, 60, 70, 80, 85, 90, 95, 98, 100)
"""Steps of the table for print."""
STRATA, IN_STRATUM = 5, 8
"""At most so many groups of held-out molecules, of at least so many each."""
LEVEL = 0.95
MARGIN = 1e-7
"""Of a step, for the rounding of 1 - p: far below what p is known to."""
NO_SCORES = "No conformer of this library was scored: there is nothing to accept at any cutoff."
NO_HELD_OUT = "The checkpoint has no predictions of held-out molecules, so no risk was measured."

Column = list[Any]
Panel = Callable[[Axes, dict[str, Column]], None]


@dataclass(frozen=True)
class Judged:
    """Held-out molecules, one conformer each, by rising p_unreliable."""

    p: Floats  # [molecules]
    unreliable: NDArray[np.bool_]  # [molecules]


@dataclass(frozen=True)
class Counted:
    """The conformers that p_unreliable decides about, by the two steps that bound each."""

    accepted_to: Rows  # [groups], the last step that accepts these
    rejected_to: Rows  # [groups], the last step at which they are called unreliable as surely
    n: Rows  # [groups]
    n_outside: Rows  # [groups], of these outside of the calibration domain
    p: Floats  # [groups], their sum
    core_hours: Floats  # [groups], their sum
    n_ruled: int  # conformers that another rule sends to recompute at any cutoff
    ruled_core_hours: float
    n_unknown: int  # conformers without an estimate of core-hours


def section(material: Material) -> dict[str, Any]:
    """The decision table of the page, its figure, and the same at every step as data."""
    screening = material.screening
    found = counted(screening)
    if not len(found.n):
        figures.save_empty(screening.inputs.figures, "decision", NO_SCORES)
        return {"empty": NO_SCORES}
    held_out = judged(screening)
    columns = table(found, held_out)
    figures.save(
        sheet(columns, screening, draw_risk, draw_hours), screening.inputs.figures, "decision"
    )
    return {
        "risk": figures.inline(
            sheet(columns, screening, draw_risk),
            "decision-risk",
            "Accepted share and the unreliable share to expect among it, over the cutoff.",
        ),
        "hours": figures.inline(
            sheet(columns, screening, draw_hours),
            "decision-hours",
            "Core-hours of DFT that a cutoff saves and spends.",
        ),
        "rows": [_row(columns, step) for step in shown(screening)],
        "own": None if screening.accept_cutoff is None else _own_step(screening.accept_cutoff),
        "held_out": held_out,
        "no_held_out": NO_HELD_OUT,
        "n_ruled": found.n_ruled,
        "n_unknown": found.n_unknown,
        "scripts": ("decision.js",),
        "data": columns,
    }


def counted(screening: Screening) -> Counted:
    """The library's conformers by steps of the cutoff, aggregated while its lists are read."""
    p = pl.col("p_unreliable")
    by_probe = pl.col("reason").str.starts_with("p_unreliable ").fill_null(value=False)
    rows = (
        pl.scan_parquet(population.lists(screening))
        .select(
            by_probe=by_probe & population.scored(),
            accepted_to=((1 - p) * STEPS + MARGIN).floor().cast(pl.Int64),
            rejected_to=(p * STEPS + MARGIN).floor().cast(pl.Int64),
            p=p,
            hours=pl.col("dft_core_hours"),
            outside=pl.col("flags") != "",
        )
        .group_by("by_probe", "accepted_to", "rejected_to")
        .agg(
            n=pl.len(),
            n_outside=pl.col("outside").sum(),
            p=pl.col("p").sum(),
            hours=pl.col("hours").sum(),
            n_unknown=pl.col("hours").null_count(),
        )
        .sort("accepted_to", "rejected_to")
        .collect(engine="streaming")
    )
    asked, ruled = rows.filter("by_probe"), rows.filter(~pl.col("by_probe"))
    return Counted(
        accepted_to=asked["accepted_to"].to_numpy(),
        rejected_to=asked["rejected_to"].to_numpy(),
        n=asked["n"].to_numpy().astype(np.int64),
        n_outside=asked["n_outside"].to_numpy().astype(np.int64),
        p=asked["p"].to_numpy(),
        core_hours=asked["hours"].to_numpy(),
        n_ruled=int(ruled["n"].sum()),
        ruled_core_hours=float(ruled["hours"].sum()),
        n_unknown=int(rows["n_unknown"].sum()),
    )


def judged(screening: Screening) -> Judged | None:
    """The checkpoint's held-out molecules as the library's are judged; None if it has none."""
    path = screening.inputs.checkpoint / HELD_OUT
    if not path.exists():
        return None
    settings = screening.summary["cutoffs"]
    policy = Policy(**settings | {"policy": "cutoff", "budget_core_hours": None})
    held_out = risk.one_a_molecule(tables.frame(path, schemas.HELD_OUT))
    rows = verdicts.asked(held_out, screening.card, policy).sort("p_unreliable", "conformer_id")
    tolerance = float(screening.summary["tolerance_kcal"])
    return Judged(
        rows["p_unreliable"].to_numpy(), (rows["error_kcal"].abs() > tolerance).to_numpy()
    )


def table(found: Counted, held_out: Judged | None) -> dict[str, Column]:
    """For each step of the cutoff what becomes of the library, a list for each column.

    ``accept`` has at least that confidence in being reliable, ``recompute`` as much in being
    unreliable or another rule's word, ``between`` neither; DFT is spent on all but the accepted.
    """
    rows = [_step(found, held_out, step) for step in range(STEPS + 1)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _step(found: Counted, held_out: Judged | None, step: int) -> dict[str, Any]:
    accepted = found.accepted_to >= step
    refused = ~accepted & (found.rejected_to >= step)
    accept, refuse = int(found.n[accepted].sum()), int(found.n[refused].sum())
    saved = float(found.core_hours[accepted].sum())
    risked = None
    if held_out is not None and accept:
        risked = expected(found.accepted_to[accepted], found.n[accepted], held_out, step)
    value, low, high = (None, None, None) if risked is None else risked
    return {
        "cutoff": step / STEPS,
        "accept": accept,
        "recompute": refuse + found.n_ruled,
        "between": int(found.n.sum()) - accept - refuse,
        "expected_unreliable": value,
        "low": low,
        "high": high,
        "mean_p": float(found.p[accepted].sum()) / accept if accept else None,
        "outside": int(found.n_outside[accepted].sum()),
        "core_hours_saved": saved,
        "core_hours_spent": float(found.core_hours.sum()) - saved + found.ruled_core_hours,
    }


def expected(
    accepted_to: Rows, n: Rows, held_out: Judged, step: int
) -> tuple[float, float, float] | None:
    """Unreliable share to expect among accepted conformers, with its interval.

    ``n`` of them have each last step of ``accepted_to``. Measured on the held-out molecules that
    the same cutoff accepts: these are split into groups of like p_unreliable, and each group
    counts as much as the library has in it, because a library may lie nearer to the cutoff than
    they do. None where the cutoff accepts fewer held-out molecules than make a group.
    """
    steps = np.floor((1 - held_out.p) * STEPS + MARGIN).astype(np.int64)
    kept = steps >= step
    n_kept = int(kept.sum())
    if n_kept < IN_STRATUM:
        return None
    falling = -steps[kept]
    firsts = [part[0] for part in np.array_split(falling, min(STRATA, n_kept // IN_STRATUM))]
    starts = np.unique(firsts)[1:]  # equal p stay together
    theirs = np.searchsorted(starts, falling, side="right")
    mine = np.bincount(np.searchsorted(starts, -accepted_to, side="right"), n, len(starts) + 1)
    weights = (mine / mine.sum() / np.bincount(theirs))[theirs]
    return share_with_interval(held_out.unreliable[kept], weights)


def share_with_interval(
    hits: NDArray[np.bool_], weights: Floats, level: float = LEVEL
) -> tuple[float, float, float]:
    """Weighted share of ``hits`` and its interval; ``weights`` [n] sum to one.

    The interval is Clopper and Pearson's for as many equal rows as the weights are worth, the
    inverse of the sum of their squares (Korn and Graubard 1998).
    """
    share = min(float(weights @ hits), 1.0)
    n = 1 / float(weights @ weights)
    k, tail = n * share, (1 - level) / 2
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return share, low, high


def shown(screening: Screening) -> list[int]:
    """Steps of the table for print, this run's own among them."""
    own = screening.accept_cutoff
    return sorted({*SHOWN} | (set() if own is None else {_own_step(own)}))


def sheet(columns: dict[str, Column], screening: Screening, *panels: Panel) -> Figure:
    """``panels`` side by side, this run's cutoff marked in each."""
    drawn = figures.figure(4.6 * len(panels), 3.4, layout="constrained")
    for axes, draw in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, columns)
        if screening.accept_cutoff is not None:
            axes.axvline(screening.accept_cutoff, color=figures.MUTED, lw=1, ls=":")
    return drawn


def draw_risk(axes: Axes, columns: dict[str, Column]) -> None:
    """Draw the accepted share, and what is expected to be unreliable of it, over the cutoff."""
    total = _total(columns)
    cutoff = np.array(columns["cutoff"])
    risked, low, high = (_numbers(columns[name]) for name in ("expected_unreliable", "low", "high"))
    axes.plot(cutoff, np.array(columns["accept"]) / total, color=figures.COOL, label="accepted")
    mean = _numbers(columns["mean_p"])
    axes.plot(cutoff, mean, color=figures.MUTED, ls="-.", lw=1.2, label="mean p of these")
    if not np.isnan(risked).all():
        axes.fill_between(cutoff, low, high, color=figures.WARM, alpha=0.22, lw=0)
        label = "expected unreliable, 95 %"
        axes.plot(cutoff, risked, color=figures.WARM, ls="--", label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="accepted from confidence (1 − p_unreliable)")
    axes.set(ylabel="share", yticks=np.linspace(0, 1, 6))
    _legend(axes)


def draw_hours(axes: Axes, columns: dict[str, Column]) -> None:
    """Draw the core-hours of DFT that a cutoff saves and spends."""
    for name, colour, dashes in (("saved", figures.COOL, "-"), ("spent", figures.WARM, "--")):
        axes.plot(
            columns["cutoff"], columns[f"core_hours_{name}"], color=colour, ls=dashes, label=name
        )
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="accepted from confidence (1 − p_unreliable)")
    axes.set_ylabel("core-hours of DFT, estimated")
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=2.4)


def _own_step(cutoff: float) -> int:
    """The first step of the grid that accepts no more than the run did."""
    return int(np.ceil(cutoff * STEPS - MARGIN))


def _row(columns: dict[str, Column], step: int) -> dict[str, Any]:
    return {name: column[step] for name, column in columns.items()} | {"step": step}


def _total(columns: dict[str, Column]) -> int:
    return int(columns["accept"][0] + columns["recompute"][0] + columns["between"][0])


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
