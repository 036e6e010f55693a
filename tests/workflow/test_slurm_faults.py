"""What may befall a job on a cluster, done to jobs of a screening on a real SLURM."""

import cluster
import pytest
import repository

from probe import schemas, tables

FAULTS = ("cancelled", "greedy", "late")
"""Libraries, named after what becomes of their first jobs."""
LENGTHS = range(10, 50)
ALCOHOLS = "".join(f"{'C' * n}O alcohol-{n}\n" for n in LENGTHS)
"""Few, but a job on them lasts long enough to be met at work, and ended before it is done."""
TARGETS = [f"results/{name}/conformers/00000.parquet" for name in FAULTS]
RETRIED = {"cancelled", "greedy"}
"""Those to which it happens once more when the screening is called again."""


def copy(root, libraries):
    """The repository, with a library of each name."""
    repository.copy(root)
    for name, smiles in libraries.items():
        (root / f"{name}.smi").write_text(smiles)
    rows = ["library\tpath", *(f"{name}\t{name}.smi" for name in libraries)]
    (root / "config/libraries.tsv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def root(aimnet_file, tmp_path_factory):
    cluster.require_own()
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("faults") / "repository"
    copy(root, dict.fromkeys(FAULTS, ALCOHOLS))
    return root


@pytest.fixture(scope="module")
def screen():
    """Starts a screening with two jobs of one thread at a time."""
    started = []

    def start(root, name, *arguments):
        threads = ("--set-threads", "ingest=1", "embed=1")
        started.append(cluster.Screening(root, name, *arguments, *threads))
        return started[-1]

    yield start
    for screening in started:
        screening.stop()


def first_of_each(run):
    return {job.library: job for job in run.submitted(len(FAULTS))}


@pytest.fixture(scope="module")
def stopped(root, screen):
    """A screening that tries nothing again: how it ended and the job of each library."""
    with cluster.nothing_starts("cpu"):
        run = screen(root, "stopped", "--retries", "0", *TARGETS)
        job = first_of_each(run)
        cluster.update(job["greedy"], MinMemoryNode=300)
        cluster.update(job["late"], TimeLimit=1)
        cluster.command("scontrol", "hold", job["greedy"].id)  # the others run side by side
    run.works(job["cancelled"])
    cluster.command("scancel", job["cancelled"].id)
    run.works(job["late"])
    cluster.command("scancel", "--signal=STOP", job["late"].id)  # it hangs
    cluster.command("scontrol", "release", job["greedy"].id)
    return run.wait(), run, job


class TestWithoutRetries:
    def test_the_workflow_stops(self, stopped):
        assert stopped[0] == 1

    def test_the_accounting_has_the_job_cancelled(self, stopped):
        assert cluster.state(stopped[2]["cancelled"]) == "CANCELLED"

    def test_the_accounting_has_the_job_out_of_time(self, stopped):
        assert cluster.state(stopped[2]["late"]) == "TIMEOUT"

    def test_the_accounting_has_the_job_out_of_memory(self, stopped):
        job = stopped[2]["greedy"]
        assert cluster.state(job) in {"FAILED", "OUT_OF_MEMORY"}
        assert cluster.killed_for_memory() in cluster.steps(job)

    def test_the_user_reads_which_job_and_why(self, stopped):
        _, run, job = stopped
        why = {"cancelled": "CANCELLED", "late": "TIMEOUT", "greedy": cluster.killed_for_memory()}
        for name, state in why.items():
            assert f"'{job[name].id}' failed, SLURM status is: '{state}'" in run.log

    def test_nothing_is_half_written(self, stopped):
        assert [path for path in stopped[1].root.glob("results/*/*/*") if path.is_file()] == []


@pytest.fixture(scope="module")
def resumed(stopped, screen):
    """The same call with the profile's retries; the node fails, too, once those have ended."""
    with cluster.nothing_starts("cpu"):
        run = screen(stopped[1].root, "resumed", *TARGETS)
        job = first_of_each(run)
        cluster.update(job["greedy"], MinMemoryNode=300)
        cluster.command("scontrol", "hold", job["late"].id)
    run.works(job["cancelled"])
    cluster.command("scancel", job["cancelled"].id)
    for name in RETRIED:
        cluster.ended(run.submitted(2, name)[1], "COMPLETED")
    cluster.command("scontrol", "release", job["late"].id)
    run.works(job["late"])
    cluster.set_down()
    try:
        cluster.ended(job["late"], "NODE_FAIL")
    finally:
        cluster.set_up()
    # by then its processes are gone from the node; SLURM by itself would wait two minutes
    cluster.update(job["late"], StartTime="now+20")
    return run.wait(), run


class TestTheSameCallAgain:
    def test_it_finishes(self, resumed):
        assert resumed[0] == 0, resumed[1].log[-5000:]

    @pytest.mark.parametrize("name", sorted(RETRIED))
    def test_a_job_that_failed_was_tried_once_more(self, resumed, name):
        first, second = resumed[1].jobs(name)
        assert cluster.state(first) in {"CANCELLED", "FAILED", "OUT_OF_MEMORY"}
        assert cluster.state(second) == "COMPLETED"

    @pytest.mark.parametrize("name", sorted(RETRIED))
    def test_the_second_try_asked_for_more_memory_and_time(self, resumed, name):
        asked = [cluster.runs(job)[-1] for job in resumed[1].jobs(name)]
        assert asked[1]["ReqMem"] == "8000M"
        assert [row["TimelimitRaw"] for row in asked] == ["120", "240"]
        assert asked[0]["ReqMem"] == {"cancelled": "4000M", "greedy": "300M"}[name]

    def test_slurm_ran_the_job_of_the_failed_node_again(self, resumed):
        (job,) = resumed[1].jobs("late")
        assert [run["State"] for run in cluster.runs(job)] == ["NODE_FAIL", "COMPLETED"]

    def test_no_node_is_avoided_that_is_back(self, resumed):
        assert "excluded" not in resumed[1].log

    @pytest.mark.parametrize("name", FAULTS)
    def test_the_conformers_are_there(self, resumed, name):
        path = resumed[1].root / f"results/{name}/conformers/00000.parquet"
        assert tables.read(path, schemas.CONFORMERS).num_rows == len(LENGTHS)


@pytest.fixture(scope="module")
def together(aimnet_file, screen, tmp_path_factory):
    """Two screenings of one library, that embed at the same moment, with one cache."""
    cluster.require_own()
    assert aimnet_file.is_file()
    folder = tmp_path_factory.mktemp("together")
    roots = folder / "first", folder / "second"
    for root in roots:
        copy(root, {"small": "CCO ethanol\nCC(=O)O acetic acid\n"})
    call = ("results/small/embedded/00000.parquet", "--config", f"cache={folder / 'cache'}")
    with cluster.nothing_starts("gpu"):
        screenings = [screen(root, "together", *call) for root in roots]
        jobs = [screening.submitted(2)[1] for screening in screenings]
    codes = [screening.wait() for screening in screenings]
    assert codes == [0, 0], [screening.log[-5000:] for screening in screenings]
    return folder / "cache", roots, jobs


class TestTwoScreeningsWithOneCache:
    def test_they_ran_at_the_same_time(self, together):
        first, second = (cluster.runs(job)[-1] for job in together[2])
        assert first["State"] == second["State"] == "COMPLETED"
        assert first["Start"] <= second["End"]
        assert second["Start"] <= first["End"]

    def test_they_have_the_same_answer(self, together):
        first, second = (
            tables.read(root / "results/small/embedded/00000.parquet", schemas.EMBEDDED)
            for root in together[1]
        )
        assert first.equals(second)
        assert first.num_rows == 2

    def test_the_cache_is_whole(self, together):
        cache, roots, _ = together
        repository.probe(roots[0], "cache", "verify", "--cache", str(cache))
