"""Peers on pooled embeddings: logistic regression, gradient boosting, random forest."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from probe.comparison.peers import features, tuning
from probe.comparison.peers.contract import Array, Part, Scorer
from probe.comparison.peers.simple import logistic

LEAVES = (4, 12)
"""Of a boosted tree."""
ROUNDS = 300
"""Most trees of a boosting; how many of them are used is tuned."""
STEP = 15
"""Trees between the numbers that are tried."""
RATE = 0.05
FEATURES = 0.1
"""Share of the features that a split of a boosted tree may choose from: better here than all."""
TREES = 300
LEAF_SIZES = (1, 4, 16)
"""Fewest labels in a leaf of the forest."""


@dataclass(frozen=True)
class PooledLogistic:
    """Logistic regression on mean, maximum and standard deviation over atoms."""

    name: str = "pooled-logistic"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:  # noqa: ARG002
        """See ``Peer``."""
        return tuning.classifier(logistic, features.pooled, fit, tune, tolerances)


@dataclass(frozen=True)
class Boosting:
    """Gradient-boosted trees on pooled embeddings."""

    name: str = "gradient-boosting"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""

        def candidates(values: Array, unreliable: NDArray[np.bool_]) -> list[tuning.Predict]:
            models = [_boosted(values, unreliable, leaves, seed) for leaves in LEAVES]
            if len(models[0].classes_) == 1:
                return [tuning.probabilities(models[0])]
            stages = range(STEP, ROUNDS + 1, STEP)
            return [_Stage(model, stage) for model in models for stage in stages]

        return tuning.classifier(candidates, features.pooled, fit, tune, tolerances)


@dataclass(frozen=True)
class Forest:
    """A random forest on pooled embeddings."""

    name: str = "random-forest"
    dear: bool = False

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""

        def candidates(values: Array, unreliable: NDArray[np.bool_]) -> list[tuning.Predict]:
            forests = (
                RandomForestClassifier(TREES, min_samples_leaf=size, random_state=seed)
                for size in LEAF_SIZES
            )
            return [tuning.probabilities(forest.fit(values, unreliable)) for forest in forests]

        return tuning.classifier(candidates, features.pooled, fit, tune, tolerances)


@dataclass(frozen=True)
class _Stage:
    """The first ``n_trees`` of a boosting."""

    model: HistGradientBoostingClassifier
    n_trees: int

    def __call__(self, values: Array) -> Array:
        stages = self.model.staged_predict_proba(values)
        probability: Array = next(islice(stages, self.n_trees - 1, None))[:, 1]
        return probability


def _boosted(
    values: Array, unreliable: NDArray[np.bool_], leaves: int, seed: int
) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        learning_rate=RATE,
        max_iter=ROUNDS,
        max_leaf_nodes=leaves,
        max_features=FEATURES,
        early_stopping=False,
        random_state=seed,
    ).fit(values, unreliable)
