"""Triage in pieces: the same lists as from the library held whole, whatever the pieces."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from triaged import CARD, on_disk, rows

from probe import schemas, streams, tables
from probe.conformers.ingest import merge_duplicates
from probe.dft.cost import core_hours
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
        verdict: decided.filter(verdict=verdict).select(schemas.TRIAGED.names)
        for verdict in ("accept", "recompute")
    }
    return lists | {"molecules": ensembles.molecules(decided)}


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
