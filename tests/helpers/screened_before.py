"""A library that was screened before: what the last screening leaves behind."""

import polars as pl
import pytest

from probe import schemas, tables
from probe.classifier import card
from probe.triage import changes

CUTOFFS = {"accept_confidence": 0.6, "between": "recompute"}


@pytest.fixture
def checkpoint(tmp_path):
    """A folder that stands for a checkpoint; what is in it is only hashed."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in (card.CARD, card.WEIGHTS, card.HELD_OUT):
        (folder / name).write_text(name)
    return folder


def row(name, verdict="accept", p=0.2, *, molecule=None, reason=None):
    return {
        **{"conformer_id": name, "molecule_id": molecule or f"molecule {name}"},
        **{"source": "lib.smi:1", "smiles": "C", "n_atoms": 5, "charge": 0, "multiplicity": 1},
        **{"energy_ev": -1.0, "p_unreliable": p, "verdict": verdict, "flags": "", "note": ""},
        "reason": reason or f"p_unreliable {p} whatever",
    }


def library(folder, rows, *, size=10, seed=42, shards=1, **summary):
    """A triaged library in ``folder``, as the steps before leave it."""
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in changes.LISTS}
    for verdict in changes.LISTS:
        chosen = [row | {"latent_distance": None} for row in rows if row["verdict"] == verdict]
        chosen = [{name: row.get(name) for name in schemas.TRIAGED.names} for row in chosen]
        tables.write(folder / f"{verdict}.parquet", chosen, schemas.TRIAGED, {})
    made = {
        **{"library": "lib", "n_records": len(rows), "n_rejected": 0, "n_conformers": len(rows)},
        **{f"n_{verdict}": n for verdict, n in counts.items()},
        **{"n_refused": 0, "backbone": "b", "fingerprint": "f", "checkpoint": "c"},
        **{"cutoffs": CUTOFFS, "tolerance_kcal": 0.5, "accept_up_to_p": 0.4, "policy": "cutoff"},
        "versions": {"rdkit": "1"},
    }
    tables.write_json(folder / "summary.json", made | summary)
    source = {"path": "lib.smi", "name": "lib.smi", "n_records": 9, "size": size, "mtime_ns": 1}
    shard = {"first": 0, "count": 9, "offset": None}
    plan = {"library": "lib", "path": "lib.smi", "n_records": 9, "shard_size": 9}
    plan |= {"shards": [shard] * shards, "sources": [source], "ignored": []}
    tables.write_json(folder / "plan.json", plan)
    options = {"options": {"seed": seed}}
    tables.write(folder / "conformers/00000.parquet", [], schemas.CONFORMERS, options)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results/lib"


@pytest.fixture
def screen(folder, checkpoint):
    """Screens a library of rows to the end; returns its record and its table of changes."""

    def run(rows, *, finish=True, **how):
        library(folder, rows, **how)
        record = changes.find(folder, str(checkpoint))
        if finish:
            changes.keep(folder)
        return record, pl.read_parquet(folder / changes.TABLE)

    return run


def found(table):
    """Kind and cause of every conformer that changed."""
    return {
        name: (kind, cause)
        for name, kind, cause in table.select("conformer_id", "kind", "cause").iter_rows()
    }


ROWS = [row("a"), row("b", "recompute", 0.7), row("c")]
