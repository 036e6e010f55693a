"""The workflow from library files to reports, as a user runs it, in a copy of the repository."""

import html
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest
import repository
from rdkit import Chem
from repository import NOTHING, jobs
from small_library import HOSTILE, RECORDS

from probe import tables

SPACED = "path with spaces/evil name.smi"
LISTS = {
    *("conformer_id", "molecule_id", "source", "smiles", "n_atoms", "charge", "multiplicity"),
    *("energy_ev", "p_unreliable", "verdict", "reason"),
}
"""Columns that accept.parquet and recompute.parquet promise."""
FIGURES = (
    *("decision", "descriptors", "elements", "enrichment", "motifs", "reliability"),
    "umap",
)
"""Of the report, each as SVG and PNG."""


@pytest.fixture(scope="session")
def rescreened(root):
    """The same records in another order and file, in one shard, in the same repository."""
    (root / SPACED).parent.mkdir()
    (root / SPACED).write_text("".join(reversed(RECORDS)))
    run = repository.snakemake(root, "--cores", "2", "--config", *spaced())
    assert run.returncode == 0, run.stdout[-10_000:]
    return root / "results/evil-name"


def spaced():
    return f"library={SPACED}", "shard_size=100"


def frame(folder, name):
    return pl.read_parquet(folder / f"{name}.parquet")


def summary(folder):
    return tables.read_json(folder / "summary.json")


class TestABareRun:
    def test_it_schedules_every_stage(self, screened):
        assert jobs(screened[1]) == {
            **{"weights": 1, "ingest": 3, "embed": 3, "score": 3},
            **{"triage": 2, "changes": 2, "report": 2, "remember": 2, "all": 1, "total": 19},
        }

    def test_a_second_one_schedules_nothing(self, root):
        run = repository.snakemake(root, "--cores", "2")
        assert run.returncode == 0
        assert NOTHING in run.stdout

    def test_nor_does_one_after_the_code_changed(self, root):
        for path in (root / "probe").glob("*.py"):
            os.utime(path)
        assert NOTHING in repository.snakemake(root, "--dry-run").stdout

    def test_every_job_left_a_log_and_a_benchmark(self, root):
        stages = ["small/ingest/00001", "small/embed/00001", "small/score/00001", "small/triage"]
        for stage in (*stages, "small/report", "weights/aimnet2-b973c"):
            assert (root / f"logs/{stage}.log").is_file()
            assert (root / f"benchmarks/{stage}.tsv").is_file()


