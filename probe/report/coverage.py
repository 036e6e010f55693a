"""How much of the library is accepted at every confidence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probe.report import figures
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening

GRID = np.linspace(0, 1, 101)
NO_SCORES = "No curve: no conformer of this library was scored."


@dataclass(frozen=True)
class Curve:
    """Conformers accepted at each cutoff of ``GRID``, and the mean p_unreliable among them."""

    n_conformers: int
    n_accepted: Rows
    expected: Floats  # NaN where nothing is accepted

    @property
    def fraction(self) -> Floats:
        """Accepted share of all conformers of the library."""
        return self.n_accepted / max(self.n_conformers, 1)


def section(material: Material) -> dict[str, Any]:
    """The coverage curve of the page, also written as a figure."""
    screening = material.screening
    if np.isnan(screening.p).all():
        figures.save_empty(screening.inputs.figures, "coverage", NO_SCORES)
        return {"svg": None, "empty": NO_SCORES}
    p = by_confidence(screening)
    found = curve(p, screening.listed.num_rows)
    drawn = figures.figure(4.6, 3.4, layout="constrained")
    draw_curve(drawn.subplots(), found, screening)
    figures.save(drawn, screening.inputs.figures, "coverage")
    accepted = screening.p[screening.accepted]
    alt = f"Accepted fraction over the confidence cutoff; {len(accepted):,} are accepted."
    return {
        "svg": figures.inline(drawn, "coverage-curve", alt),
        "n_overruled": screening.listed.num_rows - len(p),
        "expected": float(accepted.mean()) if len(accepted) else None,
    }


def by_confidence(screening: Screening) -> Floats:
    """Sorted p_unreliable of the conformers that the confidence cutoffs decide about.

    Left out are those that the backbone refused and those that another rule (element, size,
    distance) sends to recompute at any confidence.
    """
    return np.asarray(np.sort(screening.p[screening.by_confidence]), dtype=np.float64)


def curve(p: Floats, n_conformers: int) -> Curve:
    """Accepted conformers against the confidence cutoff, for sorted ``p`` [n]."""
    # 1 - p >= c, with a margin far below the grid's step for the rounding of 1 - c
    n_accepted = np.searchsorted(p, 1 - GRID + 1e-9, side="right")
    totals = np.concatenate([[0.0], np.cumsum(p)])[n_accepted]
    expected = np.full(len(GRID), np.nan)
    np.divide(totals, n_accepted, out=expected, where=n_accepted > 0)
    return Curve(n_conformers, n_accepted.astype(np.int64), expected)


def draw_curve(axes: Axes, drawn: Curve, screening: Screening) -> None:
    """Draw accepted fraction and expected unreliable fraction over the cutoff."""
    axes.plot(GRID, drawn.fraction, color=figures.COOL, label="accepted")
    axes.plot(
        GRID, drawn.expected, color=figures.WARM, ls="--", label="expected unreliable among them"
    )
    axes.set_title(_mark_cutoffs(axes, screening), color=figures.MUTED, fontsize=8.5)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence cutoff (1 − p_unreliable)")
    axes.set(ylabel="fraction", yticks=np.linspace(0, 1, 6))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.07), ncols=2, handlelength=1.8)


def _mark_cutoffs(axes: Axes, screening: Screening) -> str:
    """Draw a line at each cutoff and say what they are."""
    accept, recompute = screening.accept_cutoff, screening.recompute_cutoff
    if accept is None:
        return "nothing is accepted at any cutoff"
    axes.axvline(accept, color=figures.MUTED, lw=1, ls=":")
    text = f"dotted: accept from {accept:.3g}"
    if recompute is None or 1 - recompute >= accept:
        return text
    axes.axvline(1 - recompute, color=figures.MUTED, lw=1, ls=":")
    return f"{text}, recompute up to {1 - recompute:.3g}"
