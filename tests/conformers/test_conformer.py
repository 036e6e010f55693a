from dataclasses import asdict

import numpy as np
import pytest
import yaml
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom
from repository import ROOT

from probe import schemas
from probe.conformers.conformer import Options, conformer, conformer_id, rounded
from probe.library.parser import Atoms, Record, Reject

WATER = [[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]


def drawn(smiles, **tags):
    return Record("lib.smi:1", "mol", Chem.MolFromSmiles(smiles), tags)


def in_space(smiles, **tags):
    """An SDF record with all hydrogens and three-dimensional coordinates."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    return Record("lib.sdf:1", "mol", molecule, tags)


def flat(smiles):
    """An SDF record that is a drawing."""
    molecule = Chem.MolFromSmiles(smiles)
    rdDepictor.Compute2DCoords(molecule)
    return Record("lib.sdf:1", "mol", molecule)


def atoms(numbers, positions, stated="", **tags):
    found = Atoms(np.array(numbers), np.array(positions, dtype=float), stated)
    return Record("lib.xyz:1", "mol", found, tags)


def water(**tags):
    return atoms([8, 1, 1], WATER, **tags)


def from_space(smiles, **tags):
    """Atoms without bonds, as of an XYZ file."""
    molecule = in_space(smiles).molecule
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return atoms(numbers, molecule.GetConformer().GetPositions(), **tags)


def row(record, **options):
    found = conformer(record, Options(**options))
    assert isinstance(found, dict), found
    assert list(found) == schemas.CONFORMERS.names
    return found


def reason(record, **options):
    found = conformer(record, Options(**options))
    assert isinstance(found, Reject), found
    assert (found.source, found.name) == (record.source, record.name)
    return found.reason


def test_the_configuration_states_the_default_options():
    path = ROOT / "config" / "config.yaml"
    assert yaml.safe_load(path.read_text())["ingest"] == asdict(Options())


def test_the_id_of_water_is_this_one_on_every_machine():
    # sha256 of int64 (3, 0, 1), uint8 (8, 1, 1) and int64 (0, 0, 1173, 0, 7572, -4692, ...).
    assert conformer_id([8, 1, 1], WATER, 0, 1) == "fd06100e52aba77d18117090e22dfd80"


@pytest.mark.parametrize(
    ("numbers", "positions", "charge", "multiplicity", "same"),
    [
        ([8, 1, 1], np.array(WATER).ravel(), 0, 1, True),
        ([8, 1, 1], np.array(WATER) + 4e-5, 0, 1, True),
        ([8, 1, 1], [[-0.0, 0.0, 0.1173], *WATER[1:]], 0, 1, True),
        (np.array([8, 1, 1], dtype=np.int32), WATER, 0, 1, True),
        ([8, 1, 1], np.array(WATER) + 6e-5, 0, 1, False),
        ([8, 1, 1], WATER, 1, 1, False),
        ([8, 1, 1], WATER, 0, 3, False),
        ([9, 1, 1], WATER, 0, 1, False),
        ([8, 1, 1], [WATER[0], WATER[2], WATER[1]], 0, 1, False),
    ],
)
def test_the_id_is_of_the_content(numbers, positions, charge, multiplicity, same):
    found = conformer_id(numbers, positions, charge, multiplicity)
    assert (found == "fd06100e52aba77d18117090e22dfd80") is same


def test_rounding_twice_is_rounding_once_and_leaves_no_negative_zero():
    positions = np.random.default_rng(0).normal(scale=20, size=3000)
    once = rounded(positions)
    assert np.abs(once - positions).max() <= 5.001e-5
    assert rounded(once).tolist() == once.tolist()
    assert not np.signbit(rounded([-0.0, -4e-5])).any()


def test_an_id_needs_three_coordinates_an_atom():
    with pytest.raises(ValueError, match="2 atoms need 6 coordinates"):
        conformer_id([1, 1], [0.0] * 5, 0, 1)


def test_a_smiles_becomes_a_row():
    found = row(drawn("OCC"))
    assert found["numbers"] == [6, 6, 8, 1, 1, 1, 1, 1, 1]
    assert (found["smiles"], found["n_atoms"]) == ("CCO", 9)
    assert (found["charge"], found["multiplicity"]) == (0, 1)
    assert (found["molecule_id"], found["source"], found["note"]) == ("mol", "lib.smi:1", "")
    assert found["positions"] == rounded(found["positions"]).tolist()
    assert found["conformer_id"] == conformer_id(found["numbers"], found["positions"], 0, 1)


def test_coordinates_in_space_are_kept_as_given():
    record = in_space("C[C@H](O)F")
    given = record.molecule.GetConformer().GetPositions()
    found = row(record)
    assert np.abs(np.array(found["positions"]).reshape(-1, 3) - given).max() <= 5.001e-5
    assert (found["smiles"], found["note"]) == ("C[C@H](O)F", "")


def test_a_record_in_space_without_its_hydrogens_is_refused():
    record = in_space("CC(C)(C)O")
    bare = Chem.RemoveHs(record.molecule)
    assert reason(Record(record.source, "mol", bare)).startswith(
        "3D record that lacks 10 of its hydrogens"
    )


def test_flat_records_go_by_the_options():
    assert row(flat("CCO")) == {**row(drawn("CCO")), "source": "lib.sdf:1"}
    assert "flat_records" in reason(flat("CCO"), flat_records="reject")
    assert row(drawn("CCO"), flat_records="reject")["n_atoms"] == 9


def test_a_drawing_marked_as_3d_is_flat_but_a_planar_molecule_is_not():
    drawing = flat("c1ccccc1")
    drawing.molecule.GetConformer().Set3D(True)
    assert "flat_records" in reason(drawing, flat_records="reject")
    ethylene = in_space("C=C")
    plane = [(0, 0.67), (0, -0.67), (0.92, 1.24), (-0.92, 1.24), (0.92, -1.24), (-0.92, -1.24)]
    positions = np.array([(x, y, 0.0) for x, y in plane])
    ethylene.molecule.GetConformer().SetPositions(positions)
    assert row(ethylene, flat_records="reject")["positions"] == positions.ravel().tolist()


def test_a_planar_molecule_is_kept_whether_its_header_says_3d_or_not():
    formaldehyde = in_space("C=O")
    positions = np.array([[0, 0, 0], [1.3, 0, 0], [-0.55, 0.95, 0], [-0.55, -0.95, 0]])
    formaldehyde.molecule.GetConformer().SetPositions(positions)
    formaldehyde.molecule.GetConformer().Set3D(False)
    assert row(formaldehyde, flat_records="reject")["positions"] == positions.ravel().tolist()


@pytest.mark.parametrize("length", [1.0, 1.5])
def test_a_drawing_that_shows_its_hydrogens_is_flat(length):
    drawing = Chem.AddHs(Chem.MolFromSmiles("C=O"))
    rdDepictor.Compute2DCoords(drawing, bondLength=length)
    record = Record("lib.sdf:1", "mol", drawing)
    assert "flat_records" in reason(record, flat_records="reject")


def test_a_stated_smiles_of_another_isomer_is_not_believed():
    ether = from_space("COC")
    numbers, positions = ether.molecule.numbers, ether.molecule.positions
    found = row(atoms(numbers, positions, "CCO"))
    assert (found["smiles"], found["note"]) == ("COC", "stated SMILES CCO is another isomer")
    assert row(atoms(numbers, positions, "COC"))["note"] == ""


def test_a_record_without_bonds_is_read_as_an_xyz_file_would_be():
    diborane = [[0.88, 0, 0], [-0.88, 0, 0], [0, 0, 0.98], [0, 0, -0.98]]
    diborane += [[x, y, 0] for x in (1.46, -1.46) for y in (1.03, -1.03)]
    molecule = Chem.RWMol()
    for number in (5, 5, *[1] * 6):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    space = Chem.Conformer(8)
    space.SetPositions(np.array(diborane, dtype=float))
    space.Set3D(True)
    molecule.AddConformer(space)
    molecule.UpdatePropertyCache()
    found = row(Record("lib.sdf:1", "mol", molecule.GetMol(), {"charge": "0"}))
    told = row(atoms([5, 5, *[1] * 6], diborane))
    assert found == {**told, "source": "lib.sdf:1"}
    assert (found["n_atoms"], found["multiplicity"]) == (8, 1)


@pytest.mark.parametrize("record", [drawn, flat, in_space])
def test_the_largest_fragment_of_a_salt_is_kept_and_the_rest_is_said(record):
    found = row(record("[Na+].CC(=O)[O-].O"))
    assert (found["smiles"], found["charge"], found["n_atoms"]) == ("CC(=O)[O-]", -1, 7)
    assert found["note"] == "largest of 3 molecules kept, O.[Na+] removed"


def test_the_largest_fragment_keeps_its_coordinates():
    record = in_space("[Cl-].C[NH3+]")
    given = record.molecule.GetConformer().GetPositions()[[1, 2, 3, 4, 5, 6, 7, 8]]
    found = row(record)
    assert found["positions"] == rounded(given).ravel().tolist()


def test_fragments_of_one_size_are_ranked_by_their_smiles():
    for smiles in ("CCO.CCN", "CCN.CCO"):
        assert row(drawn(smiles))["smiles"] == "CCN"


def test_mixtures_are_kept_or_rejected_by_the_options():
    kept = row(drawn("[Na+].CC(=O)[O-]"), mixtures="keep")
    assert (kept["smiles"], kept["charge"], kept["n_atoms"]) == ("CC(=O)[O-].[Na+]", 0, 8)
    assert reason(drawn("O.CC"), mixtures="reject").startswith("mixture of 2 molecules")
    assert row(drawn("CC"), mixtures="reject")["smiles"] == "CC"


def test_the_note_tells_all_that_was_done():
    assert row(drawn("Cl.CC(O)[Se]C"))["note"] == (
        "largest of 2 molecules kept, Cl removed; stereochemistry left open: C[Se][C@@H](C)O "
        "embedded, one of 2 isomers; no MMFF94 parameters: UFF used"
    )


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"),
    [("C[NH3+]", 1, 1), ("[O-]C(=O)C(=O)[O-]", -2, 1), ("[CH3]", 0, 2), ("[2H]C", 0, 1)],
)
def test_charge_and_multiplicity_come_from_the_structure(smiles, charge, multiplicity):
    found = row(drawn(smiles))
    assert (found["charge"], found["multiplicity"]) == (charge, multiplicity)


def test_a_charge_tag_that_agrees_is_accepted_and_a_conflict_is_refused():
    for text in ("1", "+1", "1.0"):
        assert row(drawn("C[NH3+]", q=text), charge_tag="Q")["charge"] == 1
    assert row(drawn("C[NH3+]", q=""), charge_tag="Q")["charge"] == 1
    assert row(drawn("C[NH3+]", q="0"))["charge"] == 1
    assert reason(drawn("CN", q="+1"), charge_tag="Q") == "tag says +1, formal charges sum to 0"
    assert reason(drawn("C[NH3+]", q="0"), charge_tag="Q") == (
        "tag says 0, formal charges sum to +1"
    )
    assert reason(drawn("CN", q="0.5"), charge_tag="Q") == "q is '0.5', not a whole number"
    assert reason(drawn("CN", q="inf"), charge_tag="Q") == "q is 'inf', not a whole number"


def test_two_unpaired_electrons_are_taken_as_parallel_and_the_note_says_so():
    found = row(drawn("[CH2]"))
    note = "2 unpaired electrons taken as parallel: multiplicity 3"
    assert (found["multiplicity"], found["note"]) == (3, note)
    singlet = row(drawn("[CH2]", mult="1"), multiplicity_tag="mult")
    assert (singlet["multiplicity"], singlet["note"]) == (1, "")
    assert row(drawn("[CH3]"))["note"] == ""


def test_a_multiplicity_tag_is_checked_against_the_electrons():
    assert row(drawn("O=O", mult="3"), multiplicity_tag="mult")["multiplicity"] == 3
    assert row(drawn("O=O", mult="3"))["multiplicity"] == 1
    wrong = reason(drawn("C[NH3+]", mult="2"), multiplicity_tag="mult")
    assert wrong == "18 electrons cannot have multiplicity 2"


@pytest.mark.parametrize(
    ("molecule", "expected"),
    [
        ("", "no atoms"),
        ("CC*", "atom 3 is a dummy or an R-group, not an element"),
        ("CC[*:1]", "atom 3 is a dummy or an R-group, not an element"),
        ("C~C", "a bond is a query, of no definite order"),
        ("[H+]", "no electrons are left with that charge"),
    ],
)
def test_what_is_no_molecule_is_refused(molecule, expected):
    assert reason(drawn(molecule)) == expected


def test_query_atoms_are_refused():
    record = Record("lib.sdf:1", "mol", Chem.MolFromSmarts("C[C,N]"))
    assert reason(record).endswith("is a query, not an element")


def test_unknown_territory_for_a_backbone_is_not_a_reject():
    assert row(drawn("[Xe]"))["numbers"] == [54]
    assert row(drawn("O=[U+2]=O"))["charge"] == 2


def test_atoms_have_the_charge_and_multiplicity_of_their_tags():
    found = row(water(charge="1", multiplicity="2"))
    assert (found["charge"], found["multiplicity"], found["smiles"]) == (1, 2, "")
    assert row(water())["conformer_id"] == "fd06100e52aba77d18117090e22dfd80"
    assert row(water(total_charge="-2"))["charge"] == -2
    assert row(water(spin="3"))["multiplicity"] == 3
    assert row(water(charge="0", q="2"), charge_tag="q")["charge"] == 2
    assert reason(water(charge="1")) == "9 electrons cannot have multiplicity 1"
    assert reason(water(spin="0")) == "10 electrons cannot have multiplicity 0"
    assert reason(water(charge="10")) == "no electrons are left with that charge"
    assert reason(water(charge="True")) == "charge is 'True', not a whole number"


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [("C[C@H](O)F", "0"), ("CC(=O)[O-]", "-1"), ("c1ccncc1", "0"), ("C[N+](=O)[O-]", "0")],
)
def test_bonds_are_perceived_where_only_atoms_are_given(smiles, charge):
    assert row(from_space(smiles, charge=charge))["smiles"] == Chem.CanonSmiles(smiles)


def test_a_stated_smiles_of_these_atoms_is_used_and_gives_the_charge():
    found = row(from_space("CC(=O)[O-]", stated="[O-]C(C)=O"))
    assert (found["smiles"], found["charge"]) == ("CC(=O)[O-]", -1)
    conflict = from_space("CC(=O)[O-]", stated="[O-]C(C)=O", charge="+1")
    assert reason(conflict) == "tag says +1, formal charges sum to -1"
    assert row(from_space("CO", stated="CCO"))["smiles"] == "CO"
    assert row(from_space("CO", stated="no smiles"))["smiles"] == "CO"


def test_a_mixture_that_states_no_bonds_is_kept_whole_or_rejected():
    pair = atoms([2, 10], [[0, 0, 0], [0, 0, 4.0]])
    found = row(pair)
    assert found["n_atoms"] == 2
    assert found["note"] == "all 2 molecules kept, as the record states no bonds"
    assert row(pair, mixtures="keep")["note"] == ""
    assert reason(pair, mixtures="reject").startswith("mixture of 2 molecules")


@pytest.mark.parametrize(
    ("numbers", "positions", "expected"),
    [
        ([], np.zeros((0, 3)), "no atoms"),
        ([1, 0], [[0, 0, 0], [0, 0, 1]], "atom 2 has atomic number 0: not an element"),
        ([1, 119], [[0, 0, 0], [0, 0, 1]], "atom 2 has atomic number 119: not an element"),
        ([1, 1], [[0, 0, 0], [0, 0, np.nan]], "atom 2 has impossible coordinates (0, 0, nan)"),
        ([1, 1], [[0, 0, np.inf], [0, 0, 1]], "atom 1 has impossible coordinates (0, 0, inf)"),
        ([1, 1], [[0, 0, 1e9], [0, 0, 1]], "atom 1 has impossible coordinates (0, 0, 1e+09)"),
        ([1, 1, 1], [[0, 0, 0], [0, 0, 0.9], [0, 0, 1.0]], "atoms 2 and 3 are 0.10 Å apart"),
        ([1, 1], [[0, 0, 0], [0, 0, 0]], "atoms 1 and 2 are 0.00 Å apart, closer than 0.5 Å"),
    ],
)
def test_impossible_atoms_and_coordinates_are_refused(numbers, positions, expected):
    assert reason(atoms(numbers, positions)).startswith(expected)


def test_the_note_of_an_earlier_ingest_is_carried_on():
    record = Record("a.parquet:1", "mol", water().molecule, {}, "largest of 2 molecules kept")
    assert row(record)["note"] == "largest of 2 molecules kept"
