"""Figures of a labelled set: errors, what corrects them, and conformers of one molecule.

Errors are reference less backbone in kcal/mol, after the shift per element; they are held out
where the shift is fitted to the other folds. No molecule is in two folds.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold

from probe import schemas
from probe.classifier.calibration import Labelled, Rows
from probe.comparison.parts import MIN_ELEMENT_MOLECULES
from probe.comparison.peers.contract import Array, Part
from probe.comparison.peers.features import Scale, every_atom, sums
from probe.comparison.peers.linear import RIDGES, ridge_readout
from probe.comparison.peers.process import LENGTHS, OUTLIER, Posterior, kernel

SEEDS, FOLDS = (1, 2, 3), 5


@dataclass(frozen=True)
class Fold:
    """Rows that the shift is fitted to and their errors ``known``; rows held out and theirs.

    Rows with an element that has no shift are in neither.
    """

    fit: Rows
    known: Array
    held: Rows
    error: Array


def cut(smiles: NDArray[np.str_], seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Rows to fit to and rows held out, ``FOLDS`` times."""
    splitter = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    yield from splitter.split(smiles, groups=smiles)


def folds(data: Labelled, seed: int) -> Iterator[Fold]:
    """The folds of ``data`` for ``seed``."""
    for fit, held in cut(data.smiles, seed):
        shift = data.shift(fit, MIN_ELEMENT_MOLECULES)
        fitted, tested = (rows[data.covered(rows, shift)] for rows in (fit, held))
        known, error = (data.error_kcal(rows, shift) for rows in (fitted, tested))
        yield Fold(fitted, known, tested, error)


def fitted_errors(data: Labelled) -> Array:
    """Errors [1, M] with the shift fitted to all labels; not a number without a shift."""
    rows = np.arange(len(data))
    shift = data.shift(rows, MIN_ELEMENT_MOLECULES)
    rows = rows[data.covered(rows, shift)]
    result = np.full((1, len(data)), np.nan)
    result[0, rows] = data.error_kcal(rows, shift)
    return result


def held_out_errors(data: Labelled) -> Array:
    """Held-out errors [seeds, M]; not a number without a shift."""
    result = np.full((len(SEEDS), len(data)), np.nan)
    for row, seed in enumerate(SEEDS):
        for fold in folds(data, seed):
            result[row, fold.held] = fold.error
    return result


@dataclass(frozen=True)
class Magnitudes:
    """Of |error| in kcal/mol, the mean over seeds; None where too few make a percentile."""

    n: int
    median: float
    mean: float
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, errors: Array) -> "Magnitudes":
        """Of ``errors`` [seeds, n], of which those that are not a number do not count.

        A percentile needs three errors beyond it.
        """
        sizes = [np.abs(row[np.isfinite(row)]) for row in errors]
        n = int(np.isfinite(errors).any(axis=0).sum())

        def quantile(share: float) -> float:
            return float(np.mean([np.quantile(row, share) for row in sizes]))

        return cls(
            n=n,
            median=quantile(0.5),
            mean=float(np.mean([row.mean() for row in sizes])),
            p90=quantile(0.9) if n >= 30 else None,
            p99=quantile(0.99) if n >= 300 else None,
        )


@dataclass(frozen=True)
class Correction:
    """One seed: R² on cut errors, and mean |error| before and after the correction."""

    r2: float
    before: float
    after: float


def corrections(data: Labelled) -> dict[str, list[Correction]]:
    """Of held-out errors by each readout of the embeddings, for each seed."""
    part = Part(data.samples, data.smiles, np.zeros(len(data)))
    features = sums(part)
    kernels = kernel(data.samples, data.samples, Scale.of(every_atom(part)), LENGTHS)
    found: dict[str, list[Correction]] = defaultdict(list)
    for seed in SEEDS:
        answers: dict[str, list[Array]] = defaultdict(list)
        for fold in folds(data, seed):
            most = OUTLIER * float(np.median(np.abs(fold.known)))
            known = replace(fold, known=np.clip(fold.known, -most, most))
            answers["error"].append(fold.error)
            answers["cut"].append(np.clip(fold.error, -most, most))
            answers["ridge"].append(ridge(known, features, data.smiles, seed))
            answers["process"].append(process(known, kernels))
        all_of = {name: np.concatenate(parts) for name, parts in answers.items()}
        for name in ("ridge", "process"):
            found[name].append(correction(all_of["error"], all_of["cut"], all_of[name]))
    return found


def correction(error: Array, cut_error: Array, predicted: Array) -> Correction:
    """How good ``predicted`` errors are, all [n]."""
    before, after = (float(np.abs(left).mean()) for left in (error, error - predicted))
    return Correction(float(r2_score(cut_error, predicted)), before, after)


def ridge(fold: Fold, features: Array, smiles: NDArray[np.str_], seed: int) -> Array:
    """Errors of the held-out rows from ``features`` [M, D], its strength by folds of the rest."""
    known, molecules = features[fold.fit], smiles[fold.fit]
    squares = dict.fromkeys(RIDGES, 0.0)
    for fit, held in cut(molecules, seed):
        for strength in RIDGES:
            predicted = _readout(known[fit], fold.known[fit], known[held], strength)
            squares[strength] += float(((fold.known[held] - predicted) ** 2).sum())
    best = min(RIDGES, key=lambda strength: squares[strength])
    return _readout(known, fold.known, features[fold.held], best)


def _readout(known: Array, error: Array, new: Array, strength: float) -> Array:
    scale = Scale.of(known)
    mean = float(error.mean())
    weights = ridge_readout(scale(known), error - mean, strength, np.ones(len(known)))
    predicted: Array = mean + scale(new) @ weights
    return predicted


def process(fold: Fold, kernels: Array) -> Array:
    """The mean of a Gaussian process for the held-out rows; ``kernels`` is [lengths, M, M]."""
    fitted = [Posterior.fit(matrix[np.ix_(fold.fit, fold.fit)], fold.known) for matrix in kernels]
    best = int(np.argmax([posterior.log_likelihood for posterior in fitted]))
    across = kernels[best][np.ix_(fold.held, fold.fit)]
    mean: Array = fitted[best].offset + across @ fitted[best].weights
    return mean


def pairs(smiles: Sequence[str], reference_ev: Array) -> NDArray[np.int64]:
    """Rows [P, 2] of two conformers of one molecule, the lower by the reference first."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row in np.argsort(reference_ev, kind="stable").tolist():
        rows[smiles[row]].append(row)
    found = [pair for molecule in sorted(rows) for pair in combinations(rows[molecule], 2)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def between(pair: NDArray[np.int64], energy_ev: Array) -> Array:
    """Energy of the second of each ``pair`` [P, 2] less that of the first, kcal/mol."""
    difference: Array = (energy_ev[pair[:, 1]] - energy_ev[pair[:, 0]]) * schemas.KCAL_PER_EV
    return difference
