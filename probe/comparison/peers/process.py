"""A Gaussian process on the signed error, with a kernel that sums over pairs of atoms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from probe.classifier.network import Sample
from probe.comparison.peers import tuning
from probe.comparison.peers.contract import Array, Part, Scorer
from probe.comparison.peers.features import Scale, every_atom

LENGTHS = (0.5, 1.0, 2.0)
"""Of the kernel, in root-mean-square standard deviations of a feature."""
NOISES = tuple(10.0**power for power in np.arange(-3, 1.51, 0.25))
"""Variance of the noise in units of the kernel's scale."""
MOST_CONFORMERS = 3000
"""An exact process of more takes too much memory and time; of more a seeded sample is taken."""
CHUNK = 1024
"""Atoms whose distances to all others are held at once."""
OUTLIER = 10.0
"""Errors beyond this many median ones are cut to that: one of them would be all the noise."""


@dataclass(frozen=True)
class Process:
    """P(|error| > t) from mean and variance of an exact Gaussian process.

    K(A, B) sums exp(-|h_i - h_j|² / 2 l² D) over atoms i of A and j of B of the same element.
    Length, scale and noise are those of the largest marginal likelihood.
    """

    name: str = "gaussian-process"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        if len(fit) > MOST_CONFORMERS:
            rows = np.random.default_rng(seed).choice(len(fit), MOST_CONFORMERS, replace=False)
            fit = fit.take(np.sort(rows))
        scale = Scale.of(every_atom(fit))
        most = OUTLIER * float(np.median(np.abs(fit.error_kcal)))
        error = np.clip(fit.error_kcal, -most, most)
        kernels = kernel(fit.samples, fit.samples, scale, LENGTHS)
        fitted = [Posterior.fit(matrix, error) for matrix in kernels]
        best = int(np.argmax([posterior.log_likelihood for posterior in fitted]))
        length, posterior = LENGTHS[best], fitted[best]

        def score(part: Part) -> Array:
            across = kernel(part.samples, fit.samples, scale, [length])[0]
            own = np.array([kernel([s], [s], scale, [length])[0, 0, 0] for s in part.samples])
            mean, deviation = posterior(across, own)
            beyond = [
                ndtr((mean - tolerance) / deviation) + ndtr((-mean - tolerance) / deviation)
                for tolerance in tolerances
            ]
            return tuning.log_odds(np.column_stack(beyond))

        return score


@dataclass(frozen=True)
class Posterior:
    """A fitted process: ``vectors`` [M, M] and ``values`` [M] of its kernel, with the noise."""

    vectors: Array
    values: Array
    weights: Array  # [M], of the kernel to each fitted conformer
    offset: float
    scale: float
    noise: float
    log_likelihood: float

    @classmethod
    def fit(cls, matrix: Array, error: Array) -> "Posterior":
        """The noise of the largest marginal likelihood; the scale follows from it."""
        unit = float(np.median(np.diag(matrix)))
        values, vectors = np.linalg.eigh(matrix / unit)
        offset = float(error.mean())
        rotated = vectors.T @ (error - offset)
        options = []
        for noise in NOISES:
            total = np.maximum(values, 0.0) + noise
            scale = float(np.mean(rotated**2 / total))
            likelihood = -0.5 * (len(error) * np.log(scale) + float(np.log(total).sum()))
            options.append((likelihood, noise, scale, total))
        likelihood, noise, scale, total = max(options, key=lambda option: option[0])
        weights = vectors @ (rotated / total) / unit
        return cls(vectors, total * unit, weights, offset, scale / unit, noise * unit, likelihood)

    def __call__(self, across: Array, own: Array) -> tuple[Array, Array]:
        """Mean and deviation [m] of new errors: kernels [m, M] to the fitted, [m] to itself."""
        mean = self.offset + across @ self.weights
        known = ((across @ self.vectors) ** 2 / self.values).sum(axis=1)
        variance = self.scale * (np.maximum(own - known, 0.0) + self.noise)
        return mean, np.sqrt(variance)


def kernel(
    one: Sequence[Sample], other: Sequence[Sample], scale: Scale, lengths: Sequence[float]
) -> Array:
    """[lengths, one, other]: sums over pairs of atoms of the same element."""
    result = np.zeros((len(lengths), len(one), len(other)))
    rows, columns = _by_element(one, scale), _by_element(other, scale)
    for number in sorted(set(rows) & set(columns)):
        (atoms, of), (partners, partner_of) = rows[number], columns[number]
        starts = np.flatnonzero(np.diff(partner_of, prepend=-1))
        held = partner_of[starts]
        for begin in range(0, len(atoms), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            squared = _squared_distance(atoms[chunk], partners)
            for index, length in enumerate(lengths):
                similar = np.exp(squared / (-2 * length**2 * atoms.shape[1]))
                summed = np.add.reduceat(similar, starts, axis=1)
                first = np.flatnonzero(np.diff(of[chunk], prepend=-1))
                result[index][np.ix_(of[chunk][first], held)] += np.add.reduceat(summed, first)
    return result


def _by_element(
    samples: Sequence[Sample], scale: Scale
) -> dict[int, tuple[NDArray[np.floating], NDArray[np.int64]]]:
    """Standardised features of the atoms of each element, and the conformer they are in."""
    numbers = np.concatenate([sample.numbers for sample in samples])
    of = np.repeat(np.arange(len(samples)), [len(sample.numbers) for sample in samples])
    atoms = np.concatenate([sample.embedding for sample in samples]).astype(np.float32)
    return {
        int(number): (scale(atoms[numbers == number]), of[numbers == number])
        for number in np.unique(numbers)
    }


def _squared_distance(
    one: NDArray[np.floating], other: NDArray[np.floating]
) -> NDArray[np.floating]:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    distance: NDArray[np.floating] = np.maximum(squares - 2 * one @ other.T, 0.0)
    return distance
