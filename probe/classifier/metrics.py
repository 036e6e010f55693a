"""How good a reliability signal is."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn import metrics

CUTOFFS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Confidence cutoffs of the coverage table (paper, Table 3)."""

ECE_BINS = 15

MAGNITUDES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Edges of the bins of |error| / boundary."""

EXTREME = 0.027
"""Share of the conformers at either end of Fig. 2a of the paper."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of an error distribution."""


def evaluate(
    p_unreliable: NDArray[np.float64], error_kcal: NDArray[np.float64], boundary_kcal: float
) -> dict[str, Any]:
    """Every figure of metrics.json for M conformers.

    A conformer is unreliable when its absolute error exceeds the boundary, and called so when
    ``p_unreliable`` > 0.5. A figure that needs both classes is None where one is missing.

    Raises:
        ValueError: there is no conformer, or a value that is not finite.
    """
    if not len(error_kcal) or not np.isfinite([p_unreliable, error_kcal]).all():
        raise ValueError("metrics need at least one conformer, and finite values for all")
    error = np.abs(error_kcal)
    unreliable = error > boundary_kcal
    called = p_unreliable > 0.5
    both = 0 < unreliable.sum() < len(unreliable)
    ranked = min(len(np.unique(p_unreliable)), len(np.unique(error))) > 1
    return {
        "n": len(error),
        "boundary_kcal": float(boundary_kcal),
        "accuracy": float((called == unreliable).mean()),
        "majority_accuracy": float(max(unreliable.mean(), 1 - unreliable.mean())),
        "mcc": float(metrics.matthews_corrcoef(unreliable, called)) if both else None,
        "f1_unreliable": float(metrics.f1_score(unreliable, called, zero_division=0.0)),
        "auroc": float(metrics.roc_auc_score(unreliable, p_unreliable)) if both else None,
        "average_precision": (
            float(metrics.average_precision_score(unreliable, p_unreliable)) if both else None
        ),
        "aurc": risk_coverage_area(p_unreliable, unreliable),
        "ece": calibration_error(p_unreliable, unreliable),
        "brier": float(np.mean((p_unreliable - unreliable) ** 2)),
        "spearman": float(spearmanr(p_unreliable, error).statistic) if ranked else None,
        "coverage": coverage(p_unreliable, unreliable),
        "reliability": reliability(p_unreliable, unreliable),
    }


