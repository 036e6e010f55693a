"""RDKit molecules of conformers: bonds for atoms that a table holds without them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

BOND_SLACK = 1.3
"""A bond is at most this many times the sum of the covalent radii."""
MAX_BOND_ORDER_ITERATIONS = 200

RADII = np.array([Chem.GetPeriodicTable().GetRcovalent(number) for number in range(119)])
"""Covalent radius by atomic number, Å."""


def of_smiles(smiles: str) -> Chem.Mol | None:
    """The molecule that ``smiles`` writes, None if RDKit cannot read it."""
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


def atomic_numbers(molecule: Chem.Mol) -> list[int]:
    """Of its atoms, in their order. RDKit's own iterator takes twice as long."""
    atoms = range(molecule.GetNumAtoms())
    return [molecule.GetAtomWithIdx(index).GetAtomicNum() for index in atoms]


def missing_hydrogens(molecule: Chem.Mol) -> int:
    """How many of its hydrogens are no atoms of ``molecule``."""
    return int(molecule.GetNumAtoms(onlyExplicit=False)) - molecule.GetNumAtoms()


def in_geometry_order(
    smiles: str, numbers: list[int], positions: NDArray[np.float64]
) -> Chem.Mol | None:
    """The molecule of ``smiles`` with hydrogens, its atoms in the order of the geometry.

    Returns None if the SMILES is not the molecule of the geometry (``positions`` [N, 3], Å).
    The order that RDKit gives the SMILES is kept wherever its bonds fit the distances; otherwise
    the atoms are matched by element and connectivity.
    """
    mol = of_smiles(smiles)
    if mol is None:
        return None
    mol = Chem.AddHs(mol)
    written = atomic_numbers(mol)
    if written == numbers and _bonds_fit(mol, numbers, positions):
        return mol
    if sorted(written) != sorted(numbers):
        return None
    match = _skeleton(mol).GetSubstructMatch(_skeleton(connected(numbers, positions)))
    return Chem.RenumberAtoms(mol, list(match)) if match else None


def from_geometry(numbers: list[int], positions: NDArray[np.float64], charge: int) -> Chem.Mol:
    """A molecule for a geometry without SMILES: bond orders if RDKit finds them, else bonds."""
    mol = connected(numbers, positions)
    ordered = Chem.Mol(mol)
    try:
        rdDetermineBonds.DetermineBondOrders(
            ordered, charge=charge, maxIterations=MAX_BOND_ORDER_ITERATIONS
        )
    except (ValueError, RuntimeError):
        return mol
    return ordered


def connected(numbers: Sequence[int], positions: NDArray[np.float64]) -> Chem.Mol:
    """Atoms and single bonds from the distances of a geometry; ``positions`` are [N, 3], Å."""
    molecule = Chem.RWMol()
    for number in numbers:
        molecule.AddAtom(Chem.Atom(int(number)))
    geometry = Chem.Conformer(len(numbers))
    geometry.SetPositions(positions)
    molecule.AddConformer(geometry)
    rdDetermineBonds.DetermineConnectivity(molecule)
    return molecule.GetMol()


def _bonds_fit(mol: Chem.Mol, numbers: list[int], positions: NDArray[np.float64]) -> bool:
    """Whether every bond of ``mol`` is about a bond length long in ``positions``."""
    first, second = np.nonzero(Chem.GetAdjacencyMatrix(mol))
    radii = RADII[numbers]
    lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
    return bool((lengths <= BOND_SLACK * (radii[first] + radii[second])).all())


def _skeleton(mol: Chem.Mol) -> Chem.Mol:
    """``mol`` reduced to elements and single bonds, so that two of them can be matched."""
    bare = Chem.RWMol()
    for atom in mol.GetAtoms():
        bare.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    for bond in mol.GetBonds():
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    return bare.GetMol()
