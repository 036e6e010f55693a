"""How peers choose their settings: all by the tune part, by the same two measures."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from probe.comparison.peers.contract import Array, Part, Scorer

CERTAIN = 1e-4
"""No peer is surer than this; a leaf or a linear model of hundreds of labels cannot be."""

Predict = Callable[[Array], Array]
"""P(unreliable) [M] from features [M, F]."""


def log_odds(probability: Array) -> Array:
    """Of probabilities that are kept off 0 and 1."""
    odds: Array = logit(np.clip(probability, CERTAIN, 1 - CERTAIN))
    return odds


def log_loss(probability: Array, unreliable: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood, for peers that give probabilities."""
    odds = log_odds(probability)
    return float(np.logaddexp(0, np.where(unreliable, -odds, odds)).mean())


def ranking(score: Array, part: Part, tolerances: Sequence[float]) -> float:
    """AUROC of one ``score`` [M], mean over the tolerances; for peers that only rank.

    A tolerance that all or none of ``part`` exceed says nothing, which counts as a half.
    """
    truths = [part.exceeds(tolerance) for tolerance in tolerances]
    areas = [
        float(roc_auc_score(truth, score)) if 0 < truth.sum() < len(truth) else 0.5
        for truth in truths
    ]
    return float(np.mean(areas))


class Classifier(Protocol):
    """What is used of a fitted scikit-learn classifier of booleans."""

    classes_: NDArray[np.bool_]

    def predict_proba(self, features: Array) -> Array:
        """P(class) [M, number of classes]."""


def probabilities(model: Classifier) -> Predict:
    """The ``Predict`` of a classifier.

    One that was fitted to a single class is as sure of it as the clipping lets it be.
    """
    if len(model.classes_) == 1:
        return lambda features: np.full(len(features), float(model.classes_[0]))
    return lambda features: np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)


def classifier(
    candidates: Callable[[Array, NDArray[np.bool_]], Sequence[Predict]],
    features: Callable[[Part], Array],
    fit: Part,
    tune: Part,
    tolerances: Sequence[float],
) -> Scorer:
    """For each tolerance the one of ``candidates`` with the least log loss on ``tune``.

    ``candidates`` fits all of them to features [M, F] and whether each error is beyond.
    """
    known, checked = features(fit), features(tune)
    chosen: list[Predict] = []
    for tolerance in tolerances:
        models = candidates(known, fit.exceeds(tolerance))
        truth = tune.exceeds(tolerance)
        chosen.append(min(models, key=lambda model: log_loss(model(checked), truth)))

    def score(part: Part) -> Array:
        values = features(part)
        return np.column_stack([log_odds(model(values)) for model in chosen])

    return score


def same_for_all(score: Callable[[Part], Array], tolerances: Sequence[float]) -> Scorer:
    """One score [M] that does not know the tolerance, for each of them."""
    return lambda part: np.tile(score(part)[:, None], len(tolerances))
