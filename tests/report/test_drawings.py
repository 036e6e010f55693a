"""The worst molecules: who they are, and that colours sit on the right atoms."""

import re

import numpy as np
from report_library import HOSTILE, conformer, library

from probe.conformers.molecules import in_geometry_order
from probe.report import drawings, screening


def geometry(smiles):
    row = conformer(smiles, "x", 1)
    return row["smiles"], row["numbers"], np.array(row["positions"]).reshape(-1, 3)


def elements(mol):
    return [atom.GetAtomicNum() for atom in mol.GetAtoms()]


def test_importance_of_hydrogens_goes_to_their_neighbour():
    smiles, numbers, positions = geometry("CO")  # C, O, three H on C, one H on O
    mol = in_geometry_order(smiles, numbers, positions)
    drawn, folded = drawings.heavy_importance(mol, np.array([0.1, 0.2, 0.1, 0.1, 0.1, 0.4]))
    assert elements(drawn) == [6, 8]
    np.testing.assert_allclose(folded, [0.4, 0.6])


def test_hydrogen_itself_keeps_its_own():
    smiles, numbers, positions = geometry("[H][H]")
    mol = in_geometry_order(smiles, numbers, positions)
    drawn, folded = drawings.heavy_importance(mol, np.array([0.25, 0.75]))
    assert elements(drawn) == [1, 1]
    np.testing.assert_allclose(folded, [0.25, 0.75])


def test_worst_come_first_and_each_molecule_once(tmp_path):
    made = library()
    for row in made.conformers[:30]:
        row["molecule_id"] = "the same"
    drawn = drawings.worst(screening.load(made.write(tmp_path)))
    assert len(drawn) == drawings.N_WORST
    assert drawn[0].name == HOSTILE
    assert [d.p for d in drawn] == sorted((d.p for d in drawn), reverse=True)
    assert [d.name for d in drawn].count("the same") == 1


def test_every_drawing_is_coloured_and_hides_nothing(tmp_path):
    for drawn in drawings.worst(screening.load(library().write(tmp_path))):
        assert drawn.note == ""
        assert 0 < drawn.top_share <= 1
        depths = set(re.findall(r"#ED6B0C([0-9A-F]{2})", drawn.svg))
        assert len(depths) > 1
        assert "#000000" not in drawn.svg


def worst_of_one(tmp_path, **changes):
    made = library(["CCO"])
    made.conformers[0] |= changes
    (drawn,) = drawings.worst(screening.load(made.write(tmp_path)))
    return drawn


def test_a_smiles_of_another_molecule_is_drawn_without_colours(tmp_path):
    drawn = worst_of_one(tmp_path, smiles="CCCC")
    assert "could not be matched" in drawn.note
    assert drawn.top_share is None
    assert drawn.svg is not None


def test_an_unreadable_smiles_is_not_drawn(tmp_path):
    drawn = worst_of_one(tmp_path, smiles="this is not one")
    assert drawn.svg is None
    assert drawn.note.startswith("Not drawn")


def test_a_geometry_without_smiles_is_drawn_with_colours(tmp_path):
    drawn = worst_of_one(tmp_path, smiles=None)
    assert drawn.note == ""
    assert drawn.top_share is not None


def test_importance_of_the_wrong_length_is_not_used(tmp_path):
    made = library(["CCO"])
    made.scores[0]["importance"] = [0.5, 0.5]
    (drawn,) = drawings.worst(screening.load(made.write(tmp_path)))
    assert "no importance" in drawn.note
    assert drawn.top_share is None
