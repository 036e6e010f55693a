"""Molecules of conformers: bonds and atoms in the order of the geometry."""

import numpy as np
import pytest
from report_library import conformer

from probe.conformers import molecules


def geometry(smiles):
    row = conformer(smiles, "x", 1)
    return row["smiles"], row["numbers"], np.array(row["positions"]).reshape(-1, 3)


def elements(mol):
    return [atom.GetAtomicNum() for atom in mol.GetAtoms()]


@pytest.mark.parametrize(
    "smiles",
    ["CCO", "[NH3+]CC(=O)[O-]", "CN1CCCC1c1cccnc1", "C[Si](C)(C)C", "[H][H]", "N#N", "[He]"],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_atoms_come_in_the_order_of_the_geometry(smiles, shuffled):
    smiles, numbers, positions = geometry(smiles)
    order = np.arange(len(numbers))
    if shuffled:
        order = np.random.default_rng(7).permutation(order)
    mol = molecules.in_geometry_order(smiles, [numbers[i] for i in order], positions[order])
    assert elements(mol) == [numbers[i] for i in order]
    for bond in mol.GetBonds():
        ends = positions[order][[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        assert np.linalg.norm(ends[0] - ends[1]) < 2.1


def test_the_order_of_rdkit_is_kept_where_it_fits():
    smiles, numbers, positions = geometry("c1ccccc1")
    mol = molecules.in_geometry_order(smiles, numbers, positions)
    assert [atom.GetIdx() for atom in mol.GetAtoms()] == list(range(12))
    assert mol.GetBondBetweenAtoms(0, 6) is not None  # first carbon, first hydrogen


@pytest.mark.parametrize("other", ["COC", "CCCO", "not a SMILES"])
def test_another_molecule_is_not_matched(other):
    _, numbers, positions = geometry("CCO")
    assert molecules.in_geometry_order(other, numbers, positions) is None


def test_bond_orders_come_from_the_geometry_where_they_are_clear():
    _, numbers, positions = geometry("C=O")
    mol = molecules.from_geometry(numbers, positions, 0)
    assert mol.GetBondBetweenAtoms(0, 1).GetBondTypeAsDouble() == 2.0
