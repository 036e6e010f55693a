"""The reference's scale: one linear shift per element between DFT and the backbone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
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

    def covers(self, numbers: NDArray[np.integer]) -> bool:
        """Whether every element of ``numbers`` was fitted."""
        return all(chemical_symbols[number] in self.per_element for number in np.unique(numbers))


def fit_shift(
    numbers: Sequence[NDArray[np.integer]],
    charges: Sequence[int],
    differences: NDArray[np.float64],
    min_molecules: int,
    molecules: Sequence[str] | None = None,
) -> Shift:
    """Robust linear fit of ``differences`` [M] (reference less backbone, eV).

    Elements in fewer than ``min_molecules`` are left out, with the conformers that have them:
    their shift would be one molecule's error. ``molecules`` [M] says which conformers are of one
    molecule; without it each is its own.

    Raises:
        ProbeError: that leaves no conformer.
    """
    counts = np.stack([np.bincount(n, minlength=len(chemical_symbols)) for n in numbers])
    of = molecules or range(len(counts))
    fitted, whole = _common(counts > 0, np.unique(of, return_inverse=True)[1], min_molecules)
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


def element_counts(
    numbers: Sequence[NDArray[np.integer]], molecules: Sequence[str]
) -> dict[str, int]:
    """In how many ``molecules`` [M] each element of ``numbers`` [M] occurs, by atomic number."""
    pairs = zip(molecules, numbers, strict=True)
    held = {(molecule, int(number)) for molecule, atoms in pairs for number in np.unique(atoms)}
    counts = Counter(number for _, number in held)
    return {chemical_symbols[number]: counts[number] for number in sorted(counts)}


def _common(
    has: NDArray[np.bool_], molecule: NDArray[np.intp], min_molecules: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Elements in at least ``min_molecules`` that are made of such elements only, and their rows.

    ``has`` is [M, elements], ``molecule`` [M] the number of each row's molecule. Leaving out the
    rows of one rare element can make another one rare.
    """
    n_molecules = int(molecule.max()) + 1
    whole = np.ones(len(has), dtype=np.bool_)
    while True:
        held = np.zeros((n_molecules, has.shape[1]), dtype=np.bool_)
        np.logical_or.at(held, molecule[whole], has[whole])
        common = held.sum(axis=0) >= max(min_molecules, 1)
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
