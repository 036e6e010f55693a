"""A watched folder, screened again and again as a scheduler does, in a copy of the repository."""

import gzip

import polars as pl
import pytest
import repository
from repository import jobs, probe, write_little_labels

from probe import tables
from probe.triage import changes

FIRST = {"CCO": "ethanol", "c1ccccc1": "benzene", "NCC(=O)O": "glycine", "CC(C)=O": "acetone"}
SECOND = {name: FIRST[name] for name in list(FIRST)[1:]} | {"CCN": "ethylamine"}
OTHER = {"c1ccccc1": "benzene", "C1CCCCC1": "cyclohexane"}
QUICK = ("--members", "1", "--max-epochs", "2")
RESCREEN = ("--cores", "2", "rescreen")
KEYS = ("--config", "watch=incoming", "watch_settle=0")
STRICT = (*KEYS, "triage={accept_confidence: 0.99, recompute_confidence: 0.99}")
RETRAINED = (*STRICT, "checkpoint=models/probe/new")


def write(root, name, records):
    (root / "incoming" / name).write_text("".join(f"{s} {n}\n" for s, n in records.items()))


def rescreen(root, *keys):
    run = repository.snakemake(root, *RESCREEN, *keys)
    assert run.returncode == 0, run.stdout[-10_000:]
    return run.stdout


def rows(root, library):
    return pl.read_parquet(root / f"results/{library}" / changes.TABLE)


def record(root, library):
    return tables.read_json(root / f"results/{library}" / changes.RECORD)


def embedded(root, library):
    return tables.provenance(root / f"results/{library}/embedded/00000.parquet")


def lists(root, library):
    folder = root / "results" / library
    frames = [pl.read_parquet(folder / f"{name}.parquet") for name in changes.LISTS]
    return pl.concat(frames).sort("conformer_id")


@pytest.fixture(scope="module")
def root(aimnet_file, tmp_path_factory):
    """A repository whose table is empty and whose watched folder holds one library."""
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("rescreen") / "repository"
    repository.copy(root)
    (root / "config/libraries.tsv").write_text("library\tpath\n")
    (root / "incoming").mkdir()
    write(root, "weekly.smi", FIRST)
    return root


@pytest.fixture(scope="module")
def first(root):
    """What the first screening said, and its lists."""
    said = rescreen(root, *KEYS)
    return said, lists(root, "weekly")


@pytest.fixture(scope="module")
def second(root, first):
    """A molecule gone and one new, and a second library; stopped after the triage, then done.

    What the history was in between, and what the whole run said.
    """
    assert first
    write(root, "weekly.smi", SECOND)
    write(root, "other.smi", OTHER)
    (root / "incoming/torn.smi.gz").write_bytes(gzip.compress(b"CCO ethanol\n" * 99)[:-10])
    stopped = repository.snakemake(root, *RESCREEN, "--until", "triage", *KEYS)
    assert stopped.returncode == 0, stopped.stdout[-10_000:]
    between = changes.finished(root / "results/weekly")
    return between, rescreen(root, *KEYS)


@pytest.fixture(scope="module")
def strict(root, second):
    """What the run with other cutoffs said, and the lists before it."""
    assert second
    before = lists(root, "weekly")
    return rescreen(root, *STRICT), before


@pytest.fixture(scope="module")
def retrained(root, strict, calibration):
    """What the run with a new checkpoint said; it is fitted in seconds and knows little."""
    assert strict
    write_little_labels(root / "labels.parquet", calibration)
    labels = ("--labels", "labels.parquet", "--backbone", "aimnet2-b973c")
    out = ("--cache", "labelled", "--out", "models/probe/new", "--name", "new", *QUICK)
    probe(root, "train", *labels, *out)
    return rescreen(root, *RETRAINED)


def test_the_first_screening_has_nothing_to_be_compared_with(root, first):
    assert "weekly: first screening: 4 conformers" in first[0]
    assert changes.finished(root / "results/weekly")[0]["n_conformers"] == 4


