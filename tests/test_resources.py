"""What is shipped under resources/ is what its READMEs say."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from probe import tables

RESOURCES = Path(__file__).parents[1] / "resources"
HARTREE_EV = 27.211386245988


@pytest.fixture(scope="module")
def calibration():
    return tables.open_parquet(RESOURCES / "calibration/b973c.parquet").read().to_pylist()


def is_reserved(smiles):
    return int(hashlib.sha256(smiles.encode()).hexdigest()[:8], 16) % 5 == 0


def test_the_calibration_set_has_the_columns_of_labels():
    table = tables.read(RESOURCES / "calibration/b973c.parquet", tables.LABELS)
    assert table.num_rows == 618
    assert all(column.null_count == 0 for column in table.columns)


def test_no_reserved_molecule_is_in_the_calibration_set(calibration):
    assert not [row["smiles"] for row in calibration if is_reserved(row["smiles"])]


def test_smiles_of_the_calibration_set_are_canonical_and_each_is_there_once(calibration):
    smiles = [row["smiles"] for row in calibration]
    assert [Chem.CanonSmiles(text) for text in smiles] == smiles
    assert len(set(smiles)) == len(smiles)


def test_atoms_and_charge_of_the_calibration_set_are_those_of_its_smiles(calibration):
    for row in calibration:
        molecule = Chem.AddHs(Chem.MolFromSmiles(row["smiles"]))
        assert row["numbers"] == [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        assert row["charge"] == Chem.GetFormalCharge(molecule), row["smiles"]


def test_every_row_of_the_calibration_set_has_an_even_number_of_electrons(calibration):
    assert all((sum(row["numbers"]) - row["charge"]) % 2 == 0 for row in calibration)


def test_coordinates_of_the_calibration_set_are_finite_and_no_atoms_overlap(calibration):
    for row in calibration:
        positions = np.array(row["positions"])
        assert positions.shape == (3 * len(row["numbers"]),), row["smiles"]
        assert np.isfinite(positions).all(), row["smiles"]
        apart = positions.reshape(-1, 1, 3) - positions.reshape(1, -1, 3)
        distance = np.linalg.norm(apart, axis=-1)
        assert distance[np.triu_indices(len(distance), 1)].min() > 0.88, row["smiles"]


def test_energies_of_the_calibration_set_are_the_sum_of_their_parts(calibration):
    energy = np.array([row["energy_ev"] for row in calibration])
    parts = [[row[f"e_{part}_hartree"] for part in ("scf", "d3", "srb")] for row in calibration]
    assert np.isfinite(energy).all()
    np.testing.assert_allclose(np.sum(parts, axis=1) * HARTREE_EV, energy, rtol=0, atol=1e-9)
