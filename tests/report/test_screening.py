"""Reading a triaged library for the report: every conformer once, and counts that agree."""

import numpy as np
import pytest
from report_library import HOSTILE, library

from probe import schemas, tables
from probe.classifier.risk import Promise
from probe.errors import ProbeError
from probe.report import screening
from probe.triage.policy import Policy

SMALL = ["CCO", "CO", "c1ccccc1", "CCN", "ClC(Cl)Cl", "CI"]


def changed_summary(inputs, **changes):
    path = inputs.triage / "summary.json"
    tables.write_json(path, tables.read_json(path) | changes)


def test_lists_hold_every_conformer_once(tmp_path):
    made = library(SMALL)
    loaded = screening.load(made.write(tmp_path))
    assert sorted(loaded.listed["conformer_id"].to_pylist()) == sorted(
        row["conformer_id"] for row in made.conformers
    )
    assert int(loaded.accepted.sum()) == loaded.summary["n_accept"]
    assert int(np.isnan(loaded.p).sum()) == loaded.summary["n_refused"] == 1


def test_shards_are_matched_by_id_and_not_by_order(tmp_path):
    made = library(SMALL)
    made.scores.reverse()
    loaded = screening.load(made.write(tmp_path, n_shards=3))
    p = np.full(len(SMALL), np.nan)
    columns = ["p_unreliable"]
    for rows, table in loaded.shards(loaded.inputs.scores, schemas.SCORES, columns):
        p[rows] = table["p_unreliable"].to_numpy()
    np.testing.assert_array_equal(p, loaded.p)


def test_a_conformer_of_two_shards_is_met_once(tmp_path):
    made = library(SMALL)
    made.conformers.append(made.conformers[0] | {"source": "demo.smi:99"})
    made.scores.append(made.scores[0])
    loaded = screening.load(made.write(tmp_path, n_shards=2))
    assert loaded.summary["n_duplicates"] == 1
    met = [
        row
        for rows, _ in loaded.shards(loaded.inputs.conformers, schemas.CONFORMERS, ["n_atoms"])
        for row in rows
    ]
    assert sorted(met) == list(range(len(SMALL)))


def test_a_shard_of_another_library_is_refused(tmp_path):
    inputs = library(SMALL).write(tmp_path / "one")
    other = library(["CCCC", "CCCCC"]).write(tmp_path / "two")
    loaded = screening.load(inputs)
    with pytest.raises(ProbeError, match="in neither list"):
        list(loaded.shards(other.scores, schemas.SCORES, ["energy_ev"]))


def test_a_missing_shard_is_noticed(tmp_path):
    loaded = screening.load(library(SMALL).write(tmp_path))
    with pytest.raises(ProbeError, match="in none of the 1 shards"):
        list(loaded.shards(loaded.inputs.scores[:1], schemas.SCORES, ["energy_ev"]))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"n_accept": 99}, "n_accept \\+ n_recompute"),
        ({"n_accept": 1, "n_recompute": 5, "reasons": {"unreliable": 5}}, "accepted rows"),
        ({"n_recompute": 0}, "reasons to recompute"),
        ({"n_rejected": 3, "n_records": 9}, "rejected rows"),
        ({"n_conformers": 5}, "n_conformers \\+ n_duplicates"),
        ({"n_refused": 0}, "refused conformers"),
        ({"n_records": 1}, "n_ingested \\+ n_rejected"),
        ({"n_duplicates": 4}, "n_conformers \\+ n_duplicates"),
        ({"reasons": {"backbone": 1}}, "reasons to recompute"),
    ],
)
def test_counts_that_disagree_stop_the_report(tmp_path, changes, what):
    made = library(SMALL)
    made.rejected = [{"source": "demo.smi:7", "reason": "unreadable", "molecule_id": HOSTILE}]
    inputs = made.write(tmp_path)
    screening.load(inputs)
    changed_summary(inputs, **changes)
    with pytest.raises(ProbeError, match=what):
        screening.load(inputs)


def test_a_summary_without_a_count_is_named(tmp_path):
    inputs = library(SMALL).write(tmp_path)
    path = inputs.triage / "summary.json"
    summary = tables.read_json(path)
    del summary["n_records"]
    tables.write_json(path, summary)
    with pytest.raises(ProbeError, match=r"summary\.json: no n_records;"):
        screening.load(inputs)


@pytest.mark.parametrize(
    ("policy", "cutoff"),
    [
        (Policy(accept_confidence=0.8), 0.8),
        (Policy(accept_confidence=0.9, recompute_confidence=0.7, between="accept"), 0.3),
        (Policy(policy="budget", budget_core_hours=0.1), None),
    ],
)
def test_accept_cutoff_is_where_the_lists_part(tmp_path, policy, cutoff):
    loaded = screening.load(library().write(tmp_path, policy=policy))
    decided = loaded.by_confidence
    if cutoff is None:
        cutoff = 1 - loaded.p[decided & loaded.accepted].max()
    assert loaded.accept_cutoff == pytest.approx(cutoff)
    assert loaded.p[decided & loaded.accepted].max() < 1 - cutoff + 1e-9
    assert loaded.p[decided & ~loaded.accepted].min() > 1 - cutoff - 1e-9


def test_a_promise_parts_the_lists_at_its_cutoff(tmp_path):
    promised = Promise(0.1, 0.9, 0.25, 300, 120, 6, 0.086, 22)
    made = library().write(tmp_path, policy=Policy(policy="risk"), promised=promised)
    loaded = screening.load(made)
    assert (loaded.accept_cutoff, loaded.recompute_cutoff) == (0.75, None)
    assert loaded.p[loaded.accepted].max() <= 0.25
    assert loaded.p[loaded.by_confidence & ~loaded.accepted].min() > 0.25


def test_where_nothing_is_promised_there_is_no_cutoff(tmp_path):
    promised = Promise(0.1, 0.9, None, 15, 0, 0, None, 22)
    made = library().write(tmp_path, policy=Policy(policy="risk"), promised=promised)
    loaded = screening.load(made)
    assert (loaded.accept_cutoff, loaded.summary["n_accept"]) == (None, 0)
    assert loaded.by_confidence.sum() == loaded.summary["reasons"]["no promise"]
