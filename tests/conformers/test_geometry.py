import pytest
from rdkit import Chem
from scipy.spatial.distance import pdist

from probe.conformers import geometry
from probe.library.parser import Unusable

FULLERENE = (
    "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6"
    "c6c%11c2c2c7c3c3c8c4c4c9c5c1c1c6c2c3c41"
)


def build(smiles, seed=42, forcefield="mmff94"):
    return geometry.build(Chem.MolFromSmiles(smiles), seed, forcefield)


def positions(built):
    return built.molecule.GetConformer().GetPositions()


def smiles_in_space(built):
    """SMILES with the stereochemistry that the coordinates have."""
    molecule = Chem.Mol(built.molecule)
    Chem.AssignStereochemistryFrom3D(molecule)
    return geometry.canonical_smiles(molecule)


def test_however_a_molecule_is_written_its_coordinates_are_the_same():
    first, *others = [build(s) for s in ("OC(=O)c1ccccc1", "c1ccc(C(O)=O)cc1", "C1=CC=CC=C1C(=O)O")]
    for other in others:
        assert positions(other).tolist() == positions(first).tolist()
    assert positions(build("CCCCO", seed=43)).tolist() != positions(build("CCCCO")).tolist()


def test_what_was_built_before_does_not_matter():
    # RDKit keeps the iteration limit of the first molecule in a parameter object: the peptide
    # would fail after methane if the object were shared.
    peptide = "CSCC[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)CNC(=O)CN)C(=O)O"
    alone = positions(build(peptide))
    build("C")
    assert positions(build(peptide)).tolist() == alone.tolist()


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H](O)F", "C[C@@H](O)F", "F/C=C/F", "F/C=C\\F", "C[C@H]1CC[C@@H](O)CC1", "C[S@](=O)CC"],
)
def test_stated_stereochemistry_is_what_the_coordinates_have(smiles):
    built = build(smiles)
    assert built.smiles == smiles_in_space(built) == Chem.CanonSmiles(smiles)
    assert built.note == ""


@pytest.mark.parametrize(
    ("smiles", "isomer", "count"),
    [
        ("CC(O)F", "C[C@@H](O)F", 2),
        ("FC=CF", "F/C=C/F", 2),
        ("CC1CC1C", "C[C@@H]1C[C@@H]1C", 3),
        ("C[C@H](O)C(F)Cl", "C[C@H](O)[C@@H](F)Cl", 2),
    ],
)
def test_open_stereochemistry_becomes_one_stated_isomer(smiles, isomer, count):
    built = build(smiles)
    assert built.smiles == smiles_in_space(built) == isomer
    assert built.note == (f"stereochemistry left open: {isomer} embedded, one of {count} isomers")


CAMPHOR = "CC1(C)C2CCC1(C)C(=O)C2"


def test_impossible_isomers_of_a_cage_are_passed_over():
    built = build(CAMPHOR)
    assert built.smiles == smiles_in_space(built) == "CC1(C)[C@@H]2CC[C@@]1(C)C(=O)C2"
    assert "one of 4 isomers" in built.note


def test_if_no_isomer_tried_is_possible_the_coordinates_decide(monkeypatch):
    possible = {"CC1(C)[C@@H]2CC[C@@]1(C)C(=O)C2", "CC1(C)[C@H]2CC[C@]1(C)C(=O)C2"}
    isomers = geometry._isomers(Chem.MolFromSmiles(CAMPHOR))
    impossible = [isomer for isomer in isomers if Chem.MolToSmiles(isomer) not in possible]
    assert len(impossible) == 2
    monkeypatch.setattr(geometry, "_isomers", lambda _: impossible)
    built = build(CAMPHOR)
    assert built.smiles == smiles_in_space(built)
    assert built.smiles in possible


def test_an_imine_has_one_smiles_from_a_drawing_and_from_space():
    built = build("CC(=N)N")
    assert built.smiles == smiles_in_space(built) == "CC(=N)N"


@pytest.mark.parametrize(
    ("smiles", "forcefield", "note"),
    [
        ("CCO", "mmff94", ""),
        ("CCO", "uff", ""),
        ("CCO", "none", ""),
        ("C[Se]C", "mmff94", "no MMFF94 parameters: UFF used"),
        ("C[Se]C", "uff", ""),
        ("[Xe]", "mmff94", "no force-field parameters: ETKDG coordinates as they are"),
        ("[Xe]", "none", ""),
    ],
)
def test_a_missing_force_field_is_said(smiles, forcefield, note):
    assert build(smiles, forcefield=forcefield).note == note


def test_the_force_field_is_the_one_asked_for():
    found = [positions(build("CCO", forcefield=name)) for name in ("mmff94", "uff", "none")]
    shapes = {tuple(pdist(p).round(4)) for p in found}
    assert len(shapes) == 3


def test_an_unfinished_minimisation_is_said(monkeypatch):
    monkeypatch.setattr(geometry, "MAX_STEPS", 1)
    assert build("CCCCO").note == "MMFF94 not converged in 1 steps"


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "CC(=O)[O-].[NH4+]", "O.O.O", "c1ccccc1.C"])
def test_the_molecules_of_a_mixture_do_not_overlap(smiles):
    built = build(smiles)
    assert pdist(positions(built)).min() > 0.9
    for part in Chem.GetMolFrags(built.molecule, asMols=True):
        assert "." not in Chem.MolToSmiles(part)


def test_a_molecule_too_large_to_embed_is_refused():
    with pytest.raises(Unusable, match="301 heavy atoms are too many to embed"):
        build("C" * 301)


@pytest.mark.parametrize(
    ("smiles", "forcefield", "made_by"),
    [
        ("CCO", "mmff94", "mmff94"),
        ("CCO", "uff", "uff"),
        ("CCO", "none", "etkdg"),
        ("C[Se]C", "mmff94", "uff"),
        ("[Xe]", "mmff94", "etkdg"),
    ],
)
def test_the_note_tells_what_made_the_coordinates(smiles, forcefield, made_by):
    assert geometry.made_by(forcefield, build(smiles, forcefield=forcefield).note) == made_by


def test_a_cage_is_given_up_after_a_while(monkeypatch):
    """C60: distance geometry would look for coordinates for minutes, and find none."""
    monkeypatch.setattr(geometry, "MAX_SECONDS", 1)
    with pytest.raises(Unusable, match=r"finds no 3D coordinates for it in 1 s; give the record"):
        geometry.build(Chem.MolFromSmiles(FULLERENE), 42, "mmff94")


def test_without_time_left_no_attempt_is_made(monkeypatch):
    """RDKit takes no time for no limit."""
    monkeypatch.setattr(geometry, "MAX_SECONDS", 0)
    with pytest.raises(Unusable, match="finds no 3D coordinates for it in 0 s"):
        geometry.build(Chem.MolFromSmiles("CCO"), 42, "mmff94")
