"""Sketches: the drawing that the page makes of a molecule."""

import numpy as np
import pytest
from rdkit import Chem
from report_library import conformer

from probe.report import sketches
from probe.report.sketches import DOUBLE, HASHED, LEFT, RIGHT, SINGLE, TRIPLE, WEDGE


def drawn(smiles, importance=None):
    row = conformer(smiles, "x", 1)
    if importance is None:
        importance = np.full(row["n_atoms"], 1 / row["n_atoms"])
    return sketches.sketch(row["smiles"], row, {"importance": importance})


def kinds(sketch):
    return sorted(sketch[2][2::3])


def test_a_chain_is_places_and_bonds_without_labels():
    flat, labels, bonds, shares, _ = drawn("CCC")
    places = np.array(flat).reshape(-1, 2)
    assert len(places) == 3
    lengths = np.linalg.norm(places[np.array(bonds[0::3])] - places[np.array(bonds[1::3])], axis=1)
    np.testing.assert_allclose(lengths, 1.5 * sketches.UNIT, rtol=0.05)
    assert labels == []
    assert max(shares) == 100


@pytest.mark.parametrize(
    ("smiles", "label"),
    [
        ("C[NH3+]", ["N", 3, 1]),
        ("CC(=O)[O-]", ["O", 0, -1]),
        ("CO", ["O", 1, 0]),
        ("C", ["C", 4, 0]),
    ],
)
def test_labels_say_hydrogens_and_charge(smiles, label):
    assert label in [entry[1:] for entry in drawn(smiles)[1]]


def test_kinds_of_bonds():
    assert kinds(drawn("CC#N")) == [SINGLE, TRIPLE]
    assert kinds(drawn("CC=O")) == [SINGLE, DOUBLE]
    stereo = kinds(drawn("C[C@H](N)C(=O)O"))
    assert WEDGE in stereo or HASHED in stereo


def test_double_bonds_of_a_ring_have_their_second_line_inside():
    flat, _, bonds, _, _ = drawn("c1ccccc1")
    places = np.array(flat).reshape(-1, 2)
    centre = places.mean(axis=0)
    sides = [bonds[i : i + 3] for i in range(0, len(bonds), 3) if bonds[i + 2] in (LEFT, RIGHT)]
    assert len(sides) == 3
    for first, second, kind in sides:
        along, inside = places[second] - places[first], centre - places[first]
        turn = along[0] * inside[1] - along[1] * inside[0]
        assert kind == (RIGHT if turn > 0 else LEFT)  # the page draws RIGHT where the turn is > 0


def test_importance_of_hydrogens_counts_with_their_neighbour():
    row = conformer("CO", "x", 1)
    importance = np.zeros(row["n_atoms"])
    hydrogens = [i for i, number in enumerate(row["numbers"]) if number == 1]
    importance[hydrogens] = 0.25
    _, labels, _, shares, top = sketches.sketch(row["smiles"], row, {"importance": importance})
    oxygen = labels[0][0]
    assert top == pytest.approx(0.75)  # the methyl group
    assert shares[oxygen] == 33
    assert shares[1 - oxygen] == 100


def test_without_importance_nothing_is_coloured():
    row = conformer("CO", "x", 1)
    assert sketches.sketch(row["smiles"], row, {"importance": None})[3:] == (None, None)


def test_a_geometry_without_smiles_is_drawn_and_an_unreadable_smiles_is_not():
    row = conformer("c1ccccc1", "x", 1)
    importance = {"importance": np.full(12, 1 / 12)}
    assert len(sketches.sketch("", row, importance)[0]) == 12
    assert sketches.sketch("C1CC", row, importance) is None
    assert Chem.MolFromSmiles("C1CC") is None
