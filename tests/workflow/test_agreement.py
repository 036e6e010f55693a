"""One library by two real networks, each with a checkpoint of its own, through the workflow."""

import html
import os

import polars as pl
import pytest
import repository
from repository import jobs, probe, write_little_labels

from probe import schemas, tables
from probe.triage import agreement

RECORDS = """\
CCO ethanol
OCC again
c1ccccc1 benzene
CC(=O)Nc1ccc(O)cc1 paracetamol
NCC(=O)O glycine
CC(C)Cc1ccc(cc1)C(C)C(=O)O ibuprofen
C(C broken
[Fe] iron
"""
TABLE = """\
library\tpath\tbackbone\tcheckpoint
first\tsmall.smi
second\tsmall.smi\taimnet2-b973c-1\tmodels/probe/second
"""
FINGERPRINTS = {"first": "7e4575c45376bb61", "second": "34c80defe58443c7"}
QUICK = ("--members", "1", "--max-epochs", "2")


@pytest.fixture(scope="module")
def screened(aimnet_file, calibration, tmp_path_factory):
    """A repository that has screened one file with two networks; and what snakemake said.

    The checkpoint of the second is fitted in seconds to real labels: it knows little.
    """
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("agreement") / "repository"
    repository.copy(root)
    write_little_labels(root / "labels.parquet", calibration)
    probe(root, "weights", "fetch", "aimnet2-b973c-1")
    out = ("--cache", "cache", "--out", "models/probe/second", "--name", "second", *QUICK)
    probe(root, "train", "--labels", "labels.parquet", "--backbone", "aimnet2-b973c-1", *out)
    (root / "small.smi").write_text(RECORDS)
    (root / "config/libraries.tsv").write_text(TABLE)
    run = repository.snakemake(root, "--cores", "2")
    assert run.returncode == 0, run.stdout[-10_000:]
    return root, run.stdout


@pytest.fixture
def root(screened):
    return screened[0]


def lists(root, library):
    """Both lists of a library, by conformer."""
    folder = root / "results" / library
    frames = [pl.read_parquet(folder / f"{name}.parquet") for name in ("accept", "recompute")]
    return pl.concat(frames).sort("conformer_id")


class TestARun:
    def test_the_conformers_are_made_once_and_everything_else_for_each(self, screened):
        assert jobs(screened[1]) == {
            **{"weights": 2, "ingest": 1, "reuse": 1, "embed": 2, "score": 2, "triage": 2},
            **{"changes": 2, "report": 2, "remember": 2, "agreement": 1, "all": 1, "total": 18},
        }

    def test_a_second_one_schedules_nothing(self, root):
        assert repository.NOTHING in repository.snakemake(root, "--dry-run").stdout

    def test_each_has_its_own_network_checkpoint_and_report(self, root):
        for library, checkpoint in (("first", "aimnet2-b973c"), ("second", "second")):
            folder = root / "results" / library
            summary = tables.read_json(folder / "summary.json")
            assert summary["library"] == library
            assert summary["checkpoint"] == checkpoint
            assert summary["fingerprint"] == FINGERPRINTS[library]
            counts = [summary[f"n_{key}"] for key in ("records", "ingested", "rejected")]
            assert (*counts, summary["n_conformers"]) == (8, 7, 1, 6)
            made = tables.provenance(folder / "scores/00000.parquet")
            assert (made["checkpoint"], made["fingerprint"]) == (checkpoint, FINGERPRINTS[library])
            page = (folder / "report.html").read_text()
            assert f"Screening report: {library}</h1>" in page
            assert FINGERPRINTS[library] in page

    def test_the_same_conformers_have_another_energy_and_another_p(self, root):
        one, other = (lists(root, library) for library in FINGERPRINTS)
        assert one["conformer_id"].equals(other["conformer_id"])
        assert one["source"].equals(other["source"])
        for column in ("energy_ev", "p_unreliable"):
            pairs = zip(one[column], other[column], strict=True)
            assert [a is None or a != b for a, b in pairs] == [True] * 6

    def test_one_more_row_of_a_known_network_computes_nothing(self, root):
        made = tables.provenance(root / "results/second/embedded/00000.parquet")
        table = TABLE + "third\tsmall.smi\taimnet2-b973c-1\tmodels/probe/second\n"
        (root / "more.tsv").write_text(table)
        wanted = ("--until", "embed", "--config", "libraries=more.tsv")
        run = repository.snakemake(root, "--cores", "2", *wanted)
        assert run.returncode == 0, run.stdout[-10_000:]
        assert jobs(run.stdout) == {"reuse": 1, "embed": 1, "total": 2}
        again = tables.provenance(root / "results/third/embedded/00000.parquet")
        assert (made["n_computed"], again["n_computed"]) == (5, 0)


class TestTheirAgreement:
    @pytest.fixture
    def folder(self, root):
        return root / "results/first+second"

    @pytest.fixture
    def rows(self, folder):
        return tables.frame(folder / agreement.TABLE, schemas.AGREEMENT)

    def test_every_conformer_is_a_row(self, root, folder, rows):
        ids = lists(root, "first")["conformer_id"]
        assert sorted(rows["conformer_id"]) == ids.to_list()
        (record,) = tables.read_json(folder / agreement.RECORD)["pairs"]
        assert (record["n_both"], record["n_only_first"], record["n_only_second"]) == (6, 0, 0)
        assert sum(record["kinds"].values()) == 6
        assert record["kinds"]["refused by both"] == 1

    def test_it_says_what_the_lists_say(self, root, rows):
        for side, library in zip(agreement.SIDES, FINGERPRINTS, strict=True):
            given, found = lists(root, library), rows.sort("conformer_id")
            for column in agreement.ANSWERS:
                assert found[f"{column}_{side}"].equals(given[column], check_names=False)

    def test_the_page_is_in_snakemakes_own_report_with_a_caption(self, root, folder):
        assert "aimnet2-b973c-1 (34c80defe58443c7)" in (folder / agreement.PAGE).read_text()
        run = repository.snakemake(root, "--report", "report.html")
        assert run.returncode == 0, run.stdout[-5000:]
        said = html.unescape((root / "report.html").read_text())
        assert "results/first+second/agreement.html" in said
        assert "Where the screenings of one file, first+second, agree" in said


def test_a_library_file_that_changes_is_ingested_once_and_reaches_both(root):
    os.utime(root / "small.smi")
    found = jobs(repository.snakemake(root, "--dry-run").stdout)
    assert (found["ingest"], found["reuse"], found["agreement"]) == (1, 1, 1)


def test_a_checkpoint_of_the_other_network_is_refused_with_the_librarys_name(root):
    wrong = TABLE.replace("models/probe/second", "")
    (root / "wrong.tsv").write_text(wrong)
    run = repository.snakemake(root, "--cores", "2", "--config", "libraries=wrong.tsv")
    assert run.returncode != 0
    assert "probe: error: library second: checkpoint aimnet2-b973c belongs to" in run.stdout
    assert "not to aimnet2-b973c-1 (34c80defe58443c7); choose the checkpoint of" in run.stdout
