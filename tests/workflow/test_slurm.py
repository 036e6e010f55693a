"""The demo libraries through a real SLURM, as a user would send them there."""

import json
import os
import shutil
import subprocess
import time

import pytest
import repository

RULES = ("ingest", "embed", "score", "triage", "changes", "report")
LIBRARIES = ("demo", "demo-3d")
PARTITIONS = """\
partitions:
  cpu:
    max_threads: 64
  gpu:
    max_threads: 64
    max_gpu: 2
"""


def slurm_answers():
    if shutil.which("sinfo") is None:
        return False
    try:
        answer = subprocess.run(
            ["sinfo", "--noheader", "--format=%R"],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except subprocess.TimeoutExpired:
        return False
    return {"cpu", "gpu"} <= set(answer.stdout.split())


def require_slurm():
    """A SLURM with partitions cpu and gpu, which PROBE_REQUIRE_SLURM=1 demands."""
    if slurm_answers():
        return
    reason = "no SLURM with partitions cpu and gpu answers; start one: tests/slurm/start.sh DIR"
    if os.environ.get("PROBE_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """The demo screened on SLURM: a copy of the repository, Snakemake's log, the jobs."""
    require_slurm()
    root = tmp_path_factory.mktemp("slurm") / "repository"
    repository.copy(root)
    partitions = root / "partitions.yaml"
    partitions.write_text(PARTITIONS)
    started = time.strftime("%Y-%m-%dT%H:%M:%S")
    run = repository.snakemake(
        root,
        *("--profile", "slurm"),
        # The plugin waits 40 s for every job's first state; this SLURM knows it at once.
        *("--slurm-init-seconds-before-status-checks", "5"),
        SNAKEMAKE_SLURM_PARTITIONS=str(partitions),
    )
    assert run.returncode == 0, run.stdout[-10_000:]
    return root, run.stdout, jobs_since(started, run.stdout)


def jobs_since(started, log):
    """What sacct says of every job of the run, once all have ended."""
    submitted = log.count("has been submitted with SLURM jobid")
    fields = ("JobID", "JobName", "Partition", "ReqTRES", "State", "Comment")
    deadline = time.monotonic() + 120  # the accounting learns of an end up to 40 s late
    while True:
        answer = subprocess.run(
            [
                *("sacct", "--allocations", "--noheader", "--parsable2"),
                *("--starttime", started, "--format", ",".join(fields)),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        rows = [
            dict(zip(fields, row.split("|"), strict=True)) for row in answer.stdout.splitlines()
        ]
        jobs = [row for row in rows if f"SLURM run ID: {row['JobName']}" in log]
        if len(jobs) == submitted and all(job["State"] == "COMPLETED" for job in jobs):
            return jobs
        assert time.monotonic() < deadline, f"{submitted} jobs submitted, sacct knows {jobs}"
        time.sleep(2)


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
