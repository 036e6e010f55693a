"""What every peer of PROBE is: something that is fitted to signed errors and then ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from probe.classifier.network import Sample

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """M conformers as a peer sees them.

    ``smiles`` [M] is the molecule; ``error_kcal`` [M] the signed error, reference less backbone
    after the shift fitted to the fit part; ``members_ev`` [M, 1 + S] the energies by the backbone
    and the others of its ensemble, ``siblings_kcal`` [M, S] the errors of those others, None where
    they are not known.
    """

    samples: Sequence[Sample]
    smiles: NDArray[np.str_]
    error_kcal: Array
    members_ev: Array | None = None
    siblings_kcal: Array | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def exceeds(self, tolerance_kcal: float) -> NDArray[np.bool_]:
        """Whether each |error| is beyond the tolerance."""
        beyond: NDArray[np.bool_] = np.abs(self.error_kcal) > tolerance_kcal
        return beyond

    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each conformer, [M]."""
        return np.array([len(sample.numbers) for sample in self.samples], dtype=np.int64)

    def take(self, rows: NDArray[np.int64]) -> "Part":
        """Only ``rows``."""
        return Part(
            [self.samples[row] for row in rows],
            self.smiles[rows],
            self.error_kcal[rows],
            None if self.members_ev is None else self.members_ev[rows],
            None if self.siblings_kcal is None else self.siblings_kcal[rows],
        )


Scorer = Callable[[Part], Array]
"""Scores [M, T] of a part whose errors it does not look at; larger is less reliable."""


class Peer(Protocol):
    """A way to tell which energies are off.

    Scores are mapped to probabilities by a logistic regression, the same for every peer, so they
    should be about linear in the log-odds: a peer that knows probabilities returns their log-odds,
    one that knows a spread or a distance its logarithm.
    """

    @property
    def name(self) -> str:
        """As it is called in tables and on the command line."""

    @property
    def dear(self) -> bool:
        """Whether a fit takes minutes, so that fewer seeds may have to do."""

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """Fit to one part, choose settings by the other, for T tolerances in kcal/mol.

        Raises:
            NotApplicable: it cannot be fitted to this.
        """


class NotApplicable(Exception):  # noqa: N818 - what a peer says of a set, not a failure
    """Why a peer has no answer for a set, in one line."""
