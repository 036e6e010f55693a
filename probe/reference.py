"""The reference's scale: one linear shift per element between DFT and the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from probe.errors import ProbeError

RIDGE = 1e-3
"""Keeps elements that always occur together from taking opposite shifts."""

HUBER = 1.345
"""Residuals beyond this many robust deviations are weighed down (95 % efficiency)."""

ROUNDING = 1e-4
"""eV; a residual below it is no outlier, however small the others are."""


@dataclass(frozen=True)
class Shift:
    """``E_reference - E_backbone`` as a sum over atoms, plus a term per unit charge; eV."""

    per_element: dict[str, float]
    per_charge: float

    def of(self, numbers: NDArray[np.integer], charge: int) -> float:
        """The shift of one conformer in eV; an element that was not fitted adds nothing."""
        symbols = (chemical_symbols[number] for number in numbers)
        return sum(self.per_element.get(s, 0.0) for s in symbols) + self.per_charge * charge


def fit_shift(
    numbers: Sequence[NDArray[np.integer]],
    charges: Sequence[int],
    differences: NDArray[np.float64],
    min_molecules: int,
) -> Shift:
    """Robust linear fit of ``differences`` [M] (reference less backbone, eV).

    Elements in fewer than ``min_molecules`` of the M conformers are left out, with the
    conformers that have them: their shift would be one molecule's error.

    Raises:
        ProbeError: that leaves no conformer.
    """
    counts = np.stack([np.bincount(n, minlength=len(chemical_symbols)) for n in numbers])
    fitted, whole = _common(counts > 0, max(min_molecules, 1))
    if not whole.any():
        raise ProbeError(
            f"no element occurs in {min_molecules} of the {len(counts)} labelled conformers that "
            f"have only such elements; label more molecules, or lower min_element_molecules"
        )
    design = np.column_stack([counts[:, fitted], charges]).astype(np.float64)
    coefficients = _huber(design[whole], differences[whole])
    per_element = {
        chemical_symbols[z]: float(c) for z, c in zip(fitted, coefficients, strict=False)
    }
    return Shift(per_element, float(coefficients[-1]))


def element_counts(numbers: Sequence[NDArray[np.integer]]) -> dict[str, int]:
    """In how many of ``numbers`` each element occurs, by atomic number."""
    seen: dict[str, int] = {}
    for atoms in numbers:
        for number in np.unique(atoms):
            symbol = chemical_symbols[number]
            seen[symbol] = seen.get(symbol, 0) + 1
    return dict(sorted(seen.items(), key=lambda item: int(atomic_numbers[item[0]])))


def _common(
    has: NDArray[np.bool_], min_molecules: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Elements in at least ``min_molecules`` rows made of such elements only, and those rows.

    Leaving out the rows of one rare element can make another one rare.
    """
    whole = np.ones(len(has), dtype=np.bool_)
    while True:
        common = has[whole].sum(axis=0) >= min_molecules
        kept: NDArray[np.bool_] = ~np.any(has[:, ~common], axis=1)
        if (kept == whole).all():
            return np.flatnonzero(common), whole
        whole = kept


def _huber(design: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Iteratively reweighted least squares with Huber weights."""
    weights = np.ones(len(target))
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        weighted = design * weights[:, None]
        normal = weighted.T @ design + RIDGE * np.eye(design.shape[1])
        previous = coefficients
        coefficients = np.asarray(np.linalg.solve(normal, weighted.T @ target), dtype=np.float64)
        residuals = np.abs(target - design @ coefficients)
        scale = max(1.4826 * np.median(residuals), ROUNDING)
        weights = 1 / np.maximum(1.0, residuals / (HUBER * scale))
        if np.abs(coefficients - previous).max() < 1e-7:
            break
    return coefficients
