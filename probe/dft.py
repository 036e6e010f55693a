"""Reference energies: B97-3c with PySCF, by the method that the backbone was trained on.

SCF with density fitting, D3(BJ) dispersion with its three-body term, and the short-range-bond term
(Brandenburg, Bannwarth, Hansen, Grimme, J. Chem. Phys. 148, 064104, 2018).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr
from numpy.typing import NDArray

METHOD = "B97-3c"
FUNCTIONAL, BASIS, FITTING = "GGA_XC_B97_3C", "def2-mtzvp", "def2-universal-jfit"
ECP = {"I": "def2-svp"}
"""The def2 effective core potential; the same for every def2 basis."""

EV_PER_HARTREE = 27.211386245988

FIRST_GRID = 0
"""Level of the coarse grid on which the orbitals converge before the dear one refines them."""

MAX_MEMORY = 6000
"""MB that one process gives its integrals."""


@dataclass(frozen=True)
class Settings:
    """Grid level, and what must be left of energy (hartree) and gradient between two cycles.

    The defaults leave less than 1e-6 hartree, 0.0006 kcal/mol.
    """

    grid_level: int = 2
    conv_tol: float = 1e-6
    conv_tol_grad: float = 1e-3


TIGHT = Settings(grid_level=5, conv_tol=1e-9, conv_tol_grad=1e-5)
"""For measuring the noise of the default settings."""


@dataclass(frozen=True)
class Reference:
    """The energy of one conformer by parts. Of one that did not converge, they are None."""

    converged: bool
    remedy: str
    """What made the SCF converge; empty if nothing was needed."""
    energy_ev: float | None
    e_scf_hartree: float | None
    e_d3_hartree: float | None
    e_srb_hartree: float | None
    gap_ev: float | None
    nao: int
    dft_seconds: float


def reference_energy(
    numbers: NDArray[np.integer],
    positions: NDArray[np.float64],
    charge: int,
    settings: Settings = Settings(),
) -> Reference:
    """The singlet of atoms ``numbers`` [N] at ``positions`` [N, 3] (Å).

    An SCF that does not converge goes through ``REMEDIES``.
    """
    start = time.perf_counter()
    molecule = _molecule(numbers, positions, charge)
    mean_field, remedy = _converge(molecule, settings)
    scf = float(mean_field.e_tot)
    d3, srb = _corrections(numbers, positions)
    converged = bool(mean_field.converged)
    seconds = time.perf_counter() - start
    if not converged:
        return Reference(False, remedy, None, None, None, None, None, molecule.nao, seconds)
    total = (scf + d3 + srb) * EV_PER_HARTREE
    gap = _gap(mean_field) * EV_PER_HARTREE
    return Reference(True, remedy, total, scf, d3, srb, gap, molecule.nao, seconds)


def basis_functions(numbers: Sequence[int] | NDArray[np.integer]) -> int:
    """Functions of the basis for these atoms; the cost of an SCF is a power of it."""
    return sum(_functions_of(chemical_symbols[int(number)]) for number in numbers)


def seconds(n_functions: int) -> float:
    """What an SCF of so many basis functions takes on one core, roughly.

    Fitted to molecules of 60 to 600 functions on a slow core; what a run really takes corrects it.
    """
    return 7.0 * (n_functions / 150) ** 2.4


@cache
def _functions_of(symbol: str) -> int:
    from pyscf import gto  # noqa: PLC0415 (slow import)

    nuclei = 0 if symbol in ECP else chemical_symbols.index(symbol)
    atom = gto.M(
        atom=[(symbol, (0.0, 0.0, 0.0))],
        basis=BASIS,
        ecp=_ecp([symbol]),
        spin=nuclei % 2 if symbol not in ECP else None,
        verbose=0,
    )
    return int(atom.nao)


def _molecule(numbers: NDArray[np.integer], positions: NDArray[np.float64], charge: int) -> Any:  # noqa: ANN401 (PySCF has no types)
    from pyscf import gto  # noqa: PLC0415 (slow import)

    symbols = [chemical_symbols[int(number)] for number in numbers]
    return gto.M(
        atom=list(zip(symbols, positions.tolist(), strict=True)),
        unit="Angstrom",
        charge=charge,
        spin=0,
        basis=BASIS,
        ecp=_ecp(symbols),
        verbose=0,
        max_memory=MAX_MEMORY,
    )


def _ecp(symbols: Sequence[str]) -> dict[str, str]:
    return {symbol: basis for symbol, basis in ECP.items() if symbol in symbols}


def _diis(mean_field: Any) -> Any:  # noqa: ANN401
    return mean_field


def _level_shift(mean_field: Any) -> Any:  # noqa: ANN401
    mean_field.level_shift, mean_field.damp, mean_field.max_cycle = 0.3, 0.3, 150
    return mean_field


def _second_order(mean_field: Any) -> Any:  # noqa: ANN401
    mean_field.max_cycle = 50
    return mean_field.newton()


REMEDIES: dict[str, Callable[[Any], Any]] = {
    "": _diis,
    "level shift": _level_shift,
    "second order": _second_order,
}
"""Ways to converge an SCF, in the order in which they are tried."""


def _converge(molecule: Any, settings: Settings) -> tuple[Any, str]:  # noqa: ANN401
    """The mean field, and the last remedy tried; orbitals come from a coarse grid."""
    from pyscf import df  # noqa: PLC0415 (slow import)

    # Kept in memory, the three-centre integrals are made once and not at every cycle.
    fitting = df.DF(molecule, auxbasis=FITTING).build()
    coarse = Settings(FIRST_GRID, settings.conv_tol, settings.conv_tol_grad)
    for remedy, apply in REMEDIES.items():
        first = apply(_mean_field(molecule, fitting, coarse))
        first.kernel()
        final = apply(_mean_field(molecule, fitting, settings))
        if first.converged:
            final.kernel(first.mo_coeff, first.mo_occ) if remedy == "second order" else (
                final.kernel(first.make_rdm1())
            )
        if first.converged and final.converged:
            break
    return final, remedy


def _mean_field(molecule: Any, fitting: Any, settings: Settings) -> Any:  # noqa: ANN401
    from pyscf import dft  # noqa: PLC0415 (slow import)

    mean_field = dft.RKS(molecule, xc=FUNCTIONAL).density_fit()
    mean_field.with_df = fitting
    mean_field.grids.level = settings.grid_level
    mean_field.conv_tol, mean_field.conv_tol_grad = settings.conv_tol, settings.conv_tol_grad
    mean_field.conv_check = False
    mean_field.chkfile = None
    return mean_field


def _gap(mean_field: Any) -> float:  # noqa: ANN401
    """HOMO-LUMO gap, hartree; not a number where there is no virtual orbital."""
    energies, occupied = mean_field.mo_energy, mean_field.mo_occ > 0
    return float(energies[~occupied].min() - energies[occupied].max())


def _corrections(
    numbers: NDArray[np.integer], positions: NDArray[np.float64]
) -> tuple[float, float]:
    """Dispersion with the three-body term, and the short-range-bond term; hartree."""
    from dftd3.interface import (  # noqa: PLC0415 (only where it is needed)
        DispersionModel,
        GeometricCounterpoise,
        RationalDampingParam,
    )

    bohr = positions / Bohr
    damping = RationalDampingParam(method="b973c", atm=True)
    dispersion = DispersionModel(numbers, bohr).get_dispersion(damping, grad=False)["energy"]
    short = GeometricCounterpoise(numbers, bohr, method="b973c").get_counterpoise(grad=False)
    return float(dispersion), float(short["energy"])
