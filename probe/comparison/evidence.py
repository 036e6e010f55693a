"""Figures of a reliability signal with intervals: a bootstrap that draws whole molecules.

A resample is a count for each conformer, so that every figure is computed for all resamples at
once from weights [B, M]; with weights of one it is the figure itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.classifier.metrics import ECE_BINS

Array = NDArray[np.float64]

LEVEL = 0.95
"""Of the intervals: between the percentiles that leave out as much on either side."""


@dataclass(frozen=True)
class Tested:
    """What a peer said of the M conformers of a test part, and what was true."""

    score: Array
    p_unreliable: Array
    error_kcal: Array
    smiles: NDArray[np.str_]
    boundary_kcal: float


class Bootstrap:
    """The same ``n`` resamples of ``molecules`` for every peer and seed, so figures are paired."""

    def __init__(self, molecules: Sequence[str], n: int, seed: int) -> None:
        self._molecules = np.unique(np.asarray(molecules))
        count = len(self._molecules)
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=n)
        self._counts = np.vstack([np.ones(count), drawn])

    def figures(self, tested: Tested) -> dict[str, Array]:
        """Every figure [1 + n]: that of ``tested`` itself, then that of each resample.

        Not a number where a resample lacks what the figure needs (a class, for example).
        """
        rows = np.searchsorted(self._molecules, tested.smiles)
        return figures(tested, self._counts[:, rows])


def summary(seeds: Sequence[Array]) -> dict[str, float | None]:
    """Value and interval of a figure: the mean over ``seeds``, each [1 + n] of a bootstrap."""
    values = np.stack(seeds)
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(0))
    drawn = mean[1:][np.isfinite(mean[1:])]
    if not np.isfinite(mean[0]) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(mean[0]), "low": float(low), "high": float(high)}


def difference(
    one: Mapping[int, Array], other: Mapping[int, Array]
) -> dict[str, float | None] | None:
    """``summary`` of ``one`` less ``other`` over the seeds of both; None without any."""
    shared = sorted(set(one) & set(other))
    return summary([one[seed] - other[seed] for seed in shared]) if shared else None


def figures(tested: Tested, weights: Array) -> dict[str, Array]:
    """Every figure [B] of ``tested`` under ``weights`` [B, M] (counts).

    What only the order decides is of the score, so that calibration can neither make nor mend it;
    decisions and calibration are of ``p_unreliable``. ``aurc`` and ``augrc`` are those of triage:
    accept by low score, the risk being the unreliable among the accepted. With ``_decision`` they
    are those of the classifier: keep by confidence max(p, 1 - p), the risk being wrong decisions.
    ``ece`` compares p with the frequency, ``ece_confidence`` the confidence with the accuracy. Of
    equal answers each counts as their mean, so the order of the rows is nothing.
    """
    p, score, error = tested.p_unreliable, tested.score, np.abs(tested.error_kcal)
    unreliable = error > tested.boundary_kcal
    wrong = (p > 0.5) != unreliable
    confidence = np.maximum(p, 1 - p)
    total = weights.sum(axis=1)
    share = _ratio(weights @ unreliable.astype(float), total)
    trusted = Ranked.of(score, unreliable, weights)
    sure = Ranked.of(-confidence, wrong, weights)
    return {
        "accuracy": 1 - _ratio(weights @ wrong.astype(float), total),
        "majority_accuracy": np.maximum(share, 1 - share),
        **_decisions(p > 0.5, unreliable, weights),
        "auroc": trusted.auroc(),
        "average_precision": Ranked.of(-score, unreliable, weights).average_precision(),
        "average_precision_reliable": Ranked.of(score, ~unreliable, weights).average_precision(),
        "aurc": trusted.aurc(),
        "augrc": trusted.augrc(),
        "aurc_decision": sure.aurc(),
        "augrc_decision": sure.augrc(),
        "ece": _calibration(p, unreliable, weights),
        "ece_confidence": _calibration(confidence, ~wrong, weights),
        "brier": _ratio(weights @ (p - unreliable) ** 2, total),
        "spearman": _correlation(_ranks(score, weights), _ranks(error, weights), weights),
    }


@dataclass(frozen=True)
class Ranked:
    """Conformers in the order of a score, equal scores together: ``size`` and ``hits`` [B, G]."""

    size: Array
    hits: Array

    @classmethod
    def of(cls, score: Array, hit: NDArray[np.bool_], weights: Array) -> "Ranked":
        """From the lowest ``score`` [M] to the highest."""
        order = np.argsort(score, kind="stable")
        starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
        sorted_weights = weights[:, order]
        return cls(
            np.add.reduceat(sorted_weights, starts, axis=1),
            np.add.reduceat(sorted_weights * hit[order], starts, axis=1),
        )

    def auroc(self) -> Array:
        """The chance that a hit is ranked after what is not one."""
        misses = self.size - self.hits
        before = np.cumsum(misses, axis=1) - misses
        pairs = self.hits.sum(axis=1) * misses.sum(axis=1)
        right = (self.hits * (before + misses / 2)).sum(axis=1)
        return _ratio(right, pairs)

    def average_precision(self) -> Array:
        """Mean precision at each hit, from the first rank on."""
        found, seen = np.cumsum(self.hits, axis=1), np.cumsum(self.size, axis=1)
        precision = found / np.where(seen > 0, seen, 1)
        total = self.hits.sum(axis=1)
        both = (total > 0) & (total < self.size.sum(axis=1))
        return _ratio((self.hits * precision).sum(axis=1), np.where(both, total, 0.0))

    def aurc(self) -> Array:
        """Mean over k of the hit rate among the first k."""
        hits_before, before, rate = self._before()
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, self.size.sum(1).max() + 1))])
        last = np.rint(before + self.size).astype(int)
        inverses = harmonic[last] - harmonic[np.rint(before).astype(int)]
        risk = rate * self.size + (hits_before - rate * before) * inverses
        return _ratio(risk.sum(axis=1), self.size.sum(axis=1))

    def augrc(self) -> Array:
        """Mean over k of the hits among the first k, as a share of all: hits times coverage."""
        hits_before, _, rate = self._before()
        found = self.size * hits_before + rate * self.size * (self.size + 1) / 2
        return _ratio(found.sum(axis=1), self.size.sum(axis=1) ** 2)

    def _before(self) -> tuple[Array, Array, Array]:
        """Hits and conformers ranked before each group, and the hit rate in it; [B, G]."""
        rate = self.hits / np.where(self.size > 0, self.size, 1)
        return (
            np.cumsum(self.hits, axis=1) - self.hits,
            np.cumsum(self.size, axis=1) - self.size,
            rate,
        )


def _decisions(
    called: NDArray[np.bool_], unreliable: NDArray[np.bool_], weights: Array
) -> dict[str, Array]:
    """Matthews' coefficient (not a number with one class) and F1 of the unreliable."""
    tp, fp, fn, tn = (
        weights @ (a & b).astype(float)
        for a, b in (
            (called, unreliable),
            (called, ~unreliable),
            (~called, unreliable),
            (~called, ~unreliable),
        )
    )
    classes = (tp + fn) * (tn + fp)
    product = np.sqrt(classes * (tp + fp) * (tn + fn))
    mcc = np.divide(tp * tn - fp * fn, product, out=np.zeros_like(tp), where=product > 0)
    named = 2 * tp + fp + fn
    return {
        "mcc": np.where(classes > 0, mcc, np.nan),
        "f1_unreliable": np.divide(2 * tp, named, out=np.zeros_like(tp), where=named > 0),
    }


