"""Electrons of a conformer: total charge and multiplicity, and what a record states of them."""

import numpy as np
from rdkit import Chem

from probe.conformers.molecules import atomic_numbers, missing_hydrogens
from probe.library.parser import Record, Unusable

CHARGE_KEYS = ("charge", "total_charge", "net_charge")
MULTIPLICITY_KEYS = ("multiplicity", "spin_multiplicity", "mult", "spin")
"""Keys of XYZ info and Parquet columns that state charge and 2S + 1, in any letter case."""


def stated(record: Record, keys: tuple[str | None, ...]) -> int | None:
    """The whole number that the first of ``keys`` among the tags states; None if none does.

    Raises:
        Unusable: it states something else.
    """
    names = [key.casefold() for key in keys if key is not None]
    found = next((name for name in names if record.tags.get(name)), None)
    if found is None:
        return None
    text = record.tags[found]
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if number != np.rint(number) or abs(number) > 1000:
        raise Unusable(f"{found} is '{text[:40]}', not a whole number")
    return int(number)


def check_charge(tag: int | None, molecule: Chem.Mol) -> None:
    """Refuse a stated charge that is not the sum of the formal ones.

    Raises:
        Unusable: with both.
    """
    charge = Chem.GetFormalCharge(molecule)
    if tag not in (None, charge):
        raise Unusable(f"tag says {_signed(tag)}, formal charges sum to {_signed(charge)}")


def _signed(charge: int | None) -> str:
    return f"{charge:+d}" if charge else "0"


def check_parity(electrons: int, multiplicity: int) -> None:
    """Refuse a multiplicity that so many electrons cannot have.

    Raises:
        Unusable: in words for a chemist.
    """
    if electrons < 1:
        raise Unusable("no electrons are left with that charge")
    unpaired = multiplicity - 1
    if multiplicity < 1 or unpaired > electrons or (electrons - unpaired) % 2:
        noun = "electron" if electrons == 1 else "electrons"
        raise Unusable(f"{electrons} {noun} cannot have multiplicity {multiplicity}")


def count(molecule: Chem.Mol) -> int:
    """Electrons of ``molecule``, hydrogens that are not drawn included."""
    protons = sum(atomic_numbers(molecule)) + missing_hydrogens(molecule)
    return protons - Chem.GetFormalCharge(molecule)


def implied_multiplicity(molecule: Chem.Mol) -> tuple[int, str]:
    """2S + 1 with the unpaired electrons of ``molecule`` parallel, and a note if they need not be.

    Those of a carbene, which SMILES and SD files write as two on one atom, may be paired, too.
    """
    atoms = map(molecule.GetAtomWithIdx, range(molecule.GetNumAtoms()))
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in atoms)
    parallel = f"{unpaired} unpaired electrons taken as parallel: multiplicity {unpaired + 1}"
    return unpaired + 1, parallel if unpaired > 1 else ""
