"""Triage in pieces: the same lists as from the library held whole, whatever the pieces."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from triaged import CARD, conformer, on_disk, rows, score

from probe import schemas, streams, tables
from probe.classifier import card
from probe.conformers.ingest import merge_duplicates
from probe.dft.cost import core_hours
from probe.errors import ProbeError
from probe.triage import ensembles
from probe.triage.policy import Policy
from probe.triage.verdicts import decide, triage_library

NAMES = ("accept", "recompute", "molecules")
WATER = core_hours(pl.Series([[8, 1, 1]], dtype=pl.List(pl.UInt8))).item()
BUDGET = Policy(policy="budget", budget_core_hours=15.5 * WATER)


def whole(folder, policy):
    """The lists by the plain rules, the library held whole."""
    conformers, scores = (
        pl.concat([tables.frame(p, schema) for p in sorted((folder / stage).glob("*"))])
        for stage, schema in (("conformers", schemas.CONFORMERS), ("scores", schemas.SCORES))
    )
    answers = scores.unique("conformer_id", keep="first", maintain_order=True).drop("verdict")
    scored = merge_duplicates(conformers).join(answers, on="conformer_id", maintain_order="left")
    decided = decide(scored, CARD, policy)
    lists = {
        verdict: decided.filter(verdict=verdict)
        .with_columns(pl.col("synonyms").list.join("; ").fill_null(""))
        .select(schemas.TRIAGED.names)
        for verdict in ("accept", "recompute")
    }
    names = [[name, *(others or [])] for name, others in decided["molecule_id", "synonyms"].rows()]
    by_name = decided.with_columns(molecule_id=pl.Series(names)).explode("molecule_id")
    return lists | {"molecules": ensembles.molecules(by_name)}


SCHEMAS = {
    "accept": schemas.TRIAGED,
    "recompute": schemas.TRIAGED,
    "molecules": schemas.MOLECULES,
}


@pytest.mark.parametrize("policy", [Policy(), BUDGET], ids=["cutoffs", "budget"])
@pytest.mark.parametrize("size", [1, 4, 15, 1000])
def test_the_lists_are_those_of_the_library_held_whole(tmp_path, monkeypatch, policy, size):
    on_disk(tmp_path, *rows(seed=size))
    monkeypatch.setattr(streams, "ROWS", size)
    summary = triage_library(tmp_path, CARD, policy, tmp_path / "held_out.parquet")
    expected = whole(tmp_path, policy)
    assert summary["n_duplicates"] > 0
    assert min(table.height for table in expected.values()) > 0
    for name, table in expected.items():
        found = tables.frame(tmp_path / f"{name}.parquet", SCHEMAS[name])
        wanted = pl.DataFrame(table.to_arrow().cast(SCHEMAS[name]))
        assert_frame_equal(found, wanted, rel_tol=1e-12)  # sums round in another order
    sdf = (tmp_path / "recompute.sdf").read_text()
    assert sdf.count("$$$$") == expected["recompute"].height
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_summary_does_not_depend_on_the_pieces(tmp_path, monkeypatch):
    on_disk(tmp_path, *rows(seed=7))
    found = []
    for size in (2, 1000):
        monkeypatch.setattr(streams, "ROWS", size)
        found.append(triage_library(tmp_path, CARD, BUDGET, tmp_path / "held_out.parquet"))
    first, second = ({**s, "dft_core_hours": None} for s in found)
    assert first == second
    hours = [summary["dft_core_hours"] for summary in found]
    assert hours[0] == pytest.approx(hours[1])


def test_a_conformer_of_two_names_counts_in_both_molecules(tmp_path):
    """B has two conformers, and its best one is called A, too."""
    shared, of_a, of_b = (conformer(x, f"lib.xyz:{x}", molecule_id="A") for x in (0, 1, 2))
    of_b["molecule_id"] = "B"
    again = {**shared, "molecule_id": "B", "source": "lib.xyz:3"}
    scored = [score(shared, 0.1), score(of_a, 0.2), score(of_b, 0.9), score(shared, 0.1)]
    for row, energy in zip(scored, (-3.0, -1.0, -1.0, -3.0), strict=True):
        row["energy_ev"] = energy
    on_disk(tmp_path, [[shared, of_a, of_b], [again]], [scored[:3], scored[3:]])
    triage_library(tmp_path, CARD, Policy(), tmp_path / "held_out.parquet")
    accepted = tables.frame(tmp_path / "accept.parquet", schemas.TRIAGED)
    assert dict(accepted.select("source", "synonyms").rows()) == {
        "lib.xyz:0; lib.xyz:3": "B",
        "lib.xyz:1": "",
    }
    found = tables.frame(tmp_path / "molecules.parquet", schemas.MOLECULES)
    told = found.select("molecule_id", "n_conformers", "energy_ev", "verdict").sort("molecule_id")
    assert told.rows() == [("A", 2, -3.0, "accept"), ("B", 2, -3.0, "accept")]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"name": "mine", "fingerprint": "0" * 16}, r"made with checkpoint mine of aimn.*, not wi"),
        ({"boundary_kcal": 0.5}, "made with another version of checkpoint "),
    ],
)
def test_scores_of_another_checkpoint_are_not_triaged(tmp_path, other, said):
    on_disk(tmp_path, *rows(seed=3))
    path = tmp_path / "scores/00001.parquet"
    made = card.identity(CARD | other)
    tables.write(path, tables.read(path, schemas.SCORES), schemas.SCORES, made)
    with pytest.raises(ProbeError, match=rf"00001.parquet: {said}"):
        triage_library(tmp_path, CARD, Policy(), tmp_path / "held_out.parquet")
    assert not (tmp_path / "summary.json").exists()


def test_scores_of_an_earlier_version_count_by_their_backbone(tmp_path):
    """They do not say which card they are of."""
    on_disk(tmp_path, *rows(seed=3))
    path = tmp_path / "scores/00001.parquet"
    made = card.identity(CARD) | {"device": "cpu"}
    del made["card"]
    tables.write(path, tables.read(path, schemas.SCORES), schemas.SCORES, made)
    triage_library(tmp_path, CARD, Policy(), tmp_path / "held_out.parquet")
    card.require_screened(CARD, tmp_path)
    with pytest.raises(ProbeError, match=r"accept\.parquet: made with checkpoint"):
        card.require_screened(CARD | {"name": "mine", "boundary_kcal": 0.5}, tmp_path)
