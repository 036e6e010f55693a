"""The disagreement of the backbone's own ensemble: what an energy's spread says of its error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.comparison.peers import tuning
from probe.comparison.peers.contract import Array, NotApplicable, Part, Scorer

LEAST_EV = 1e-6
"""A spread below it is rounding."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the members' energies over N ** ``power``, N the number of atoms."""

    name: str
    power: float
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        spread_ev(fit)

        def score(part: Part) -> Array:
            scaled: Array = np.log(spread_ev(part)) - self.power * np.log(part.sizes())
            return scaled

        return tuning.same_for_all(score, tolerances)


@dataclass(frozen=True)
class SpreadRule:
    """The published rule (paper, Table 2): unreliable where the spread is above its median.

    The median is the fit part's. The score is the verdict, 0 or 1.
    """

    name: str = "spread-rule"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        median = float(np.median(spread_ev(fit)))
        return tuning.same_for_all(
            lambda part: (spread_ev(part) > median).astype(np.float64), tolerances
        )


def spread_ev(part: Part) -> Array:
    """Standard deviation over the members [M].

    Raises:
        NotApplicable: their energies are not known.
    """
    if part.members_ev is None:
        raise NotApplicable("the energies of the backbone's other members are not known")
    spread: Array = np.maximum(part.members_ev.std(axis=1), LEAST_EV)
    return spread
