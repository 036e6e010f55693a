"""Conformers with scores, as triage finds them on disk, and the card that judges them."""

import numpy as np
import polars as pl
import pyarrow as pa

from probe import schemas, tables
from probe.conformers.conformer import conformer_id

CARD = {
    "name": "made-up",
    "backbone": "aimnet2-b973c",
    "fingerprint": "0123456789abcdef",
    "elements": {"H": 600, "C": 500, "O": 300, "P": 20, "B": 19, "As": 4},
    "n_atoms": {"min": 2, "max": 30},
    "latent_99": 1.855,
    "boundary_kcal": 0.4,
}


def conformer(shift=0.0, source="lib.smi:1", **values):
    """Water, moved by ``shift`` Å along one bond so that its id is its own."""
    row = {
        "molecule_id": "water",
        "source": source,
        "smiles": "O",
        "n_atoms": 3,
        "charge": 0,
        "multiplicity": 1,
        "numbers": [8, 1, 1],
        "positions": [0.0, 0.0, 0.0, 0.76 + shift, 0.0, 0.58, -0.76, 0.0, 0.58],
        "note": "",
    } | values
    key = conformer_id(row["numbers"], row["positions"], row["charge"], row["multiplicity"])
    return {"conformer_id": key, **row}


def score(row, p):
    refusal = None if p is not None else "aimnet2-b973c is for closed shells"
    empty = dict.fromkeys(schemas.SCORES.names)
    energy = None if p is None else -2000.0
    answer = {"p_unreliable": p, "energy_ev": energy, "refusal": refusal, "latent_distance": 1.0}
    if p is not None:
        answer |= {"location_kcal": [0.0, 0.0], "scale_kcal": [0.2, 0.2]}
    return empty | {"conformer_id": row["conformer_id"]} | answer


N_SHARDS, PER_SHARD = 4, 15


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


ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]


def held_out(n, unreliable=(), **columns):
    """Predictions of ``n`` molecules, p rising from 0.01; errors of those named are 2 kcal/mol."""
    frame = {
        "conformer_id": [f"held{index}" for index in range(n)],
        "smiles": [f"C{index}" for index in range(n)],
        "n_atoms": [9] * n,
        "numbers": [ETHANOL] * n,
        "latent_distance": [1.0] * n,
        "error_kcal": [-2.0 if index in unreliable else 0.1 for index in range(n)],
        "p_unreliable": [0.01 + 0.9 * index / n for index in range(n)],
        "location_kcal": [[0.1]] * n,
        "scale_kcal": [[0.1]] * n,
    }
    return pl.DataFrame(pa.Table.from_pydict(frame | columns, schema=schemas.HELD_OUT))
