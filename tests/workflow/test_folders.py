"""Libraries of several files through the workflow."""

import re
import shutil

import pytest
import repository
from repository import ROOT

from probe.library import plan

RELEASE = ROOT / "tests/data/loqi_h.pt"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with a folder of three records in two files."""
    root = tmp_path_factory.mktemp("folders") / "repository"
    repository.copy(root)
    (root / "my set/b").mkdir(parents=True)
    (root / "my set/a.smi").write_text("C a\nCC b\n")
    (root / "my set/b/c d.csv").write_text("smiles,name\nO,c\n")
    (root / "graphs").mkdir()
    shutil.copy(RELEASE, root / "graphs")
    return root


@pytest.mark.parametrize("library", ["my set", "my set/**/*.*"])
def test_shards_run_through_the_files_of_a_folder_or_pattern(root, library):
    config = ("--config", f"library={library}", "shard_size=2")
    run = repository.snakemake(root, "--dry-run", "results/my-set/report.html", *config)
    assert run.returncode == 0, run.stdout[-5000:]
    inputs = [
        line for line in run.stdout.splitlines() if "results/my-set/plan.json, models" in line
    ]
    assert sorted("a.smi" in line for line in inputs) == [False, True]
    assert sorted("b/c d.csv" in line for line in inputs) == [False, True]
    made = plan.load(root / "results/my-set/plan.json")
    assert [source.name for source in made.sources] == ["a.smi", "b/c d.csv"]


def test_a_pickle_is_planned_only_where_the_configuration_trusts_it(root):
    refused = repository.snakemake(root, "--dry-run", "--config", "library=graphs")
    assert refused.returncode != 0
    assert "is a pickle, which could run code" in refused.stdout.splitlines()[-1]
    trusted = ("library=graphs", "ingest={pickles: trust}")
    run = repository.snakemake(root, "--dry-run", "--printshellcmds", "--config", *trusted)
    assert run.returncode == 0, run.stdout[-5000:]
    assert "--pickles trust" in run.stdout


@pytest.mark.parametrize(
    ("shard_size", "cores", "n_shards", "threads"),
    [(25_000, "2", 1, "2"), (2, "2", 2, "1"), (2, "8", 2, "2")],
)
def test_a_job_has_one_thread_where_every_core_has_a_shard(
    root, shard_size, cores, n_shards, threads
):
    config = ("--config", "library=my set", f"shard_size={shard_size}")
    run = repository.snakemake(root, "--dry-run", "--printshellcmds", "--cores", cores, *config)
    assert run.returncode == 0, run.stdout[-5000:]
    for rule in ("embed", "score"):
        blocks = re.findall(rf"^rule {rule}:\n((?:    .*\n)*)", run.stdout, re.M)
        assert [*map(threads_of, blocks)] == n_shards * [threads]


def threads_of(block):
    """What a job of a dry run says of its threads; of one it says nothing."""
    found = re.search(r"^    threads: (\d+)$", block, re.M)
    return found[1] if found else "1"
