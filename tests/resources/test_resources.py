"""What is shipped under resources/ is what its READMEs say."""

import hashlib
import io
import re
from collections import defaultdict

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors
from repository import ROOT

from probe import schemas, tables
from probe.classifier import labels

RESOURCES = ROOT / "resources"
CALIBRATION = RESOURCES / "calibration/b973c.parquet"
HARTREE_EV = 27.211386245988


@pytest.fixture(scope="module")
def calibration():
    return tables.open_parquet(CALIBRATION).read().to_pylist()


@pytest.fixture(scope="module")
def drugs():
    return tables.open_parquet(RESOURCES / "calibration/b973c-drugs.parquet").read().to_pylist()


@pytest.fixture(scope="module")
def rare():
    return tables.open_parquet(RESOURCES / "rare-elements/b973c.parquet").read().to_pylist()


def is_reserved(smiles):
    return int(hashlib.sha256(smiles.encode()).hexdigest()[:8], 16) % 5 == 0


def test_the_calibration_set_has_the_columns_of_labels():
    table = tables.read(CALIBRATION, schemas.LABELS)
    assert all(column.null_count == 0 for column in table.columns)


def test_no_reserved_molecule_is_in_the_calibration_set(calibration):
    assert not [row["smiles"] for row in calibration if is_reserved(row["smiles"])]


def test_smiles_of_the_calibration_set_are_canonical_and_each_conformer_is_there_once(calibration):
    smiles = [row["smiles"] for row in calibration]
    assert [Chem.CanonSmiles(text) for text in smiles] == smiles
    ids = labels.read(CALIBRATION).conformer_ids
    assert len(set(ids)) == len(ids)


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
        assert distance[np.triu_indices(len(distance), 1)].min() > 0.7, row["smiles"]


def test_the_drugs_are_sixty_large_molecules_that_nothing_was_fitted_to(calibration, drugs):
    smiles = {row["smiles"] for row in drugs}
    assert len(smiles) == len(drugs) == 60
    assert not smiles & {row["smiles"] for row in calibration}
    heavy = [sum(number > 1 for number in row["numbers"]) for row in drugs]
    assert (min(heavy), max(heavy)) == (18, 30)
    assert not [text for text in smiles if is_reserved(text)]


def test_the_molecules_rich_in_rare_elements_are_new_and_as_told(calibration, rare):
    lines = (RESOURCES / "rare-elements/molecules.smi").read_text().splitlines()
    smiles = [line.split()[0] for line in lines]
    assert [row["smiles"] for row in rare] == [Chem.CanonSmiles(text) for text in smiles]
    assert len(set(smiles)) == 150
    assert not {*smiles} & {row["smiles"] for row in calibration}
    assert not [text for text in smiles if is_reserved(text)]
    heavy = [sum(number > 1 for number in row["numbers"]) for row in rare]
    assert (min(heavy), max(heavy), sum(n > 10 for n in heavy)) == (7, 12, 78)
    held = [sum(z in row["numbers"] for row in rare) for z in (34, 5, 35, 9, 53, 17)]
    assert held == [25, 25, 24, 23, 20, 14]
    assert sum(":natural" in line for line in lines) == 68
    assert all(row["converged"] and row["charge"] == 0 for row in rare)
    assert sum(row["dft_seconds"] for row in rare) / 3600 == pytest.approx(0.94, abs=0.005)


@pytest.mark.parametrize("which", ["calibration", "drugs", "rare"])
def test_energies_of_the_calibration_set_are_the_sum_of_their_parts(which, request):
    calibration = request.getfixturevalue(which)
    energy = np.array([row["energy_ev"] for row in calibration])
    parts = [[row[f"e_{part}_hartree"] for part in ("scf", "d3", "srb")] for row in calibration]
    assert np.isfinite(energy).all()
    np.testing.assert_allclose(np.sum(parts, axis=1) * HARTREE_EV, energy, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def card():
    return (RESOURCES / "calibration/card.md").read_text()


def counted(card, title):
    """Conformers and molecules of each row of the card's table of this title."""
    table = re.search(rf"^\| {title} \| conformers \| molecules \|\n.*\n((?:\|.*\n)+)", card, re.M)
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table[1].splitlines()]
    return {name: (int(conformers), int(molecules)) for name, conformers, molecules in rows}


def tally(calibration, kinds_of):
    """Conformers and molecules of each of the kinds that a row is of."""
    smiles = defaultdict(list)
    for row in calibration:
        for kind in kinds_of(row):
            smiles[kind].append(row["smiles"])
    return {kind: (len(found), len(set(found))) for kind, found in smiles.items()}


def elements(row):
    return {Chem.GetPeriodicTable().GetElementSymbol(number) for number in row["numbers"]}


def test_the_data_card_is_that_of_the_calibration_set(card, calibration):
    assert f"`{hashlib.sha256(CALIBRATION.read_bytes()).hexdigest()}`" in card
    molecules = len({row["smiles"] for row in calibration})
    assert f"{len(calibration)} conformers of {molecules} molecules" in card


@pytest.mark.parametrize(
    ("title", "kinds_of"),
    [
        ("source", lambda row: [re.sub("^sub-.*", "sub-<group>", row["source"])]),
        ("geometry", lambda row: [row["geometry"]]),
        ("charge", lambda row: [f"{row['charge']:+d}".replace("+0", "0")]),
        ("element", elements),
    ],
)
def test_the_data_card_counts_what_is_in_the_calibration_set(card, calibration, title, kinds_of):
    assert counted(card, title) == tally(calibration, kinds_of)