class TestOutputs:
    @pytest.fixture
    def folder(self, root):
        return root / "results/small"

    def test_the_counts(self, folder):
        counts = summary(folder)
        wanted = {"n_records": 12, "n_ingested": 11, "n_rejected": 1, "n_conformers": 10}
        assert {key: counts[key] for key in wanted} == wanted
        assert counts["n_accept"] + counts["n_recompute"] == 10
        assert (counts["n_duplicates"], counts["n_refused"]) == (1, 2)

    def test_what_the_summary_says_of_the_run(self, folder):
        found = summary(folder)
        assert found["checkpoint"] == "aimnet2-b973c"
        assert found["fingerprint"] == "7e4575c45376bb61"
        assert found["cutoffs"]["accept_confidence"] == 0.6
        assert found["cutoffs"]["recompute_confidence"] == 0.6
        assert {"probe-screen", "aimnet", "torch"} <= set(found["versions"])

    def test_the_lists_have_the_promised_columns(self, folder):
        for name in ("accept", "recompute"):
            assert set(frame(folder, name).columns) >= LISTS
        assert {"source", "reason"} <= set(frame(folder, "rejected").columns)

    def test_every_conformer_is_in_exactly_one_list(self, folder):
        shards = sorted((folder / "conformers").glob("*.parquet"))
        given = pl.concat(map(pl.read_parquet, shards))["conformer_id"].unique().to_list()
        lists = pl.concat([frame(folder, "accept"), frame(folder, "recompute")])
        assert sorted(lists["conformer_id"]) == sorted(given)
        counts = summary(folder)
        assert frame(folder, "accept").height == counts["n_accept"]
        assert frame(folder, "recompute").height == counts["n_recompute"]

    def test_the_conformers_have_what_a_calculation_needs(self, folder):
        table = pl.read_parquet(folder / "conformers/00000.parquet")
        wanted = {"conformer_id", "numbers", "positions", "charge", "multiplicity"}
        assert wanted <= set(table.columns)
        for numbers, positions in table.select("numbers", "positions").iter_rows():
            assert len(positions) == 3 * len(numbers)

    def test_each_record_went_where_it_belongs(self, folder):
        everything = pl.concat([frame(folder, "accept"), frame(folder, "recompute")])
        rows = {row["molecule_id"]: row for row in everything.iter_rows(named=True)}
        assert rows["ethanol"]["source"] == "small.smi:1; small.smi:12"
        assert rows["sodium acetate"]["smiles"] == "CC(=O)[O-]"
        assert rows["sodium acetate"]["charge"] == -1
        assert "largest" in rows["sodium acetate"]["note"]
        assert "closed shells" in rows["ethyl radical"]["reason"]
        assert rows["ethyl radical"]["multiplicity"] == 2
        assert "element Fe" in rows["iron"]["reason"]
        assert rows["trimethylarsine"]["reason"].startswith("As is in ")
        refused = {name for name, row in rows.items() if row["energy_ev"] is None}
        assert refused == {"ethyl radical", "iron"}
        for name in refused | {"trimethylarsine"}:
            assert rows[name]["verdict"] == "recompute"
        (rejected,) = frame(folder, "rejected").to_dicts()
        assert rejected["source"] == "small.smi:7"
        assert "C(C" in rejected["reason"]

    def test_the_sd_file_is_the_recompute_list(self, folder):
        path = str(folder / "recompute.sdf")
        molecules = list(Chem.SDMolSupplier(path, removeHs=False))
        sent = frame(folder, "recompute")
        assert [mol.GetProp("conformer_id") for mol in molecules] == sent["conformer_id"].to_list()
        assert [mol.GetIntProp("charge") for mol in molecules] == sent["charge"].to_list()
        assert [mol.GetIntProp("multiplicity") for mol in molecules] == sent[
            "multiplicity"
        ].to_list()
        p = [mol.HasProp("p_unreliable") for mol in molecules]
        assert p == sent["p_unreliable"].is_not_null().to_list()

    def test_the_report_is_one_page_that_runs_nothing_of_a_strangers(self, folder):
        page = (folder / "report.html").read_text()
        assert HOSTILE not in page
        assert page.lstrip().lower().startswith("<!doctype html")
        for figure in FIGURES:
            assert (folder / f"figures/{figure}.svg").stat().st_size > 0

    def test_a_library_of_no_records_ends_in_a_report_too(self, root):
        folder = root / "results/empty"
        counts = summary(folder)
        keys = ("n_records", "n_ingested", "n_rejected", "n_conformers", "n_accept", "n_recompute")
        assert [counts[key] for key in keys] == [0] * 6
        assert (folder / "report.html").is_file()

    def test_and_is_said_to_be_one(self, root):
        line = f"{root}/empty.smi: no records there; if there should be any, write the file again"
        assert f"\nprobe: {line}" in repository.snakemake(root, "--dry-run").stdout
        assert (root / "logs/empty/ingest/00000.log").read_text().startswith(line)
        said = "empty: the library has no records, so nothing was screened\n"
        assert said in (root / "logs/empty/triage.log").read_text()


class TestAnotherLibrary:
    def test_the_same_conformers_compute_nothing(self, rescreened):
        made = tables.provenance(rescreened / "embedded/00000.parquet")
        assert (made["n_conformers"], made["n_computed"], made["n_refused"]) == (10, 0, 2)
        assert made["n_cached"] == 8

    def test_they_get_the_same_answers(self, root, rescreened):
        columns = ["conformer_id", "energy_ev", "p_unreliable", "verdict", "reason"]
        for name in ("accept", "recompute"):
            one, other = (frame(f, name) for f in (root / "results/small", rescreened))
            first, second = (
                f.select(columns).sort("conformer_id").to_dicts() for f in (one, other)
            )
            for row, again in zip(first, second, strict=True):
                p, p_again = row.pop("p_unreliable"), again.pop("p_unreliable")
                assert row == again
                assert p == (None if p is None else pytest.approx(p_again, abs=1e-5))

    def test_a_damaged_cache_is_named_and_the_same_command_again_mends_it(self, root, rescreened):
        for part in (root / "cache").glob("*/part-*.parquet"):
            part.write_bytes(part.read_bytes()[:-100])
        until = ("--until", "score", "--forcerun", "score")
        score = ("--cores", "2", *until, "--config", *spaced())
        run = repository.snakemake(root, *score)
        assert run.returncode != 0
        (line,) = {line for line in run.stdout.splitlines() if line.startswith("probe: error:")}
        assert "gone or damaged" in line
        assert "run the same `snakemake`" in line
        run = repository.snakemake(root, *score)
        assert run.returncode == 0, run.stdout[-10_000:]
        assert tables.provenance(rescreened / "embedded/00000.parquet")["n_computed"] == 8
        assert (rescreened / "scores/00000.parquet").is_file()


