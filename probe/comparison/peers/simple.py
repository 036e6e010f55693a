"""Peers that do not look at the embedding: the most frequent class, size, composition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probe.comparison.peers import features, tuning
from probe.comparison.peers.contract import Array, Part, Scorer

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths that a logistic regression may take."""


@dataclass(frozen=True)
class Majority:
    """The same for every conformer: how frequent the unreliable are among the fitted."""

    name: str = "majority"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        rates = [float(fit.exceeds(tolerance).mean()) for tolerance in tolerances]
        odds = tuning.log_odds(np.array(rates))
        return lambda part: np.tile(odds, (len(part), 1))


@dataclass(frozen=True)
class AtomCount:
    """The more atoms, the less reliable."""

    name: str = "atom-count"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        return tuning.same_for_all(lambda part: np.log(part.sizes()), tolerances)


@dataclass(frozen=True)
class ElementCount:
    """Logistic regression on the number of atoms of each element."""

    name: str = "element-count"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        return tuning.classifier(logistic, features.composition, fit, tune, tolerances)


def logistic(values: Array, unreliable: NDArray[np.bool_]) -> list[tuning.Predict]:
    """Logistic regressions on standardised features, one for each of ``PENALTIES``."""
    if unreliable.all() or not unreliable.any():
        return [tuning.probabilities(DummyClassifier().fit(values, unreliable))]
    models = (LogisticRegression(C=strength, max_iter=5000) for strength in PENALTIES)
    return [
        tuning.probabilities(make_pipeline(StandardScaler(), model).fit(values, unreliable))
        for model in models
    ]