def risk_coverage_area(p_unreliable: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> float:
    """Mean unreliable fraction among the k most trusted, over k = 1..M (selective risk)."""
    return float(risk_by_rank(p_unreliable, unreliable).mean())


def risk_by_rank(score: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Unreliable fraction [M] among the k of lowest ``score``, for k = 1..M.

    Of equal scores each counts as their mean, so the order of the rows is nothing.
    """
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    expected = np.bincount(group, weights=unreliable) / size
    trusted_first = np.repeat(expected, size)
    risk: NDArray[np.float64] = np.cumsum(trusted_first) / np.arange(1, len(unreliable) + 1)
    return risk


def calibration_error(p_unreliable: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> float:
    """P(unreliable) against its frequency, 15 bins of equal width, weighted by their counts."""
    excess = np.bincount(_bins(p_unreliable), weights=p_unreliable - unreliable)
    return float(np.abs(excess).sum() / len(unreliable))


def reliability(
    p_unreliable: NDArray[np.float64], unreliable: NDArray[np.bool_]
) -> list[dict[str, float]]:
    """The bins behind ``calibration_error`` that hold anything."""
    index = _bins(p_unreliable)
    return [
        {
            "low": b / ECE_BINS,
            "high": (b + 1) / ECE_BINS,
            "n": int((index == b).sum()),
            "mean_p": float(p_unreliable[index == b].mean()),
            "frequency": float(unreliable[index == b].mean()),
        }
        for b in np.unique(index).tolist()
    ]


def coverage(
    p_unreliable: NDArray[np.float64],
    unreliable: NDArray[np.bool_],
    cutoffs: Sequence[float] = CUTOFFS,
) -> list[dict[str, float | None]]:
    """For each cutoff, the share of conformers classified at least that surely, and how well.

    ``coverage`` and ``accuracy`` count both classes (paper, Table 3); ``accepted`` is the share
    called reliable at the cutoff and ``accepted_unreliable`` the unreliable fraction among them,
    the risk that a user of the accept list takes. None where nothing is left.
    """
    confidence = np.maximum(p_unreliable, 1 - p_unreliable)
    right = (p_unreliable > 0.5) == unreliable
    rows: list[dict[str, float | None]] = []
    for cutoff in cutoffs:
        kept = confidence >= cutoff
        accepted = kept & (p_unreliable <= 0.5)
        rows.append(
            {
                "cutoff": cutoff,
                "n": int(kept.sum()),
                "coverage": float(kept.mean()),
                "accuracy": float(right[kept].mean()) if kept.any() else None,
                "accepted": float(accepted.mean()),
                "accepted_unreliable": (
                    float(unreliable[accepted].mean()) if accepted.any() else None
                ),
            }
        )
    return rows


def sides(
    p_unreliable: NDArray[np.float64],
    error_kcal: NDArray[np.float64],
    cutoffs: Sequence[float] = CUTOFFS,
) -> list[dict[str, float | None]]:
    """Mean |error| of what is called reliable, and unreliable, at least as surely as each cutoff.

    kcal/mol, beside the count of conformers on that side; None where there is none.
    """
    error = np.abs(error_kcal)
    rows: list[dict[str, float | None]] = []
    for cutoff in cutoffs:
        row: dict[str, float | None] = {"cutoff": cutoff}
        for side, called in (
            ("reliable", (p_unreliable <= 0.5) & (1 - p_unreliable >= cutoff)),
            ("unreliable", (p_unreliable > 0.5) & (p_unreliable >= cutoff)),
        ):
            row[f"n_{side}"] = int(called.sum())
            row[f"error_{side}_kcal"] = float(error[called].mean()) if called.any() else None
        rows.append(row)
    return rows


def by_magnitude(
    p_unreliable: NDArray[np.float64], error_kcal: NDArray[np.float64], boundary_kcal: float
) -> list[dict[str, float | None]]:
    """Accuracy in bins of |error| / boundary: errors close to the boundary are hard to call.

    A bin holds what is above its low and not above its high end, as the boundary itself does.
    """
    ratio = np.abs(error_kcal) / boundary_kcal
    right = (p_unreliable > 0.5) == (ratio > 1)
    edges = [-np.inf, *MAGNITUDES, np.inf]
    rows: list[dict[str, float | None]] = []
    for low, high in pairwise(edges):
        held = (ratio > low) & (ratio <= high)
        rows.append(
            {
                "low": max(low, 0.0),
                "high": high if np.isfinite(high) else None,
                "n": int(held.sum()),
                "accuracy": float(right[held].mean()) if held.any() else None,
            }
        )
    return rows


def extremes(
    p_unreliable: NDArray[np.float64], error_kcal: NDArray[np.float64], share: float = EXTREME
) -> dict[str, list[float]]:
    """Quantiles of |error|, kcal/mol, at both ends of two orders (paper, Fig. 2a).

    Confidence is max(p, 1 - p), whatever the verdict; trust is 1 - p. An end has ``share`` of all
    conformers, at least one; the quantiles are ``QUANTILES``.
    """
    error = np.abs(error_kcal)
    count = max(1, round(share * len(error)))
    ends = {}
    for name, value in (
        ("confident", np.maximum(p_unreliable, 1 - p_unreliable)),
        ("trusted", 1 - p_unreliable),
    ):
        order = np.argsort(value, kind="stable")
        ends[f"least_{name}"] = np.quantile(error[order[:count]], QUANTILES).tolist()
        ends[f"most_{name}"] = np.quantile(error[order[-count:]], QUANTILES).tolist()
    return ends


def chance_calibration_error(
    p_unreliable: NDArray[np.float64], seed: int = 0, draws: int = 200
) -> dict[str, float]:
    """What ``ece`` would be were every probability right: its mean over outcomes drawn from them.

    A finite sample never shows zero. ``confidence`` is the same for the other convention, in
    which the confidence max(p, 1 - p) is compared with the accuracy.
    """
    outcomes = np.random.default_rng(seed).random((draws, len(p_unreliable))) < p_unreliable
    called = p_unreliable > 0.5
    confidence = np.maximum(p_unreliable, 1 - p_unreliable)
    return {
        "frequency": float(np.mean([calibration_error(p_unreliable, one) for one in outcomes])),
        "confidence": float(
            np.mean([calibration_error(confidence, one == called) for one in outcomes])
        ),
    }


def _bins(probability: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)
