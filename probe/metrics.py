"""How good a reliability signal is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn import metrics

CUTOFFS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Confidence cutoffs of the coverage table (paper, Table 3)."""

ECE_BINS = 15


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
    """Mean unreliable fraction among the k most trusted, over k = 1..M (selective risk).

    Of equal ``p_unreliable`` each counts as their mean, so the order of the rows is nothing.
    """
    _, group, size = np.unique(p_unreliable, return_inverse=True, return_counts=True)
    expected = np.bincount(group, weights=unreliable) / size
    trusted_first = np.repeat(expected, size)
    return float((np.cumsum(trusted_first) / np.arange(1, len(unreliable) + 1)).mean())


def calibration_error(p_unreliable: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> float:
    """P(unreliable) against its frequency, 15 bins of equal width, weighted by their counts."""
    bins = reliability(p_unreliable, unreliable)
    total = sum(row["n"] for row in bins)
    return float(sum(row["n"] * abs(row["mean_p"] - row["frequency"]) for row in bins) / total)


def reliability(
    p_unreliable: NDArray[np.float64], unreliable: NDArray[np.bool_]
) -> list[dict[str, float]]:
    """The bins behind ``calibration_error`` that hold anything."""
    index = np.minimum((p_unreliable * ECE_BINS).astype(int), ECE_BINS - 1)
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
