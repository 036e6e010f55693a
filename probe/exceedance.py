"""P(|error| > t): the probability that an energy is off by more than a tolerance.

PROBE says of each conformer where its signed error lies and how wide that is: a mixture of K
logistic distributions, one a network. What it puts beyond -t and +t falls as t grows, whatever the
numbers are, so one answer serves every tolerance.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit


def exceedance(
    location_kcal: ArrayLike, scale_kcal: ArrayLike, tolerance_kcal: float
) -> NDArray[np.float64]:
    """P(|error| > ``tolerance_kcal``) [M] of mixtures with components [M, K], kcal/mol."""
    location = np.asarray(location_kcal, dtype=np.float64)
    scale = np.asarray(scale_kcal, dtype=np.float64)
    beyond = expit((location - tolerance_kcal) / scale) + expit((-location - tolerance_kcal) / scale)
    mean: NDArray[np.float64] = beyond.mean(axis=-1)
    return mean
