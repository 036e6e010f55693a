"""What the reference energy of a conformer costs, estimated before it is computed."""

import math

import polars as pl
from ase.data import atomic_numbers

from probe import dft

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


def core_hours(numbers: pl.Series) -> pl.Series:
    """Hours on one core for each conformer of atoms ``numbers`` (lists); null if an element has
    no basis."""
    functions = pl.element().replace_strict(FUNCTIONS, default=math.nan, return_dtype=pl.Float32)
    counted = numbers.to_frame("atoms").select(pl.col("atoms").list.eval(functions).list.sum())
    n_functions = counted.to_series().fill_nan(None)
    hours = {n: dft.seconds(int(n)) / 3600 for n in n_functions.unique().drop_nulls()}
    return n_functions.replace_strict(hours, default=None, return_dtype=pl.Float64)
