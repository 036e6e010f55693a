"""Triage in pieces: the same lists as from the library held whole, whatever the pieces."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from test_triage import CARD, conformer, score

from probe import ensembles, schemas, streams, tables
from probe.cost import core_hours
from probe.ingest import merge_duplicates
from probe.policy import Policy
from probe.triage import decide, triage_library

N_SHARDS, PER_SHARD = 4, 15
NAMES = ("accept", "recompute", "molecules")
WATER = core_hours(pl.Series([[8, 1, 1]], dtype=pl.List(pl.UInt8))).item()
BUDGET = Policy(policy="budget", budget_core_hours=15.5 * WATER)


def rows(seed):
    """Water molecules under seven names: ties in p, refused ones, repeats within the library."""
    rng = np.random.default_rng(seed)
    shards = []
    for shard in range(N_SHARDS):
        found = {}
        for record in range(PER_SHARD):
            row = conformer(
                int(rng.integers(0, 40)) / 10,
                f"lib.smi:{PER_SHARD * shard + record}",
                molecule_id=f"water {rng.integers(0, 7)}",
                multiplicity=1 + 2 * int(rng.integers(0, 2)),
            )
            found[row["conformer_id"]] = row
        shards.append(list(found.values()))
    keys = {row["conformer_id"]: None for shard in shards for row in shard}
    p = dict(zip(keys, rng.integers(0, 11, len(keys)) / 10, strict=True))
    refused = set(rng.choice(list(keys), 5, replace=False))
    answers = [
        [
            score(row, None if row["conformer_id"] in refused else p[row["conformer_id"]])
            for row in s
        ]
        for s in shards
    ]
    for answer in (answer for shard in answers for answer in shard if answer["energy_ev"]):
        answer["energy_ev"] -= p[answer["conformer_id"]] / 100
    return shards, answers


def on_disk(folder, shards, answers):
    n = sum(map(len, shards))
    plan = {"library": "lib", "path": "lib.smi", "n_records": n, "shard_size": PER_SHARD}
    parts = [{"first": 0, "count": len(shard), "offset": 0} for shard in shards]
    tables.write_json(folder / "plan.json", {**plan, "shards": parts, "sources": [], "ignored": []})
    for index, (shard, answer) in enumerate(zip(shards, answers, strict=True)):
        name, counts = f"{index:05d}.parquet", {"n_ingested": len(shard)}
        tables.write(folder / "conformers" / name, shard, schemas.CONFORMERS, counts)
        tables.write(folder / "rejects" / name, [], schemas.REJECTED, {})
        tables.write(folder / "scores" / name, answer, schemas.SCORES, {"device": "cpu"})


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
