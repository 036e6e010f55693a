"""Conformers: from a record of a library to a row of the conformer table, or to a reject."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rounded(positions: ArrayLike) -> NDArray[np.float64]:
    """``positions`` (any shape, Å) rounded to 1e-4 Å, without negative zeros."""
    return _units(positions) / 1e4 + 0.0


def conformer_id(
    numbers: Sequence[int] | NDArray[Any],
    positions: ArrayLike,
    charge: int,
    multiplicity: int,
) -> str:
    """Content hash of a conformer: 32 hexadecimal digits, the same on every machine.

    Args:
        numbers: atomic numbers [N].
        positions: coordinates [N, 3] or [3N] row-major, Å; rounded here to 1e-4.
        charge: total charge in elementary charges.
        multiplicity: 2S + 1.
    """
    elements = np.asarray(numbers, dtype=np.uint8).ravel()
    units = _units(positions).astype("<i8").ravel()
    if units.size != 3 * elements.size:
        raise ValueError(f"{elements.size} atoms need {3 * elements.size} coordinates")
    header = np.array([elements.size, charge, multiplicity], dtype="<i8")
    content = header.tobytes() + elements.tobytes() + units.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _units(positions: ArrayLike) -> NDArray[np.float64]:
    return np.rint(np.asarray(positions, dtype=np.float64) * 1e4)
