"""What peers read of a conformer: pooled embeddings, sums over atoms, element counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.classifier.network import N_NUMBERS, SPREAD
from probe.comparison.peers.contract import Array, Part


def pooled(part: Part) -> Array:
    """[M, 3D + 1]: mean, maximum and standard deviation over atoms, and their number."""
    rows = []
    for sample in part.samples:
        atoms = sample.embedding.astype(np.float64)
        moments = (atoms.mean(axis=0), atoms.max(axis=0), atoms.std(axis=0))
        rows.append(np.concatenate([*moments, [len(atoms)]]))
    return np.array(rows)


def sums(part: Part) -> Array:
    """[M, D]: the sum over atoms, on which a linear readout of an energy acts."""
    return np.array([sample.embedding.astype(np.float64).sum(axis=0) for sample in part.samples])


def composition(part: Part) -> Array:
    """[M, 119]: atoms of each element, by atomic number."""
    counts = [np.bincount(sample.numbers, minlength=N_NUMBERS) for sample in part.samples]
    return np.array(counts, dtype=np.float64)


def every_atom(part: Part) -> NDArray[np.float32]:
    """[sum of N, D]: the atoms of all conformers, one after the other."""
    return np.concatenate([sample.embedding for sample in part.samples]).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of features; a constant one is only centred."""

    mean: NDArray[np.floating]
    std: NDArray[np.floating]

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Scale":
        """Of ``values`` [n, D], summed in double precision."""
        std = values.std(axis=0, dtype=np.float64)
        std = np.where(std > SPREAD, std, 1.0)
        mean = values.mean(axis=0, dtype=np.float64)
        return cls(mean.astype(values.dtype), std.astype(values.dtype))

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """``values`` [n, D], standardised, in their own precision."""
        result: NDArray[Any] = (values - self.mean) / self.std
        return result
