"""Reference energies with PySCF, by the method that a backbone was trained on.

For the default backbone that is B97-3c: SCF with density fitting, D3(BJ) dispersion with its
three-body term, and the short-range-bond term (Brandenburg, Bannwarth, Hansen, Grimme, J. Chem.
Phys. 148, 064104, 2018). Closed shells are restricted, open ones unrestricted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr
from numpy.typing import NDArray

from probe.dft.methods import B97_3C, Method
from probe.errors import ProbeError
from probe.tables import first_line

METHOD = B97_3C.name
"""What labels are computed with."""

ECP, ECP_FROM = "def2-svp", 37
"""The def2 effective core potential, the same for every def2 basis, and where it begins: Rb."""

ELEMENTS = frozenset([*range(1, 58), *range(72, 87)])
"""Elements with a basis, its core potential and a fitting basis: H to La, Hf to Rn."""

EV_PER_HARTREE = 27.211386245988

FIRST_GRID = 0
"""Level of the coarse grid on which the orbitals converge before the dear one refines them."""

GRID_BLOCK = 1344
"""Points of the grid (a multiple of PySCF's 56) whose orbital values are held at once: so few stay
in a processor's cache, while PySCF's own blocks fill its memory. A fifth of the time less."""

MAX_MEMORY = 4000
"""MB that one process gives its integrals; the rules ask for 1,000 more."""

Molecule = Any
MeanField = Any
Fitting = Any
"""PySCF has no types."""


@dataclass(frozen=True)
class Settings:
    """Grid level, and what must be left of energy (hartree) and gradient between two cycles.

    The defaults leave less than 1e-6 hartree, 0.0006 kcal/mol.
    """

    grid_level: int = 2
    conv_tol: float = 1e-6
    conv_tol_grad: float = 1e-3


DEFAULT = Settings()
TIGHT = Settings(grid_level=5, conv_tol=1e-9, conv_tol_grad=1e-5)
"""For measuring the noise of the default settings."""


@dataclass(frozen=True)
class Reference:
    """The energy of one conformer by parts. Of one that did not converge, they are None."""

    converged: bool
    remedy: str
    """What made the SCF converge; empty if nothing was needed. Where it did not, the last that
    was tried, or what PySCF gave up with."""
    energy_ev: float | None
    e_scf_hartree: float | None
    e_d3_hartree: float | None
    e_srb_hartree: float | None
    gap_ev: float | None
    nao: int
    dft_seconds: float
    """Processor time, which is what a core of its own takes, whatever else a machine does."""


def reference_energy(
    numbers: NDArray[np.integer],
    positions: NDArray[np.float64],
    charge: int,
    settings: Settings = DEFAULT,
    *,
    multiplicity: int = 1,
    method: Method = B97_3C,
    gpu: bool = False,
) -> Reference:
    """The energy of atoms ``numbers`` [N] at ``positions`` [N, 3] (Å).

    An SCF that does not converge to the lowest orbitals filled goes through ``REMEDIES``. With
    ``gpu`` it is GPU4PySCF's.

    Raises:
        ProbeError: an element is not one of ``ELEMENTS``, or ``multiplicity`` (2S + 1) is none of
            so many electrons.
    """
    start = time.process_time()
    problem = unsupported(numbers, method) or wrong_spin(numbers, charge, multiplicity)
    if problem:
        raise ProbeError(problem)
    molecule = _molecule(numbers, positions, charge, multiplicity, method)
    mean_field, remedy = _converge(molecule, settings, method, gpu=gpu)
    if mean_field is None:
        seconds = time.process_time() - start
        return Reference(False, remedy, None, None, None, None, None, molecule.nao, seconds)
    scf = float(mean_field.e_tot)
    d3, srb = _corrections(numbers, positions, method)
    return Reference(
        converged=True,
        remedy=remedy,
        energy_ev=(scf + d3 + srb) * EV_PER_HARTREE,
        e_scf_hartree=scf,
        e_d3_hartree=d3,
        e_srb_hartree=srb,
        gap_ev=_gap(mean_field) * EV_PER_HARTREE,
        nao=molecule.nao,
        dft_seconds=time.process_time() - start,
    )


def unsupported(numbers: Sequence[int] | NDArray[np.integer], method: Method = B97_3C) -> str:
    """Why the method cannot take these atoms; empty if it can."""
    unknown = sorted({int(number) for number in numbers} - ELEMENTS)
    names = ", ".join(chemical_symbols[number] for number in unknown)
    return f"{method.name} has no basis for {names}" if unknown else ""


def wrong_spin(numbers: Sequence[int] | NDArray[np.integer], charge: int, multiplicity: int) -> str:
    """Why the electrons cannot have this multiplicity (2S + 1); empty if they can."""
    electrons = sum(int(number) for number in numbers) - charge
    possible = range(1 + electrons % 2, electrons + 2, 2)
    known = electrons > 0 and multiplicity in possible
    return "" if known else f"{electrons} electrons cannot have multiplicity {multiplicity}"


def basis_functions(numbers: Sequence[int] | NDArray[np.integer], method: Method = B97_3C) -> int:
    """Functions of the basis for these ``ELEMENTS``; the cost of an SCF is a power of it."""
    return sum(_functions_of(int(number), method.basis) for number in numbers)


@cache
def _functions_of(number: int, name: str) -> int:
    from pyscf.gto import basis  # noqa: PLC0415 (slow import)

    shells = basis.load(name, chemical_symbols[number])
    return sum((2 * angular + 1) * (len(first) - 1) for angular, first, *_ in shells)


def _molecule(
    numbers: NDArray[np.integer],
    positions: NDArray[np.float64],
    charge: int,
    multiplicity: int,
    method: Method,
) -> Molecule:
    from pyscf import gto  # noqa: PLC0415 (slow import)

    symbols = [chemical_symbols[int(number)] for number in numbers]
    return gto.M(
        atom=list(zip(symbols, positions.tolist(), strict=True)),
        unit="Angstrom",
        charge=charge,
        spin=multiplicity - 1,
        basis=method.basis,
        ecp={chemical_symbols[int(number)]: ECP for number in numbers if number >= ECP_FROM},
        verbose=0,
        max_memory=MAX_MEMORY,
    )


def _as_it_is(mean_field: MeanField) -> MeanField:
    return mean_field


def _level_shift(mean_field: MeanField) -> MeanField:
    mean_field.level_shift, mean_field.damp, mean_field.max_cycle = 0.3, 0.3, 150
    return mean_field


def _second_order(mean_field: MeanField) -> MeanField:
    return mean_field.newton()


REMEDIES: dict[str, Callable[[MeanField], MeanField]] = {
    "": _as_it_is,
    "level shift": _level_shift,
    "second order": _second_order,
}
"""Ways to converge an SCF, in the order in which they are tried."""


def _converge(
    molecule: Molecule, settings: Settings, method: Method, *, gpu: bool
) -> tuple[MeanField | None, str]:
    """The mean field and its remedy; None if none helped, and what came of the last."""
    from pyscf import df  # noqa: PLC0415 (slow import)

    # Kept in memory, the three-centre integrals are made once and not at every cycle.
    fitting = df.DF(molecule, auxbasis=method.fitting).build()

    def start(at: Settings) -> MeanField:
        mean_field = _mean_field(molecule, fitting, at, method)
        return mean_field.to_gpu() if gpu else _in_small_blocks(mean_field)

    outcome = ""
    for remedy, prepare in REMEDIES.items():
        outcome = remedy
        try:
            mean_field = _solved(start, settings, prepare)
        except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:
            # A geometry beyond PySCF or LAPACK must not end the run of all the others.
            outcome = ": ".join(filter(None, (remedy, first_line(error))))
            continue
        found = mean_field.to_cpu() if gpu else mean_field
        if _is_ground_state(found):
            return found, remedy
    return None, outcome


def _solved(
    start: Callable[[Settings], MeanField],
    settings: Settings,
    prepare: Callable[[MeanField], MeanField],
) -> MeanField:
    """The mean field after its SCF; if that fails on the coarse grid, the dear one is spared."""
    first = prepare(start(replace(settings, grid_level=FIRST_GRID)))
    first.kernel()
    if not first.converged:
        return first
    final = prepare(start(settings))
    final.kernel(dm0=first.make_rdm1())
    return final


def _mean_field(
    molecule: Molecule, fitting: Fitting, settings: Settings, method: Method
) -> MeanField:
    from pyscf import dft  # noqa: PLC0415 (slow import)

    kind = dft.UKS if molecule.spin else dft.RKS
    mean_field = kind(molecule, xc=method.functional).density_fit()
    mean_field.with_df = fitting
    mean_field.nlc = 0  # dispersion is a correction here
    mean_field.grids.level = settings.grid_level
    mean_field.conv_tol, mean_field.conv_tol_grad = settings.conv_tol, settings.conv_tol_grad
    mean_field.conv_check = False
    mean_field.chkfile = None
    return mean_field


def _in_small_blocks(mean_field: MeanField) -> MeanField:
    grid = mean_field._numint
    grid.block_loop = partial(grid.block_loop, blksize=GRID_BLOCK)
    return mean_field


def _is_ground_state(mean_field: MeanField) -> bool:
    """Whether the SCF converged, and with the lowest orbitals filled.

    Level shift and second order also find states that are no minimum, hartrees too high.
    """
    return bool(mean_field.converged) and _gap(mean_field) > 0


def _gap(mean_field: MeanField) -> float:
    """HOMO-LUMO gap within one spin, the smaller of the two; hartree.

    A triple-zeta basis always has a virtual orbital; a spin without an electron has no gap.
    """
    orbitals = np.atleast_2d(mean_field.mo_energy), np.atleast_2d(mean_field.mo_occ) > 0
    gaps = [
        energies[~occupied].min() - energies[occupied].max()
        for energies, occupied in zip(*orbitals, strict=True)
        if occupied.any()
    ]
    return float(min(gaps) - mean_field.level_shift)


def _corrections(
    numbers: NDArray[np.integer], positions: NDArray[np.float64], method: Method
) -> tuple[float, float]:
    """Dispersion, and the short-range-bond term, zero where the method has none; hartree."""
    from dftd3.interface import (  # noqa: PLC0415 (only where it is needed)
        DispersionModel,
        GeometricCounterpoise,
        RationalDampingParam,
    )

    bohr = positions / Bohr
    damping = RationalDampingParam(  # type: ignore[no-untyped-call]
        method=method.dispersion, atm=method.three_body
    )
    dispersion = DispersionModel(numbers, bohr).get_dispersion(damping, grad=False)["energy"]
    if not method.short_range_bond:
        return float(dispersion), 0.0
    short = GeometricCounterpoise(numbers, bohr, method="b973c").get_counterpoise(grad=False)
    return float(dispersion), float(short["energy"])