@pytest.mark.parametrize(
    "change",
    [
        "triage={accept_confidence: 0.9}",
        "triage={between: accept}",
        "triage={beyond_size: flag}",
    ],
)
def test_another_policy_repeats_triage_and_report_alone(root, change):
    run = repository.snakemake(root, "--dry-run", "--config", change)
    again = {"triage": 2, "changes": 2, "report": 2, "remember": 2, "all": 1, "total": 9}
    assert jobs(run.stdout) == again


def test_reference_energies_repeat_the_report_alone(root):
    references = repository.ROOT / "resources/calibration/b973c-drugs.parquet"
    named = "report={references: " + f'"{references}"' + "}"
    run = repository.snakemake(root, "--dry-run", "--printshellcmds", "--config", named)
    assert jobs(run.stdout) == {"report": 2, "remember": 2, "all": 1, "total": 5}
    assert run.stdout.count(f"--references {references}") == 2


ERRORS = {
    "an unknown key": ("chekpoint=x", "config key chekpoint is unknown; did you mean checkpoint?"),
    "an unknown key within": ("triage={betwen: accept}", "did you mean triage.between?"),
    "a missing library": ("library=none.smi", "none.smi: no such file"),
    "a library of no known kind": ("library=Makefile", "Makefile"),
    "an unknown checkpoint": ("checkpoint=aimnet2", "did you mean aimnet2-b973c?"),
    "an unknown backbone": ("backbone=aimnet3", "backbone aimnet3 is unknown"),
    "another backbone's checkpoint": (
        "backbone=aimnet2-b973c-1",
        "belongs to backbone aimnet2-b973c",
    ),
}


@pytest.mark.parametrize(("setting", "says"), ERRORS.values(), ids=ERRORS.keys())
def test_what_cannot_work_ends_in_one_line_before_anything_is_written(root, setting, says):
    before = everything(root)
    run = repository.snakemake(root, "--cores", "2", "--config", setting)
    assert run.returncode != 0
    said = [line for line in run.stdout.splitlines() if "rror" in line or "Traceback" in line]
    assert said == run.stdout.splitlines()[-1:]
    assert said[0].startswith("probe: error: ")
    assert says in said[0]
    assert everything(root) == before


def everything(root):
    """Every file a run may write, with its time."""
    return {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if not {".snakemake", "__pycache__"} & set(path.parts)
    }


def test_snakemakes_own_report_is_also_a_zip(root):
    run = repository.snakemake(root, "--report", "report.zip")
    assert run.returncode == 0, run.stdout[-5000:]
    with zipfile.ZipFile(root / "report.zip") as packed:
        names = {Path(name).name for name in packed.namelist()}
    assert {"report.html", *(f"{name}.svg" for name in FIGURES)} <= names


def test_snakemakes_own_report_shows_the_pages_with_captions(root):
    run = repository.snakemake(root, "--report", "report.html")
    assert run.returncode == 0, run.stdout[-5000:]
    page = html.unescape((root / "report.html").read_text())
    for path in ("report.html", *(f"figures/{name}.svg" for name in FIGURES)):
        assert f"results/small/{path}" in page
    for caption in (*FIGURES, "report", "workflow"):
        first = (root / f"workflow/report/{caption}.rst").read_text().strip().split("\n")[0]
        assert first.split("{{")[0].split("`")[0][:40].strip() in page, caption


def test_the_workflow_lints_clean(root):
    run = repository.snakemake(root, "--lint")
    assert run.returncode == 0, run.stdout
    assert "in a good condition" in run.stdout
