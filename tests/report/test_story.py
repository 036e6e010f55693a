"""`probe show` and `probe export`: one conformer's story, and lists for other programs."""

import json
import shutil
import xml.etree.ElementTree as ET

import duckdb
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner
from rdkit import Chem
from report_library import library

from probe import schemas, tables
from probe.cli import main
from probe.errors import ProbeError
from probe.library import plan
from probe.report import story


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A triaged library of 61 molecules in two shards, as the workflow leaves it."""
    folder = tmp_path_factory.mktemp("story") / "triage"
    made = library()
    made.conformers[7]["synonyms"] = ["CAS 64-17-5", "spirit"]
    inputs = made.write(folder.parent, n_shards=2)
    for name, paths in (("conformers", inputs.conformers), ("scores", inputs.scores)):
        (folder / name).mkdir()
        for index, path in enumerate(paths):
            path.rename(folder / name / f"{index:05d}.parquet")
    for index in range(2):
        shard = tables.frame(folder / "conformers" / f"{index:05d}.parquet", schemas.CONFORMERS)
        rows = [
            {"conformer_id": name, "part": "part-0.parquet", "refusal": None}
            for name in shard["conformer_id"]
        ]
        tables.write(folder / "embedded" / f"{index:05d}.parquet", rows, schemas.EMBEDDED, {})
    source = folder / "demo.smi"
    source.write_text("\n".join(row["smiles"] for row in made.conformers))
    plan.current("demo", source, 31, folder / "plan.json")
    return folder


@pytest.fixture(scope="module")
def listed(results):
    lists = [tables.frame(results / f"{n}.parquet", schemas.TRIAGED) for n in story.LISTS]
    return pl.concat(lists)


@pytest.fixture(scope="module")
def scored(listed):
    """A conformer with an answer."""
    return listed.filter(pl.col("p_unreliable").is_not_null()).row(0, named=True)


@pytest.fixture
def probe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


class TestShow:
    def test_a_further_name_finds_it(self, probe, results, listed):
        (row,) = listed.filter(pl.col("synonyms") != "").rows(named=True)
        said = probe("show", "CAS 64-17-5", "--results", results).stdout
        assert row["conformer_id"] in said
        assert "CAS 64-17-5; spirit" in said

    def test_it_tells_everything(self, probe, results, scored):
        said = probe("show", scored["conformer_id"], "--results", results).stdout
        for fact in ("conformer_id", "molecule_id", "source", "smiles", "verdict", "reason"):
            assert str(scored[fact]) in said
        assert f"{scored['energy_ev']:.6f} eV" in said
        assert f"{scored['p_unreliable']:.3f}" in said
        assert "part-0.parquet" in said

    def test_atoms_are_ranked_by_importance(self, results, scored):
        (found,) = story.find([results], scored["conformer_id"])
        shares = [share for *_, share in found.atoms]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == scored["n_atoms"]
        number, symbol, share = found.atoms[0]
        assert found.scored["importance"][number - 1] == pytest.approx(share)
        assert (
            Chem.GetPeriodicTable().GetAtomicNumber(symbol) == found.geometry["numbers"][number - 1]
        )

    def test_the_beginning_of_an_id_or_a_name_will_do(self, results, listed, scored):
        wanted = scored["conformer_id"]
        (found,) = story.find([results], wanted[:12])
        assert found.triaged == scored
        once = listed.filter(~pl.col("molecule_id").is_duplicated()).row(-1, named=True)
        (found,) = story.find([results], once["molecule_id"])
        assert found.geometry["conformer_id"] == once["conformer_id"]

    def test_what_means_several_is_refused(self, results):
        with pytest.raises(ProbeError, match="means 61 conformers; give the id of one: "):
            story.find([results], "")

    def test_a_miss_names_the_nearest(self, probe, results, listed):
        name = listed["molecule_id"][7]
        result = probe("show", f"{name}x", "--results", results)
        assert result.exit_code == 2
        assert name in result.stderr.partition("did you mean ")[2]

    def test_of_every_library_that_has_it(self, results, scored, tmp_path):
        (tmp_path / "another").symlink_to(results)
        assert len(story.find([results, tmp_path / "another"], scored["conformer_id"])) == 2

    def test_the_libraries_of_this_folder_are_the_default(self, probe, results, scored, tmp_path):
        assert "name its folder with --results" in probe("show", "x").stderr
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "demo").symlink_to(results)
        assert probe("show", scored["conformer_id"]).exit_code == 0

    def test_as_json_and_as_a_drawing(self, probe, results, scored, tmp_path):
        words = ("show", scored["conformer_id"], "--results", results, "--json")
        (record,) = json.loads(probe(*words, "--svg", tmp_path / "a.svg").stdout)
        assert record["p_unreliable"] == scored["p_unreliable"]
        assert sum(atom["importance"] for atom in record["atoms"]) == pytest.approx(1, abs=1e-4)
        assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
        assert "var(" not in (tmp_path / "a.svg").read_text()

    def test_before_dft_no_final_energy_is_told(self, probe, results, scored):
        words = ("show", scored["conformer_id"], "--results", results)
        assert "final energy" not in probe(*words).stdout
        assert json.loads(probe(*words, "--json").stdout)[0]["final"] is None

    @pytest.mark.parametrize(
        ("changed", "line"),
        [
            (
                {"source": "dft", "method": "B97-3c (PySCF)", "energy_shifted_ev": -41.0},
                "-40.000000 eV, dft: B97-3c (PySCF); -41.000000 eV on the backbone's scale",
            ),
            ({"source": "dft", "method": "PBE (ORCA)"}, "-40.000000 eV, dft: PBE (ORCA)"),
            (
                {"source": "mlip", "method": "aimnet2-b973c", "reason": "beyond the budget"},
                "-40.000000 eV, mlip: aimnet2-b973c; not recomputed: beyond the budget",
            ),
            (
                {"energy_ev": None, "reason": "the SCF did not converge"},
                "none; not recomputed: the SCF did not converge",
            ),
        ],
        ids=["by DFT", "by another method", "by the backbone", "nobody's"],
    )
    def test_after_dft_the_final_energy_is_told_and_whose_it_is(
        self, probe, results, scored, tmp_path, changed, line
    ):
        folder = tmp_path / "library"
        shutil.copytree(results, folder)
        row = dict.fromkeys(schemas.ENERGIES.names)
        row |= {"conformer_id": scored["conformer_id"], "energy_ev": -40.0, **changed}
        tables.write(folder / "energies.parquet", [row], schemas.ENERGIES, {})
        words = ("show", scored["conformer_id"], "--results", folder)
        assert f"final energy     {line}\n" in probe(*words).stdout
        assert json.loads(probe(*words, "--json").stdout)[0]["final"] == row

    def test_a_conformer_that_came_after_dft_has_no_final_energy(self, results, scored, tmp_path):
        folder = tmp_path / "library"
        shutil.copytree(results, folder)
        tables.write(folder / "energies.parquet", [], schemas.ENERGIES, {})
        (found,) = story.find([folder], scored["conformer_id"])
        assert found.final is None

    def test_what_was_refused_has_no_atoms(self, probe, results, listed):
        refused = listed.filter(pl.col("energy_ev").is_null())["conformer_id"][0]
        said = probe("show", refused, "--results", results).stdout
        assert "importance" not in said
        assert "p_unreliable     -" in said


class TestExport:
    @pytest.mark.parametrize("verdict", ["accept", "recompute"])
    def test_csv_is_the_list(self, probe, results, listed, tmp_path, verdict):
        out = tmp_path / "list.csv"
        assert probe("export", results, "--verdict", verdict, "--out", out).exit_code == 0
        found = pl.read_csv(out)
        wanted = listed.filter(verdict=verdict)
        assert found["conformer_id"].to_list() == wanted["conformer_id"].to_list()
        assert found["p_unreliable"].to_list() == wanted["p_unreliable"].to_list()

    def test_sdf_has_what_was_decided(self, probe, results, listed, tmp_path):
        out = tmp_path / "a.sdf"
        probe("export", results, "--format", "sdf", "--verdict", "accept", "--out", out)
        molecules = list(Chem.SDMolSupplier(str(out), removeHs=False))
        wanted = listed.filter(verdict="accept").to_dicts()
        assert len(molecules) == len(wanted)
        for molecule, row in zip(molecules, wanted, strict=True):
            assert molecule.GetProp("verdict") == "accept"
            for name in ("reason", "conformer_id"):
                assert molecule.GetProp(name) == row[name]
            for name in ("energy_ev", "p_unreliable"):
                assert float(molecule.GetProp(name)) == pytest.approx(row[name])

    def test_all_of_it_lies_beside_the_lists_by_default(self, probe, results, listed):
        probe("export", results, "--format", "parquet")
        found = tables.frame(results / "export" / "all.parquet", schemas.SELECTED)
        assert found.height == listed.height


@pytest.mark.parametrize("verdict", story.LISTS)
def test_lists_open_in_pandas_polars_and_duckdb(results, verdict):
    path = results / f"{verdict}.parquet"
    wanted = tables.frame(path, schemas.TRIAGED)
    assert pl.read_parquet(path).equals(wanted)
    frame = pd.read_parquet(path)
    assert frame["conformer_id"].to_list() == wanted["conformer_id"].to_list()
    assert frame["n_atoms"].sum() == wanted["n_atoms"].sum()
    found = duckdb.sql(f"SELECT count(*), max(p_unreliable) FROM '{path}'").fetchall()
    assert found[0] == (wanted.height, wanted["p_unreliable"].max())
