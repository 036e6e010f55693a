"""The SD file: whoever reads it finds the conformers as they are, and nothing else."""

import numpy as np
import polars as pl
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from probe.library import plan, texts
from probe.triage import sdf

NAMES = ("a\nb", "$$$$", "a\n$$$$\nb", "> <x>", ">  <charge>\n9\n\n", "M  END", "a\r\nb\x0bc\x00d")


def embedded(smiles, **values):
    """A conformer of ``smiles`` with coordinates as ingest rounds them."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    charge = Chem.GetFormalCharge(mol)
    return row(numbers, mol.GetConformer().GetPositions(), smiles=smiles, charge=charge, **values)


def row(numbers, positions, **values):
    return {
        "conformer_id": "0123456789abcdef",
        "molecule_id": "name",
        "source": "lib.smi:1",
        "smiles": "",
        "charge": 0,
        "multiplicity": 1,
        "p_unreliable": 0.875,
        "reason": "p_unreliable 0.875 at least 0.6",
        "numbers": list(numbers),
        "positions": np.round(np.asarray(positions, dtype=float), 4).ravel().tolist(),
    } | values


@pytest.fixture
def written(tmp_path):
    """Writes rows, and reads them back as RDKit does by default, hydrogens kept."""

    def through(*rows):
        path = tmp_path / "out.sdf"
        types = {"molecule_id": pl.String, "smiles": pl.String, "p_unreliable": pl.Float64}
        sdf.write(pl.DataFrame(list(rows), schema_overrides=types), path)
        return list(Chem.SDMolSupplier(str(path), removeHs=False))

    return through


def numbers_of(mol):
    return [atom.GetAtomicNum() for atom in mol.GetAtoms()]


def positions_of(mol):
    return mol.GetConformer().GetPositions()


@pytest.mark.parametrize(
    "smiles",
    ["CCO", "c1ccncc1", "C[NH3+]", "CC(=O)[O-]", "[NH3+]CC(=O)[O-]", "C[N+](=O)[O-]", "N#Cc1ccsc1"],
)
def test_a_conformer_comes_back_as_it_went(written, smiles):
    given = embedded(smiles)
    (mol,) = written(given)
    assert numbers_of(mol) == given["numbers"]
    assert np.abs(positions_of(mol).ravel() - given["positions"]).max() <= 1e-4
    assert Chem.GetFormalCharge(mol) == given["charge"]
    assert mol.GetProp("_Name") == "name"
    assert {name: mol.GetProp(name) for name in mol.GetPropNames()} == {
        "conformer_id": "0123456789abcdef",
        "charge": str(given["charge"]),
        "multiplicity": "1",
        "p_unreliable": "0.875",
        "reason": "p_unreliable 0.875 at least 0.6",
        "smiles": smiles,
        "source": "lib.smi:1",
    }


@pytest.mark.parametrize("smiles", ["CC(=O)Oc1ccccc1C(=O)O", "C=CC#N", "[NH3+]CC(=O)[O-]"])
def test_its_bonds_are_those_of_the_smiles(written, smiles):
    (mol,) = written(embedded(smiles))
    assert Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol))) == Chem.CanonSmiles(smiles)


def test_its_bonds_follow_atoms_in_another_order(written):
    given = embedded("CC(=O)Nc1ccc(O)cc1")
    order = np.random.default_rng(0).permutation(len(given["numbers"]))
    numbers = [given["numbers"][i] for i in order]
    positions = np.reshape(given["positions"], (-1, 3))[order]
    (mol,) = written(row(numbers, positions, smiles=given["smiles"]))
    assert numbers_of(mol) == numbers
    assert np.abs(positions_of(mol) - positions).max() <= 1e-4
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(given["smiles"])


def test_without_a_smiles_bonds_come_from_the_distances(written):
    given = embedded("C=CC#N") | {"smiles": None}
    (mol,) = written(given)
    assert not mol.HasProp("smiles")
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles("C=CC#N")


@pytest.mark.parametrize("smiles", ["", None, "not a smiles(", "CCCC"])
def test_a_smiles_that_does_not_fit_takes_no_coordinates_away(written, smiles):
    ethanol = embedded("CCO")
    (mol,) = written(ethanol | {"smiles": smiles})
    assert numbers_of(mol) == ethanol["numbers"]
    assert np.abs(positions_of(mol).ravel() - ethanol["positions"]).max() <= 1e-4


def test_a_radical_keeps_its_multiplicity(written):
    (mol,) = written(embedded("C[CH2]", multiplicity=2))
    assert mol.GetProp("multiplicity") == "2"
    assert sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()) == 1


def test_without_p_there_is_no_p(written):
    with_p, without = written(embedded("CCO"), embedded("CCO", p_unreliable=None))
    assert with_p.HasProp("p_unreliable")
    assert not without.HasProp("p_unreliable")
    assert without.GetProp("charge") == "0"


METALS = {
    "an iron atom": row([26], [[0, 0, 0]], smiles="[Fe]"),
    "a salt": row([11, 17], [[0, 0, 0], [2.5, 0, 0]], smiles="[Na+].[Cl-]"),
    "a bare salt": row([11, 17], [[0, 0, 0], [2.5, 0, 0]]),
    "hexammine cobalt, of distances alone": row(
        [27] + [7, 1, 1, 1] * 6,
        [[0, 0, 0]]
        + [
            np.roll([sign * x, y, z], axis).tolist()
            for axis in range(3)
            for sign in (1, -1)
            for x, y, z in (
                (1.97, 0, 0),
                (2.35, 0.94, 0),
                (2.35, -0.47, 0.81),
                (2.35, -0.47, -0.81),
            )
        ],
        charge=3,
    ),
}


@pytest.mark.parametrize("given", METALS.values(), ids=METALS.keys())
def test_metals(written, given):
    (mol,) = written(given)
    assert numbers_of(mol) == given["numbers"]
    assert np.abs(positions_of(mol).ravel() - given["positions"]).max() <= 1e-4
    assert mol.GetProp("charge") == str(given["charge"])


def test_atoms_too_near_for_their_valences_are_written_without_bonds(written):
    crowded = row([6] * 5 + [1] * 5, np.random.default_rng(0).random((10, 3)))
    (mol,) = written(crowded)
    assert numbers_of(mol) == crowded["numbers"]
    assert mol.GetNumBonds() == 0


class TestStrangersText:
    @pytest.mark.parametrize("text", NAMES)
    @pytest.mark.parametrize("field", ["molecule_id", "source", "reason", "smiles"])
    def test_it_cannot_break_the_records(self, written, tmp_path, field, text):
        given = embedded("CCO")
        rows = (given, given | {field: text}, given)
        mols = written(*rows)
        assert [numbers_of(mol) for mol in mols] == [given["numbers"]] * 3
        assert [mol.GetProp("charge") for mol in mols] == ["0"] * 3
        assert {tuple(mol.GetPropNames()) for mol in mols} == {tuple(mols[0].GetPropNames())}
        lines = (tmp_path / "out.sdf").read_text().split("\n")
        assert sum(line.startswith("$$$$") for line in lines) == 3

    @pytest.mark.parametrize("text", NAMES)
    def test_nor_for_this_projects_own_reader(self, written, tmp_path, text):
        given = embedded("CCO")
        written(given | {"molecule_id": text}, given)
        path = tmp_path / "out.sdf"
        assert len(list(texts.texts(path))) == 2
        assert plan.current("again", path, 10, tmp_path / "plan.json").n_records == 2

    @pytest.mark.parametrize("text", ["Ömeprazol «漢字»", 'it\'s "so" & <b>bold</b>', "a\\b/c\t;,"])
    def test_what_breaks_nothing_is_kept(self, written, text):
        (mol,) = written(embedded("CCO", molecule_id=text, source=text))
        assert mol.GetProp("_Name") == mol.GetProp("source") == " ".join(text.split())

    def test_no_name_is_an_empty_title(self, written):
        mols = written(embedded("CCO", molecule_id=None), embedded("CCO", molecule_id=""))
        assert [mol.GetProp("_Name") for mol in mols] == ["", ""]


def test_rows_keep_their_order(written):
    rows = [embedded("CCO", conformer_id=f"{index}") for index in (3, 1, 2)]
    assert [mol.GetProp("conformer_id") for mol in written(*rows)] == ["3", "1", "2"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.sdf"
    path.write_text("old")
    broken = embedded("CCO") | {"positions": [0.0, 0.0]}
    with pytest.raises(ValueError, match="reshape"):
        sdf.write(pl.DataFrame([embedded("CCO"), broken]), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
