"""The demo libraries through a real SLURM, as a user would send them there."""

import json

import cluster
import polars as pl
import pytest
import repository

RULES = ("ingest", "embed", "score", "triage", "changes", "report")
LIBRARIES = ("demo", "demo-3d")


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """The demo screened on SLURM: a copy of the repository, Snakemake's log, the jobs."""
    cluster.require()
    root = tmp_path_factory.mktemp("slurm") / "repository"
    repository.copy(root)
    return root, *sent(root, "demo")


def sent(root, name, *words):
    """Snakemake's log of what it sent to SLURM, and what became of its jobs."""
    screening = cluster.Screening(root, name, *words)
    try:
        assert screening.wait() == 0, screening.log[-10_000:]
    finally:
        screening.stop()
    return screening.log, accounted(screening)


def accounted(screening):
    """What sacct says of every job of the run, once all have ended."""
    fields = ("JobID", "Partition", "ReqTRES", "State", "Comment")
    ids = ",".join(job.id for job in screening.jobs())

    def completed():
        rows = cluster.sacct("--allocations", "--jobs", ids, fields=fields)
        return rows if all(row["State"] == "COMPLETED" for row in rows) else None

    jobs = cluster.eventually(completed)
    assert len(jobs) == len(screening.jobs())
    return jobs


def rule(job):
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


@pytest.mark.parametrize("name", RULES)
def test_every_stage_ran_as_a_job_of_each_library(screened, name):
    _, _, jobs = screened
    assert len([job for job in jobs if rule(job) == name]) == len(LIBRARIES)


def test_nothing_else_ran_as_a_job(screened):
    """The weights in particular are fetched on the login node: the others may be offline."""
    _, _, jobs = screened
    assert {rule(job) for job in jobs} <= set(RULES)


def test_weights_are_there_before_anything_is_submitted(screened):
    _, log, _ = screened
    assert "(Rule: weights)" in log.partition("has been submitted")[0]


def test_only_embedding_asks_for_a_gpu(screened):
    _, _, jobs = screened
    assert {rule(job) for job in jobs if "gres/gpu=1" in job["ReqTRES"].split(",")} == {"embed"}
    assert {rule(job) for job in jobs if "gres/gpu" in job["ReqTRES"]} == {"embed"}


def test_each_job_ran_in_the_partition_that_fits(screened):
    _, _, jobs = screened
    assert {job["Partition"] for job in jobs if rule(job) == "embed"} == {"gpu"}
    assert {job["Partition"] for job in jobs if rule(job) != "embed"} == {"cpu"}


def test_every_job_says_what_memory_and_time_it_needs(screened):
    _, _, jobs = screened
    assert all("mem=" in job["ReqTRES"] for job in jobs)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_record_is_in_one_list(screened, library):
    root, _, _ = screened
    folder = root / "results" / library
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["n_records"] == summary["n_ingested"] + summary["n_rejected"] > 0
    assert summary["n_conformers"] == summary["n_accept"] + summary["n_recompute"] > 0
    for name in ("accept.parquet", "recompute.parquet", "rejected.parquet", "report.html"):
        assert (folder / name).is_file()


def test_the_recompute_list_is_computed_by_jobs_of_shards(tmp_path):
    """Three molecules of two and three atoms, the triplet among them: what is sent has DFT."""
    cluster.require()
    root = tmp_path / "repository"
    repository.copy(root)
    (root / "tiny.smi").write_text("N#N nitrogen\nO water\n[O][O] oxygen\n")
    strict = "triage={policy: cutoff, accept_confidence: 1.0, recompute_confidence: 0.5}"
    words = (
        "recompute",
        "--set-threads",
        "recompute_shard=1",
        "--config",
        "library=tiny.smi",
        strict,
    )
    _, jobs = sent(root, "recompute", *words)
    found = [rule(job) for job in jobs]
    assert found.count("energies") == 1
    assert found.count("recompute_shard") >= 1
    folder = root / "results/tiny"
    assert json.loads((folder / "recomputed.json").read_text())["n_dft"] == 3
    final = pl.read_parquet(folder / "energies.parquet")
    assert set(final.select("molecule_id", "source", "multiplicity").rows()) == {
        ("nitrogen", "dft", 1),
        ("water", "dft", 1),
        ("oxygen", "dft", 3),
    }