def _calibration(probability: Array, outcome: NDArray[np.bool_], weights: Array) -> Array:
    bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
    excess = np.zeros((len(bins), ECE_BINS))
    excess[np.arange(len(bins)), bins] = probability - outcome
    return _ratio(np.abs(weights @ excess).sum(axis=1), weights.sum(axis=1))


def _ranks(values: Array, weights: Array) -> Array:
    """Mid-ranks [B, M] of ``values`` [M], each counted as often as its weight says."""
    _, group = np.unique(values, return_inverse=True)
    ranked = Ranked.of(values, np.zeros(len(values), dtype=np.bool_), weights)
    middle: Array = np.cumsum(ranked.size, axis=1) - (ranked.size - 1) / 2
    return middle[:, group]


def _correlation(one: Array, other: Array, weights: Array) -> Array:
    """Pearson's; none where one of them does not vary."""
    total = weights.sum(axis=1)
    one = one - _ratio((weights * one).sum(axis=1), total)[:, None]
    other = other - _ratio((weights * other).sum(axis=1), total)[:, None]
    spread = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
    both = (weights * one * other).sum(axis=1)
    result: Array = np.divide(both, spread, out=np.zeros(len(both)), where=spread > 1e-9)
    return result


def _ratio(part: Array, whole: Array) -> Array:
    """``part / whole`` [B], not a number where there is nothing to divide by."""
    result: Array = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return result
