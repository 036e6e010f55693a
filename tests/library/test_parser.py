import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from probe.errors import ProbeError
from probe.library import formats, parser, records
from probe.library.parser import Atoms, Record, Reject


def read(path, content, smiles_column="smiles", name_column="name"):
    """All records of a file with ``content``, understood."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    layout = parser.layout(path, smiles_column, name_column)
    found = records.shard(path, 0, 1000, None)
    return [parser.read(raw, number, layout) for number, raw in found]


def block(smiles, name="", dimensions=3):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if dimensions == 3:
        rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    else:
        molecule = Chem.RemoveHs(molecule)
        rdDepictor.Compute2DCoords(molecule)
    molecule.SetProp("_Name", name)
    return Chem.MolToMolBlock(molecule)


def smiles_of(record):
    return Chem.MolToSmiles(record.molecule)


@pytest.mark.parametrize(
    ("line", "smiles", "name"),
    [
        ("CCO ethanol", "CCO", "ethanol"),
        ("CCO", "CCO", "lib-1"),
        ("CCO   two words \r\n", "CCO", "two words"),
        ("CCO\tethanol\t46.07", "CCO", "ethanol"),
        ("CCO <script>alert('x')</script>", "CCO", "<script>alert('x')</script>"),
        ('CCO ../../etc/"passwd"', "CCO", '../../etc/"passwd"'),
        ("CCO bell\x07 and \x1b[31mred", "CCO", "bell and [31mred"),
        ("C[C@H](O)F |&1:1| racemic", "C[C@H](O)F", "racemic"),
    ],
)
def test_a_smiles_line_is_a_molecule_and_its_name(tmp_path, line, smiles, name):
    (record,) = read(tmp_path / "lib.smi", line)
    assert (smiles_of(record), record.name, record.source) == (smiles, name, "lib.smi:1")


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("CN(C)(C)(C)C", "valence of N2 is 5, more than allowed"),
        ("C[O+](C)(C)C", "valence of O2 with charge +1 is 4, more than allowed"),
        ("n1cccc1", "aromatic atoms N1, C2, C3, C4, C5 take no alternating double bonds"),
        ("Cc", "C2 is aromatic in no ring"),
        ("C(C", "SMILES C(C cannot be parsed: extra open parentheses around character 2"),
        ("C1CC", "SMILES C1CC cannot be parsed: unclosed ring"),
        ("C[Xx]", "SMILES C[Xx] cannot be parsed: syntax error"),
        ("C\x1bC", "SMILES C C cannot be parsed"),
    ],
)
def test_a_bad_smiles_is_a_reject_that_a_chemist_understands(tmp_path, capfd, smiles, reason):
    (reject,) = read(tmp_path / "lib.smi", f"{smiles} bad")
    assert (reject.source, reject.name) == ("lib.smi:1", "bad")
    assert reject.reason.startswith(reason)
    assert capfd.readouterr() == ("", "")


def test_columns_are_found_by_name_in_any_letter_case(tmp_path):
    content = 'ID,Smiles,Charge\n"a, ""b""\nc",CCO,0\n,CC\n,"",1\n'
    named, unnamed, empty = read(tmp_path / "lib.csv", content, "SMILES", "id")
    assert (smiles_of(named), named.name, named.tags["charge"]) == ("CCO", 'a, "b" c', "0")
    assert (smiles_of(unnamed), unnamed.name) == ("CC", "lib-2")
    assert empty == Reject("lib.csv:3", "no SMILES", "lib-3")


def test_a_semicolon_table_is_a_table_too(tmp_path):
    (record,) = read(tmp_path / "lib.csv", "smiles;name\nCCO;ethanol\n")
    assert (smiles_of(record), record.name) == ("CCO", "ethanol")


def test_an_open_quote_is_the_reason_of_its_own_record_only(tmp_path):
    reject, record = read(tmp_path / "lib.csv", 'smiles,name\n"CC,a\nCCO,b\n')
    assert reject.reason == "a quotation mark opens and is never closed"
    assert record.name == "b"


def test_a_table_without_the_column_names_the_nearest(tmp_path):
    with pytest.raises(ProbeError, match=r"no column smiles, did you mean Canonical_SMILES\?"):
        read(tmp_path / "lib.csv", "Canonical_SMILES,name\nCCO,a\n")


def test_a_byte_order_mark_and_latin_1_do_no_harm(tmp_path):
    content = "\ufeffsmiles,name\n".encode() + "CCO,éthanol\r\n".encode("latin-1")
    (record,) = read(tmp_path / "lib.csv", content)
    assert (smiles_of(record), record.name) == ("CCO", "éthanol")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_sdf_record_keeps_coordinates_title_and_properties(tmp_path, newline):
    text = block("C[C@H](O)F", "chiral") + ">  <Charge>\n+0\n\n$$$$\n"
    (record,) = read(tmp_path / "lib.sdf", text.replace("\n", newline))
    given = Chem.MolFromMolBlock(text, removeHs=False).GetConformer().GetPositions()
    assert record.name == "chiral"
    assert record.tags == {"charge": "+0"}
    np.testing.assert_array_equal(record.molecule.GetConformer().GetPositions(), given)
    assert Chem.MolToSmiles(Chem.RemoveHs(record.molecule)) == "C[C@H](O)F"


def test_an_sdf_record_without_title_takes_its_name_from_a_property(tmp_path):
    text = block("CO") + ">  <ID>\nZ-17\n\n$$$$\n" + block("CC") + "$$$$\n"
    names = [record.name for record in read(tmp_path / "lib.sdf", text, name_column="id")]
    assert names == ["Z-17", "lib-2"]


@pytest.mark.parametrize(
    ("title", "identifier", "molecule"),
    [
        ("mol", "mol_0_12", "mol"),
        ("mol@taut2", "mol@taut2_1_0", "mol"),
        ("a_1_2", "a_1_2_0_3", "a_1_2"),
        ("17_0_3", "17_0_3", "17"),
        ("17@taut1_0_3", "17@taut1_0_3", "17"),
        ("lot@tautonomy", "lot@tautonomy_0_0", "lot@tautonomy"),
    ],
)
def test_conformers_of_auto3d_are_named_after_their_molecule(tmp_path, title, identifier, molecule):
    tags = f">  <ID>\n{identifier}\n\n>  <E_tot>\n-115.7\n\n>  <E_rel(kcal/mol)>\n0.0\n\n$$$$\n"
    (record,) = read(tmp_path / "out.sdf", block("CO", title) + tags)
    assert record.name == molecule


def test_names_that_look_like_those_of_auto3d_are_kept(tmp_path):
    text = (
        block("CO", "mol@taut2") + ">  <ID>\nmol@taut2\n\n$$$$\n" + block("CO", "a_0_1") + "$$$$\n"
    )
    assert [record.name for record in read(tmp_path / "lib.sdf", text)] == ["mol@taut2", "a_0_1"]


def test_damaged_sdf_records_are_rejects_and_the_rest_goes_on(tmp_path, capfd):
    good = block("CO", "good")
    damaged = {
        "valence of F2 is 2, more than allowed": good.replace(" O   0", " F   0"),
        "the mol block cannot be read: Element 'Xx' not found": good.replace(" O   0", " Xx  0"),
        "the mol block cannot be read: the record ends while reading atoms": good[:200] + "\n",
        "empty record": "\n\n",
        "the mol block cannot be read: no counts line": "only a title\n",
    }
    text = good + "$$$$\n" + "".join(f"{record}$$$$\n{good}$$$$\n" for record in damaged.values())
    found = read(tmp_path / "lib.sdf", text)
    assert [item.reason for item in found if isinstance(item, Reject)] == list(damaged)
    assert sum(isinstance(item, Record) for item in found) == len(damaged) + 1
    assert capfd.readouterr() == ("", "")


def test_other_than_ascii_in_a_mol_block_is_a_reject(tmp_path):
    (reject,) = read(tmp_path / "lib.sdf", "title\n\n\n $Ë$$ \nrest\n$$$$\n")
    assert reject.reason == (
        "the mol block cannot be read: Cannot convert ' $?' to unsigned int on line 4"
    )


def test_a_frame_is_atoms_with_what_its_comment_says(tmp_path):
    comment = 'Charge=-1 multiplicity=1 label="hydroxide, \'free\'" smiles="[OH-]"'
    (record,) = read(tmp_path / "lib.xyz", f"2\n{comment}\nO 0 0 0\nH 0 0 0.97\n")
    assert isinstance(record.molecule, Atoms)
    assert record.molecule.numbers.tolist() == [8, 1]
    assert record.molecule.positions.tolist() == [[0, 0, 0], [0, 0, 0.97]]
    assert record.molecule.smiles == "[OH-]"
    assert record.name == "hydroxide, 'free'"
    assert (record.tags["charge"], record.tags["multiplicity"]) == ("-1", "1")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("12\n\nH 0 0 0\nH 0 0 1\n", "atom count line says 12, 2 atom lines follow"),
        ("1\n\nH 0 0 0\nH 0 0 1\n", "atom count line says 1, 2 atom lines follow"),
        ("2 atoms\n\nH 0 0 0\nH 0 0 1\n", "the frame begins with '2 atoms', not with an atom"),
        ("1\n\nQq 0 0 0\n", "unknown element or property 'Qq'"),
        ("1\n\nHe 0 x 0\n", "the frame cannot be read: could not convert string to float: 'x'"),
        ("1\n\nHe 0 0\n", "the frame cannot be read"),
        ('1\nLattice="5 0 0 0 5 0 0 0 5"\nHe 0 0 0\n', "periodic"),
        ('1\nLattice="5 0"\nHe 0 0 0\n', "the frame cannot be read"),
        ("0\n\n", "no atoms"),
        ("2\n", "atom count line says 2, 0 atom lines follow"),
    ],
)
def test_a_damaged_frame_is_a_reject(tmp_path, frame, reason):
    (reject,) = read(tmp_path / "lib.xyz", frame)
    assert reject.reason.startswith(reason)
    assert (reject.source, reject.name) == ("lib.xyz:1", "lib-1")


ROW = {"numbers": [8, 1], "positions": [0.0, 0.0, 0.0, 0.0, 0.0, 0.97], "charge": -1}


def read_row(**changes):
    layout = parser.Layout("lib.parquet", "lib", formats.PARQUET, None)
    return parser.read({**ROW, **changes}, 3, layout)


def test_a_parquet_row_is_atoms():
    record = read_row(molecule_id="hydroxide", multiplicity=1, smiles=None, note="was a salt")
    assert record.molecule.numbers.tolist() == [8, 1]
    assert record.molecule.positions.tolist() == [[0, 0, 0], [0, 0, 0.97]]
    assert record.tags == {"charge": "-1", "multiplicity": "1"}
    assert (record.name, record.source) == ("hydroxide", "lib.parquet:3")
    assert (record.molecule.smiles, record.note) == ("", "was a salt")
    assert read_row().name == "lib-3"


def test_a_parquet_row_may_hold_nested_positions():
    record = read_row(positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.97]])
    assert record.molecule.positions.shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positions": [0.0] * 5}, "2 atoms, but 5 coordinates"),
        ({"positions": None}, "no positions"),
        ({"charge": None}, "no charge"),
        ({"numbers": ["O", "H"]}, "numbers or positions cannot be read"),
    ],
)
def test_a_damaged_parquet_row_is_a_reject(changes, reason):
    reject = read_row(name="bad", **changes)
    assert reject.reason.startswith(reason)
    assert (reject.source, reject.name) == ("lib.parquet:3", "bad")