def test_the_data_card_counts_the_large_molecules(card, calibration):
    heavy = [sum(number > 1 for number in row["numbers"]) for row in calibration]
    rows = counted(card, "heavy atoms")
    large = sum(rows[name][0] for name in ("18 to 30", "31 to 1000") if name in rows)
    assert large == sum(count >= 18 for count in heavy)
    assert sum(conformers for conformers, _ in rows.values()) == len(calibration)


DAMAGED_SMILES = {
    "pentamethylamine",
    "choline-charge-lost",
    "acetaminophen-ring-open",
    "aspirin-cut-off",
    "indole-hydrogen-lost",
    "phenyl-attachment-point",
    "not-available",
    "element-misspelt",
}
DAMAGED_BLOCKS = {
    "theophylline-cut-off",
    "not-found",
    "acetylcholine-charge-lost",
    "isoniazid-hydrogens-lost",
    "no-structure",
    "ethosuximide-flat",
}


def largest(molecule):
    """The fragment with the most heavy atoms, hydrogens included."""
    pieces = Chem.GetMolFrags(molecule, asMols=True)
    return Chem.AddHs(max(pieces, key=lambda piece: piece.GetNumHeavyAtoms()))


@pytest.fixture(scope="module")
def demo_lines():
    lines = (RESOURCES / "demo/demo.smi").read_text().splitlines()
    return [line.split(" ") for line in lines]


@pytest.fixture(scope="module")
def demo(demo_lines):
    """Name and largest fragment of every whole record."""
    return [
        (name, largest(Chem.MolFromSmiles(smiles)))
        for smiles, name in demo_lines
        if name not in DAMAGED_SMILES
    ]


@pytest.fixture(scope="module")
def demo_blocks():
    return (RESOURCES / "demo/demo-3d.sdf").read_text().split("$$$$\n")


def test_the_demo_has_308_records_of_which_8_are_damaged(demo_lines, demo):
    assert len(demo_lines) == 308
    assert len(demo) == 300
    assert {name for _, name in demo_lines} >= DAMAGED_SMILES


def test_no_damaged_smiles_of_the_demo_is_a_molecule(demo_lines):
    damaged = [smiles for smiles, name in demo_lines if name in DAMAGED_SMILES]
    with rdBase.BlockLogs():
        assert [Chem.MolFromSmiles(text) for text in damaged if "*" not in text] == [None] * 7


def test_most_of_the_demo_is_new_to_the_calibration_set(demo, calibration):
    smiles = {Chem.MolToSmiles(Chem.RemoveHs(molecule)) for _, molecule in demo}
    assert len(smiles) == 292
    assert len(smiles & {row["smiles"] for row in calibration}) < len(smiles) / 6


def test_two_thirds_of_the_demo_are_within_the_size_of_the_calibration_set(demo, calibration):
    atoms = max(len(row["numbers"]) for row in calibration)
    heavy = max(sum(number > 1 for number in row["numbers"]) for row in calibration)
    assert (atoms, heavy) == (30, 13)
    within = [
        name
        for name, molecule in demo
        if molecule.GetNumAtoms() <= atoms and molecule.GetNumHeavyAtoms() <= heavy
    ]
    assert len(within) == 206
    assert max(molecule.GetNumHeavyAtoms() for _, molecule in demo) == 57


def test_the_demo_has_every_element_of_the_backbone_and_three_others(demo):
    elements = {atom.GetSymbol() for _, molecule in demo for atom in molecule.GetAtoms()}
    known = {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "I"}
    assert elements == known | {"Pt", "Hg", "Xe"}


def test_charges_radicals_and_open_stereocentres_of_the_demo_are_as_told(demo, demo_lines):
    charges = [Chem.GetFormalCharge(molecule) for _, molecule in demo]
    assert [charges.count(charge) for charge in (-2, -1, 0, 1)] == [1, 11, 272, 16]
    radicals = [name for name, molecule in demo if Descriptors.NumRadicalElectrons(molecule)]
    assert sorted(radicals) == ["nitric-oxide", "tempo"]
    assert sum("." in smiles for smiles, _ in demo_lines) == 24
    centres = [
        Chem.FindMolChiralCenters(molecule, includeUnassigned=True, useLegacyImplementation=False)
        for _, molecule in demo
    ]
    assert sum("?" in {label for _, label in found} for found in centres) == 50


def test_the_3d_demo_has_48_records_of_which_6_are_damaged(demo_blocks):
    titles = [block.partition("\n")[0] for block in demo_blocks]
    assert titles.pop() == ""
    assert len(titles) == 48
    assert set(titles) >= DAMAGED_BLOCKS
    whole = [title for title in titles if title not in DAMAGED_BLOCKS]
    assert (len(whole), len(set(whole))) == (42, 32)


def test_whole_records_of_the_3d_demo_have_their_hydrogens_and_the_charge_they_state(demo_blocks):
    stated = 0
    for block in demo_blocks[:-1]:
        if block.partition("\n")[0] in DAMAGED_BLOCKS:
            continue
        molecule = next(Chem.ForwardSDMolSupplier(io.BytesIO(block.encode()), removeHs=False))
        assert molecule.GetConformer().Is3D()
        assert Chem.AddHs(molecule).GetNumAtoms() == molecule.GetNumAtoms()
        if molecule.HasProp("charge"):
            assert int(molecule.GetProp("charge")) == Chem.GetFormalCharge(molecule)
            stated += 1
    assert stated == 4