class TestAnotherLibrary:
    def test_only_what_the_cache_lacks_is_computed(self, root, second):
        assert second
        made = embedded(root, "weekly")
        assert (made["n_conformers"], made["n_computed"]) == (4, 1)

    def test_and_a_second_library_computes_nothing_that_the_first_did(self, root, second):
        assert second
        made = embedded(root, "other")
        assert (made["n_conformers"], made["n_computed"]) == (2, 1)

    def test_what_is_new_and_gone_is_a_row_each(self, root, second):
        assert second
        found = {row["molecule_id"]: row for row in rows(root, "weekly").to_dicts()}
        assert {name: row["kind"] for name, row in found.items()} == {
            "ethylamine": "new",
            "ethanol": "gone",
        }
        assert {row["cause"] for row in found.values()} == {"library"}
        assert record(root, "weekly")["n_same"] == 3

    def test_each_has_a_line_and_the_page_a_section(self, root, second):
        assert "1 new (library), 1 gone (library)" in second[1]
        assert "other: first screening: 2 conformers" in second[1]
        page = (root / "results/weekly/report.html").read_text()
        assert "What changed since the last screening" in page
        assert "What changed since" not in (root / "results/other/report.html").read_text()

    def test_a_run_that_ended_early_left_the_last_screening_in_its_place(self, first, second):
        between, _ = second
        assert len(between) == 1
        assert between[0]["n_conformers"] == first[1].height

    def test_a_library_that_cannot_be_read_is_named_and_stops_no_other(self, root, second):
        (line,) = {line for line in second[1].splitlines() if "left out" in line}
        assert "incoming/torn.smi.gz" in line
        assert not (root / "results/torn").exists()


class TestOtherCutoffs:
    def test_nothing_is_scored_again(self, strict):
        ran = jobs(strict[0])
        assert ran == {
            **{"triage": 2, "changes": 2, "report": 2, "remember": 2, "rescreen": 1},
            "total": 9,
        }

    def test_verdicts_changed_because_of_them(self, root, strict):
        _, before = strict
        now = lists(root, "weekly")
        different = before["verdict"] != now["verdict"]
        assert different.any()
        found = rows(root, "weekly")
        assert sorted(found["conformer_id"]) == before.filter(different)["conformer_id"].to_list()
        assert found["cause"].unique().to_list() == ["cutoffs"]
        assert found["kind"].unique().to_list() == ["to recompute"]


class TestANewCheckpoint:
    def test_everything_is_scored_and_no_backbone_runs(self, retrained):
        ran = jobs(retrained)
        assert ran == {
            **{"score": 2, "triage": 2, "changes": 2, "report": 2, "remember": 2},
            **{"rescreen": 1, "total": 11},
        }

    def test_even_where_embedding_is_forced_it_computes_nothing(self, root, retrained):
        assert retrained
        forced = ("--until", "embed", "--forcerun", "embed", *RETRAINED)
        run = repository.snakemake(root, *RESCREEN, *forced)
        assert run.returncode == 0, run.stdout[-10_000:]
        for library in ("weekly", "other"):
            assert embedded(root, library)["n_computed"] == 0
            assert embedded(root, library)["n_cached"] > 0

    def test_the_record_says_what_it_was_before_and_is_now(self, root, retrained):
        assert retrained
        found = record(root, "weekly")
        assert (found["before"]["checkpoint"], found["now"]["checkpoint"]) == (
            "aimnet2-b973c",
            "new",
        )
        assert found["before"]["fingerprint"] == found["now"]["fingerprint"]
        assert set(rows(root, "weekly")["cause"]) <= {"checkpoint"}


def test_the_history_names_every_screening_and_keeps_the_lists_of_two(root, retrained):
    assert retrained
    folder = root / "results/weekly"
    known = changes.finished(folder)
    assert len(known) == 4
    kept = {path.name for path in (folder / changes.HISTORY).iterdir() if path.is_dir()}
    assert kept == {each["id"] for each in known[-2:]}


def test_the_watched_folder_must_be_there(root):
    run = repository.snakemake(root, *RESCREEN, "--config", "watch=nowhere")
    assert run.returncode != 0
    assert "probe: error: config key watch: nowhere: no such folder" in run.stdout
