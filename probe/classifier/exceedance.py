"""P(|error| > t): the probability that an energy is off by more than a tolerance.

PROBE says of each conformer where its signed error lies and how wide that is: a mixture of K
logistic distributions, one a network. What it puts beyond -t and +t falls as t grows, whatever the
numbers are, so one answer serves every tolerance.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

TOLERANCES = (0.15, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0, 5.0)
"""In units of the boundary: where training and calibration ask what lies beyond."""

SMALLEST = 1e-6
"""No probability is nearer to 0 or 1 than this."""


def exceedance(
    location_kcal: ArrayLike, scale_kcal: ArrayLike, tolerance_kcal: float
) -> NDArray[np.float64]:
    """P(|error| > ``tolerance_kcal``) [M] of mixtures with components [M, K], kcal/mol."""
    location = np.asarray(location_kcal, dtype=np.float64)
    scale = np.asarray(scale_kcal, dtype=np.float64)
    beyond = expit((location - tolerance_kcal) / scale) + expit(
        (-location - tolerance_kcal) / scale
    )
    mean: NDArray[np.float64] = beyond.mean(axis=-1)
    return mean


def log_loss(p: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood of what ``happened`` under probabilities ``p``, any shape."""
    kept = np.clip(np.where(happened, p, 1 - p), SMALLEST, 1)
    return float(-np.log(kept).mean())


def fit_scale_factor(
    location: NDArray[np.float64], scale: NDArray[np.float64], error: NDArray[np.float64]
) -> float:
    """The factor on ``scale`` with the least log loss over ``TOLERANCES``: a temperature.

    Components [M, K] of mixtures and errors [M], in units of the boundary; of conformers that
    nothing was fitted to.
    """
    beyond = np.abs(error)[:, None] > np.array(TOLERANCES)

    def loss(log_factor: float) -> float:
        wider = scale * np.exp(log_factor)
        p = [exceedance(location, wider, tolerance) for tolerance in TOLERANCES]
        return log_loss(np.stack(p, axis=1), beyond)

    return _least(loss)


def fit_temperature(logits: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> float:
    """The temperature of two-class ``logits`` [M] (unreliable less reliable), likewise.

    Its log loss is exact: one that is cut at ``SMALLEST`` is flat where logits are large, and has
    no slope to follow from there.
    """
    wrong_way = np.where(unreliable, -logits, logits)
    return _least(lambda log_t: float(np.logaddexp(0, wrong_way / np.exp(log_t)).mean()))


def _least(loss: Callable[[float], float]) -> float:
    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3)).x))
