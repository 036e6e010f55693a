"""Latent distance: how far the atoms of a conformer are from those that were fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from probe.comparison.peers import tuning
from probe.comparison.peers.contract import Array, Part, Scorer
from probe.comparison.peers.features import Scale, every_atom

NEIGHBOURS = (1, 5, 20)
"""The k-th nearest atom counts; which k is tuned."""
MOST_ATOMS = 20_000
"""Atoms to measure the distance to; of more a seeded sample is taken."""
LEAST = 1e-6

Aggregate = Literal["max", "mean"]


@dataclass(frozen=True)
class Nearest:
    """Distance of an atom to the k-th nearest fitted one, over the atoms of a conformer."""

    name: str
    aggregate: Aggregate
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""
        atoms = every_atom(fit)
        scale = Scale.of(atoms)
        if len(atoms) > MOST_ATOMS:
            rows = np.random.default_rng(seed).choice(len(atoms), MOST_ATOMS, replace=False)
            atoms = atoms[np.sort(rows)]
        tried = [k for k in NEIGHBOURS if k <= len(atoms)]
        search = NearestNeighbors(n_neighbors=tried[-1], algorithm="brute").fit(scale(atoms))

        def distances(part: Part) -> Array:
            """[M, number of k tried], logarithmic."""
            to_atoms = search.kneighbors(scale(every_atom(part)))[0]
            columns = [over_atoms(to_atoms[:, k - 1], part, self.aggregate) for k in tried]
            return np.log(np.column_stack(columns) + LEAST)

        ranks = [tuning.ranking(column, tune, tolerances) for column in distances(tune).T]
        best = int(np.argmax(ranks))
        return tuning.same_for_all(lambda part: distances(part)[:, best], tolerances)


@dataclass(frozen=True)
class Mahalanobis:
    """Distance of an atom to the mean of the fitted ones in units of their covariance."""

    name: str
    aggregate: Aggregate
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        atoms = every_atom(fit).astype(np.float64)
        scale = Scale.of(atoms)
        covariance = LedoitWolf().fit(scale(atoms))

        def distance(part: Part) -> Array:
            squared = covariance.mahalanobis(scale(every_atom(part).astype(np.float64)))
            to_atoms = np.sqrt(np.maximum(squared, 0.0))
            return np.log(over_atoms(to_atoms, part, self.aggregate) + LEAST)

        return tuning.same_for_all(distance, tolerances)


def over_atoms(values: NDArray[np.floating], part: Part, aggregate: Aggregate) -> Array:
    """The largest or the mean of atomic ``values`` [sum of N] in each conformer, [M]."""
    sizes = part.sizes()
    starts = np.cumsum(sizes) - sizes
    if aggregate == "max":
        return np.maximum.reduceat(values, starts).astype(np.float64)
    return np.add.reduceat(values.astype(np.float64), starts) / sizes
