"""What the reference energy of a conformer costs, estimated before it is computed."""

import math
from collections.abc import Sequence

import polars as pl
from ase.data import atomic_numbers

from probe.dft.methods import B97_3C, WB97M_D3, Method

ELEMENTS_BY_FUNCTIONS = {
    3: "H He",
    8: "Li",
    11: "Be",
    14: "Na Mg",
    18: "K",
    19: "B C N F Ne",
    22: "Al Si P S Cl Ar",
    24: "O",
    28: "Ca",
    29: "Cs",
    33: "Sc Ti V Cr Mn Fe Co Ni Cu Zn Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd Ba La",
    36: "Ga Ge As Se Br Kr In Sn Sb Te I Xe Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
}
"""Elements by their functions in the basis of ``dft``; written down, so that a screening needs no
quantum chemistry program."""

FUNCTIONS = {
    atomic_numbers[symbol]: n
    for n, symbols in ELEMENTS_BY_FUNCTIONS.items()
    for symbol in symbols.split()
}


SCALE, BY_FUNCTIONS, BY_ATOMS = 1.81e-5, 2.322, 0.26
"""Seconds of B97-3c: scale times powers of basis functions and of atoms.

What resources/calibration/cost_model.py fits to times.parquet beside it: processor times of 613
conformers of the calibration set on one shared core, 115 to 215 functions. On molecules left out
of the fit a conformer's time is within a factor of 1.12 in 68 % and of 1.22 in 90 %, the sum of a
hundred within 3 % in 95 %. Beyond the fit, two drugs of 383 and 415 functions took 43 and 54 s
where it says 44 and 53.
"""

RELATIVE = {B97_3C.name: 1.0, WB97M_D3.name: 6.5}
"""How many times longer another method takes. Measured on five molecules of 2 to 9 atoms it was
2.9 to 6.6, the more the larger; for drugs it will be more."""

OPEN_SHELL = 1.5
"""How many times longer an unrestricted SCF takes; 1.2 to 1.8 on the same five."""


def core_hours(
    numbers: pl.Series, method: Method = B97_3C, multiplicity: pl.Series | None = None
) -> pl.Series:
    """Hours on one core for each conformer of atoms ``numbers`` (lists); null if an element has
    no basis. Without a ``multiplicity`` (2S + 1) they are closed shells."""
    functions = pl.element().replace_strict(FUNCTIONS, default=math.nan, return_dtype=pl.Float64)
    atoms = pl.col("atoms")
    spin = pl.lit(1) if multiplicity is None else multiplicity
    counted = numbers.to_frame("atoms").select(
        functions=atoms.list.eval(functions).list.sum().fill_nan(None),
        atoms=atoms.list.len().cast(pl.Float64),
        shells=pl.when(spin == 1).then(1.0).otherwise(OPEN_SHELL),
    )
    seconds = (
        SCALE
        * RELATIVE[method.name]
        * pl.col("shells")
        * pl.col("functions").pow(BY_FUNCTIONS)
        * pl.col("atoms").pow(BY_ATOMS)
    )
    return counted.select(core_hours=seconds / 3600)["core_hours"]


def seconds(numbers: Sequence[int]) -> float:
    """What B97-3c of these atoms takes on one core, roughly; each must have a basis."""
    n_functions = sum(FUNCTIONS[number] for number in numbers)
    return float(SCALE * n_functions**BY_FUNCTIONS * len(numbers) ** BY_ATOMS)
