"""`probe acquire`: the files that it writes are read by those they are for, and what it says."""

import json

import ase.io
import numpy as np
import pytest
from aimnet.data import SizeGroupedDataset, SizeGroupedSampler
from rdkit import Chem
from rdkit.Chem import AllChem

from probe import schemas, tables
from probe.classifier import labels
from probe.conformers.conformer import Options, conformer_id, rounded
from probe.conformers.ingest import convert
from probe.library import parser, records
from probe.triage.acquire import LEFT_OUT


def embedded(smiles, seed, **values):
    """A conformer of ``smiles`` as ingest writes it, with the list's columns besides."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    positions = rounded(mol.GetConformer().GetPositions()).ravel().tolist()
    charge = Chem.GetFormalCharge(mol)
    return {
        "conformer_id": conformer_id(numbers, positions, charge, 1),
        **{"molecule_id": smiles, "source": f"lib.smi:{seed}", "smiles": Chem.CanonSmiles(smiles)},
        **{"n_atoms": len(numbers), "charge": charge, "multiplicity": 1, "note": ""},
        **{"numbers": numbers, "positions": positions, "p_unreliable": 0.9, "reason": "why not"},
    } | values


MOLECULES = (
    "CCO",
    "F",
    "F/C=C\\F",
    "C[NH3+]",
    "CC(=O)[O-]",
    "N#N",
    "[H][H]",
    "O",
    "CO",
    "CS",
    "CP",
)
NAMES = (
    'it\'s "so"',
    "a\nb",
    "007",
    "T",
    "x=y {z} [w]",
    "a\\b",
    "Ömeprazol 漢字",
    "1 2 3",
    "",
    "_JSON x",
)


class Triaged:
    """A triaged library of two shards on disk, its conformers with p from high to low."""

    def __init__(self, folder):
        self.folder = folder
        given = [name for name in MOLECULES if not labels.reserved(Chem.CanonSmiles(name))]
        names = [NAMES[index % len(NAMES)] for index in range(len(given))]
        p = np.linspace(0.95, 0.35, len(given)).tolist()
        self.rows = [
            embedded(smiles, index, molecule_id=name, p_unreliable=value)
            for index, (smiles, name, value) in enumerate(zip(given, names, p, strict=True), 1)
        ]
        self.rows.append(embedded("C[Se]C", 99, p_unreliable=None))
        self.write()

    def write(self):
        empty = dict.fromkeys([*schemas.TRIAGED.names, *schemas.SCORES.names])
        rows = [empty | row for row in self.rows]
        for index, row in enumerate(rows):
            if row["p_unreliable"] is not None:
                row["embedding"] = [float(index == place) * (1 + index) for place in range(256)]
        lists = {"accept": rows[-4:-1], "recompute": [*rows[:-4], rows[-1]]}
        for name, held in lists.items():
            tables.write(self.folder / f"{name}.parquet", held, schemas.TRIAGED, {})
        shards = (rows[:3], rows[3:])
        for index, shard in enumerate(shards):
            for stage, schema in (("conformers", schemas.CONFORMERS), ("scores", schemas.SCORES)):
                tables.write(self.folder / stage / f"{index:05d}.parquet", shard, schema, {})
        plan = {
            **{"library": "lib", "path": "lib.smi", "n_records": len(rows), "shard_size": 3},
            **{"sources": [], "ignored": []},
            "shards": [{"first": 0, "count": len(shard), "offset": 0} for shard in shards],
        }
        tables.write_json(self.folder / "plan.json", plan)

    @property
    def known(self):
        return {row["conformer_id"]: row for row in self.rows}


@pytest.fixture
def triaged(tmp_path):
    return Triaged(tmp_path / "results")


@pytest.fixture
def acquired(probe, triaged, tmp_path):
    """Runs `probe acquire --json` with an output of every format; returns what it said."""

    def run(*options):
        outs = [word for name in OUTPUTS for word in ("--out", tmp_path / name)]
        result = probe("acquire", triaged.folder, *outs, "--json", *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


OUTPUTS = ("batch.sdf", "batch.extxyz", "batch.h5")


def ingested(path):
    """The conformers that ingest makes of a file."""
    layout = parser.layout(path, "smiles", "name")
    numbered = records.shard(path, 0, 1000, None)
    return [convert(raw, number, layout, Options()) for number, raw in numbered]


class TestFiles:
    @pytest.mark.parametrize("name", ["batch.sdf", "batch.extxyz"])
    def test_ingest_finds_the_same_conformers_in_the_order_of_choice(
        self, acquired, triaged, tmp_path, name
    ):
        assert acquired()["n_chosen"] == len(triaged.rows) - 1
        found = ingested(tmp_path / name)
        given = [triaged.known[row["conformer_id"]] for row in found]
        assert len({row["conformer_id"] for row in found}) == len(triaged.rows) - 1
        assert given[0]["p_unreliable"] == 0.95
        for column in ("smiles", "charge", "multiplicity", "positions", "numbers"):
            assert [row[column] for row in found] == [row[column] for row in given], column

    def test_ase_reads_what_the_library_says(self, acquired, triaged, tmp_path):
        acquired()
        frames = ase.io.read(tmp_path / "batch.extxyz", ":")
        assert len(frames) == len(triaged.rows) - 1
        for atoms in frames:
            row = triaged.known[atoms.info["conformer_id"]]
            assert atoms.info["smiles"] == row["smiles"]
            assert atoms.info.get("name", "") == " ".join(row["molecule_id"].split())
            assert atoms.info["p_unreliable"] == row["p_unreliable"]
            assert (atoms.info["charge"], atoms.info["spin"]) == (row["charge"], 1)
            assert atoms.positions.ravel().tolist() == row["positions"]
            assert not atoms.pbc.any()

    def test_aimnet_loads_it_to_train_on(self, acquired, triaged, tmp_path):
        acquired()
        dataset = SizeGroupedDataset(str(tmp_path / "batch.h5"))
        assert dataset.keys() == sorted({row["n_atoms"] for row in triaged.rows[:-1]})
        assert len(dataset) == len(triaged.rows) - 1
        for n_atoms, group in dataset.items():
            assert group["coord"].shape == (len(group), n_atoms, 3)
            for index, key in enumerate(group["conformer_id"]):
                row = triaged.known[key.decode()]
                assert group["coord"][index].ravel().tolist() == row["positions"]
                assert group["numbers"][index].tolist() == row["numbers"]
                assert group["charge"][index] == row["charge"]
                assert group["mult"][index] == row["multiplicity"]
                assert group["smiles"][index].decode() == row["smiles"]
                assert group["p_unreliable"][index] == row["p_unreliable"]

    def test_its_loader_and_its_merging_take_it(self, acquired, triaged, tmp_path):
        acquired()
        dataset = SizeGroupedDataset(str(tmp_path / "batch.h5"))
        dataset.merge_groups(min_size=4)
        keys = {key.decode() for key in dataset.concatenate("conformer_id")}
        assert keys == set(triaged.known) - {triaged.rows[-1]["conformer_id"]}
        sampler = SizeGroupedSampler(dataset, batch_size=2)
        loader = dataset.get_loader(sampler, x=["coord", "numbers", "charge"])
        n_seen = 0
        for batch, _ in loader:
            n_seen += len(batch["charge"])
            assert batch["coord"].shape == (*batch["numbers"].shape, 3)
            assert batch["numbers"].dtype.is_signed
        assert n_seen == len(dataset)

    def test_the_sd_file_has_what_is_known_of_it(self, acquired, triaged, tmp_path):
        acquired("--n", 3)
        for mol in Chem.SDMolSupplier(str(tmp_path / "batch.sdf"), removeHs=False):
            row = triaged.known[mol.GetProp("conformer_id")]
            assert mol.GetDoubleProp("p_unreliable") == row["p_unreliable"]
            assert mol.GetIntProp("charge") == row["charge"]
            assert (mol.GetProp("reason"), mol.GetProp("source")) == ("why not", row["source"])

    @pytest.mark.parametrize("name", ["batch.sdf", "batch.extxyz"])
    def test_label_takes_it(self, acquired, probe, tmp_path, name):
        n_chosen = acquired("--n", 4)["n_chosen"]
        words = ("--in", tmp_path / name, "--out", tmp_path / "labels.parquet", "--budget-hours", 0)
        result = probe("label", *words)
        assert result.stdout.endswith(f"0 labelled, 0 not converged, {n_chosen} left\n")
        assert "left out" not in result.stderr

    def test_twice_the_same_gives_the_same_bytes(self, acquired, tmp_path):
        acquired()
        before = [(tmp_path / name).read_bytes() for name in OUTPUTS]
        acquired()
        assert before == [(tmp_path / name).read_bytes() for name in OUTPUTS]


class TestCommand:
    def test_it_says_what_it_chose_and_what_not(self, probe, triaged, tmp_path):
        out = tmp_path / "batch.sdf"
        n = len(triaged.rows)
        result = probe("acquire", triaged.folder, "--out", out, "--n", 2)
        low = ingested_p(out, triaged)[-1]
        assert result.stdout.splitlines() == [
            f"lib: 2 of {n} conformers, of 2 molecules, p_unreliable 0.950 to {low:.3f}",
            "lib: left out: 1 without an answer of PROBE",
        ]

    def test_the_json_has_the_counts(self, acquired, triaged, tmp_path):
        said = acquired("--n", 2, "--diversity", 1)
        n = len(triaged.rows)
        p = [row["p_unreliable"] for row in triaged.rows[:2]]
        wanted = {"library": "lib", "n_conformers": n, "n_candidates": n - 1, "n_chosen": 2}
        assert {key: said[key] for key in wanted} == wanted
        assert said["p_unreliable"] == {
            **{"highest": p[0], "mean": pytest.approx(np.mean(p)), "lowest": p[1]}
        }
        assert said["left_out"] == dict.fromkeys(LEFT_OUT, 0) | {"no_answer": 1}
        assert said["files"] == [str(tmp_path / name) for name in OUTPUTS]

    def test_what_is_labelled_is_not_chosen_again(self, acquired, triaged, tmp_path):
        """By the ids of `probe label`'s output, unconverged ones too, or by the geometries."""
        columns = ["smiles", "source", "numbers", "positions", "charge"]
        first, second, third = (
            {name: row[name] for name in columns} | {"geometry": ""} for row in triaged.rows[:3]
        )
        plain, made = tmp_path / "plain.parquet", tmp_path / "made.parquet"
        tables.write(plain, [first | {"energy_ev": -1.0}], schemas.LABELS, {})
        empty = dict.fromkeys(schemas.REFERENCES.names)
        rows = [
            empty | row | {"conformer_id": known["conformer_id"], "converged": converged}
            for row, known, converged in zip(
                (second, third), triaged.rows[1:3], (True, False), strict=True
            )
        ]
        tables.write(made, rows, schemas.REFERENCES, {})
        said = acquired("--labelled", plain, "--labelled", made)
        assert said["left_out"]["labelled"] == 3
        left = {row["conformer_id"] for row in triaged.rows[3:-1]}
        assert {row["conformer_id"] for row in ingested(tmp_path / "batch.sdf")} == left

    def test_where_nothing_can_be_chosen_the_files_are_empty(self, acquired, triaged, tmp_path):
        triaged.rows = [row | {"p_unreliable": None} for row in triaged.rows]
        triaged.write()
        said = acquired()
        assert said["n_chosen"] == 0
        assert said["p_unreliable"] == dict.fromkeys(("highest", "mean", "lowest"))
        assert len(SizeGroupedDataset(str(tmp_path / "batch.h5"))) == 0
        assert (tmp_path / "batch.sdf").read_text() == (tmp_path / "batch.extxyz").read_text() == ""

    @pytest.fixture
    def fails(self, probe, triaged, tmp_path):
        def run(*options):
            before = sorted(tmp_path.rglob("*"))
            result = probe("acquire", triaged.folder, *options)
            assert (result.exit_code, result.stdout) == (2, "")
            assert sorted(tmp_path.rglob("*")) == before
            (line,) = result.stderr.splitlines()
            return line

        return run

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("b.hdf", "unknown suffix .hdf; did you mean .hdf5? known are .extxyz .xyz .h5"),
            ("b.extxy", "unknown suffix .extxy; did you mean .extxyz?"),
            ("b", "unknown suffix (none); known are"),
            ("b.parquet", "unknown suffix .parquet; known are"),
        ],
    )
    def test_an_unknown_suffix_is_a_line(self, fails, tmp_path, name, says):
        line = fails("--out", tmp_path / "good.sdf", "--out", tmp_path / name)
        assert line.startswith(f"probe: error: {tmp_path / name}: {says}")

    def test_so_is_a_library_that_is_not_triaged(self, fails, triaged, tmp_path):
        (triaged.folder / "accept.parquet").unlink()
        line = fails("--out", tmp_path / "b.sdf")
        assert f"{triaged.folder / 'accept.parquet'}: no such file" in line

    def test_so_are_lists_of_other_conformers_than_the_scores(self, fails, triaged, tmp_path):
        path = triaged.folder / "scores/00000.parquet"
        rows = tables.read(path, schemas.SCORES)
        tables.write(path, rows.slice(1), schemas.SCORES, {})
        line = fails("--out", tmp_path / "b.sdf")
        lost = rows["conformer_id"][0].as_py()
        assert f"{path.parent}: conformer {lost} is in none of the tables" in line

    def test_so_are_labels_that_are_none(self, fails, triaged, tmp_path):
        labelled = triaged.folder / "plan.json"
        line = fails("--out", tmp_path / "b.sdf", "--labelled", labelled)
        assert f"{labelled}: not a readable Parquet file" in line


def ingested_p(path, triaged):
    """p_unreliable of the conformers in a file, from high to low."""
    rows = [triaged.known[row["conformer_id"]] for row in ingested(path)]
    return sorted((row["p_unreliable"] for row in rows), reverse=True)
