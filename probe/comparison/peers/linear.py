"""Peers around a linear readout of the summed atom features, as a potential's last layer is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.comparison.peers import tuning
from probe.comparison.peers.contract import Array, Part, Scorer
from probe.comparison.peers.features import Scale, pooled, sums

RIDGES = tuple(10.0**power for power in range(-6, 3))
"""Regularisation in units of the mean eigenvalue of the features' Gram matrix; tuned."""
HEADS = 32
LEVEL = 0.9
"""Coverage of the conformal interval."""
LEAST = 1e-9


@dataclass(frozen=True)
class Rigidity:
    """Last-layer prediction rigidity: variance f' (F'F + s² I)⁻¹ f of a linear readout.

    F [M, D] are the summed features of the fit part, f those of a conformer; s is tuned.
    """

    name: str = "last-layer-rigidity"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        known = sums(fit)
        size = np.sqrt((known**2).mean(axis=0)) + LEAST
        gram = (known / size).T @ (known / size)

        def spread(part: Part, ridge: float) -> Array:
            strength = ridge * float(np.trace(gram)) / len(gram) + LEAST
            variance = rigidity_variance(gram, strength, sums(part) / size)
            return np.log(variance + LEAST) / 2

        best = max(RIDGES, key=lambda r: tuning.ranking(spread(tune, r), tune, tolerances))
        return tuning.same_for_all(lambda part: spread(part, best), tolerances)


@dataclass(frozen=True)
class ShallowEnsemble:
    """Linear readouts of the signed error, each fitted to molecules drawn with replacement.

    They share all but the last layer; the score is the spread of what they say.
    """

    name: str = "shallow-ensemble"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""
        scale = Scale.of(sums(fit))
        known = scale(sums(fit))
        draws = _molecule_weights(fit.smiles, np.random.default_rng(seed))
        heads = {
            ridge: np.column_stack([ridge_readout(known, fit.error_kcal, ridge, w) for w in draws])
            for ridge in RIDGES
        }

        def spread(part: Part, ridge: float) -> Array:
            answers = scale(sums(part)) @ heads[ridge]
            deviation: Array = np.log(answers.std(axis=1) + LEAST)
            return deviation

        best = max(RIDGES, key=lambda r: tuning.ranking(spread(tune, r), tune, tolerances))
        return tuning.same_for_all(lambda part: spread(part, best), tolerances)


@dataclass(frozen=True)
class Conformal:
    """Split conformal: the half width of an interval around the backbone's energy.

    A ridge regression on pooled embeddings says how large an error is to be expected, and the
    width is that times what covers ``LEVEL`` of errors not fitted to. Half of the tune part
    chooses the ridge, the other half sets the width.
    """

    name: str = "split-conformal"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""
        scale = Scale.of(pooled(fit))
        floor = 0.05 * float(np.median(np.abs(fit.error_kcal))) + LEAST
        known = scale(pooled(fit))
        magnitude: Array = np.log(np.abs(fit.error_kcal) + floor)
        level = float(magnitude.mean())
        chosen, held = _halves(tune, seed)

        def expected(part: Part, readout: Array) -> Array:
            size: Array = np.exp(level + scale(pooled(part)) @ readout)
            return size

        def loss(readout: Array) -> float:
            truth = np.log(np.abs(chosen.error_kcal) + floor)
            return float(((np.log(expected(chosen, readout)) - truth) ** 2).mean())

        ones = np.ones(len(known))
        readouts = (ridge_readout(known, magnitude - level, ridge, ones) for ridge in RIDGES)
        best = min(readouts, key=loss)
        factor = conformal_quantile(np.abs(held.error_kcal) / expected(held, best), LEVEL)
        return tuning.same_for_all(lambda part: np.log(factor * expected(part, best)), tolerances)


def rigidity_variance(gram: Array, ridge: float, features: Array) -> Array:
    """f' (gram + ridge I)⁻¹ f for each row f of ``features`` [M, D]; ``gram`` is [D, D]."""
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), features.T)
    variance: Array = np.einsum("md,dm->m", features, solved)
    return variance


def ridge_readout(features: Array, target: Array, ridge: float, weights: Array) -> Array:
    """Weights [D] of the weighted ridge regression of ``target`` [M] on ``features`` [M, D]."""
    weighted = features * weights[:, None]
    gram = weighted.T @ features
    strength = ridge * float(np.trace(gram)) / len(gram) + LEAST
    readout = np.linalg.solve(gram + strength * np.eye(len(gram)), weighted.T @ target)
    return np.asarray(readout, dtype=np.float64)


def conformal_quantile(scores: Array, level: float) -> float:
    """What at least ``level`` of scores like ``scores`` [n] do not exceed.

    The ⌈(n + 1) level⌉-th smallest; with too few the largest there is, which covers less.
    """
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def _molecule_weights(smiles: NDArray[np.str_], random: np.random.Generator) -> Array:
    """[HEADS, M]: how often the molecule of each conformer was drawn."""
    names, index = np.unique(smiles, return_inverse=True)
    count = len(names)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=HEADS)
    weights: Array = drawn[:, index].astype(np.float64)
    return weights


def _halves(part: Part, seed: int) -> tuple[Part, Part]:
    """``part`` in two, by molecule; both the whole where it has one molecule only."""
    names = np.random.default_rng(seed).permutation(np.unique(part.smiles))
    first = np.isin(part.smiles, names[: len(names) // 2])
    if not first.any():
        return part, part
    return part.take(np.flatnonzero(first)), part.take(np.flatnonzero(~first))
