"""A scored library of any size, made from a real one: geometries repeat, answers are jittered.

Usage: python bench/synthetic.py SCREENED OUT COUNT

SCREENED is a triaged library (results/demo). OUT gets plan.json and the shards of conformers/,
rejects/, embedded/ and scores/ of COUNT conformers, three to a molecule: what triage and report
read. Nothing in it is a result.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import polars as pl

from probe import schemas, streams, tables
from probe.library import plan

SHARD = 25_000
PER_MOLECULE = 3


def write(screened: Path, out: Path, count: int) -> None:
    """Write the library of ``count`` conformers made from ``screened`` to ``out``."""
    made = plan.load(screened / "plan.json")
    conformers, scores = (
        pl.concat([tables.frame(path, schema) for path in made.files(screened / stage)])
        for stage, schema in (("conformers", schemas.CONFORMERS), ("scores", schemas.SCORES))
    )
    real = conformers.join(scores, on="conformer_id", maintain_order="left")
    shards = []
    for index, first in enumerate(range(0, count, SHARD)):
        n = min(SHARD, count - first)
        shards.append({"first": first, "count": n, "offset": None})
        _shard(real, out, f"{index:05d}.parquet", first, n)
    library = {"library": out.name, "path": "made.smi", "n_records": count, "shard_size": SHARD}
    library |= {"shards": shards, "sources": [], "ignored": []}
    tables.write_json(out / "plan.json", library)


def _shard(real: pl.DataFrame, out: Path, name: str, first: int, n: int) -> None:
    rng = np.random.default_rng(first)
    numbers = np.arange(first, first + n)
    molecules = numbers // PER_MOLECULE
    rows = real[molecules % real.height]
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in numbers]
    p = rows["p_unreliable"].to_numpy() + rng.normal(0, 0.05, n)
    embedding = rows["embedding"].to_numpy() + rng.normal(0, 0.05, (n, schemas.EMBEDDING_WIDTH))
    rows = rows.with_columns(
        conformer_id=pl.Series(ids),
        molecule_id=pl.Series([f"molecule {number}" for number in molecules]),
        source=pl.Series([f"made.smi:{number + 1}" for number in numbers]),
        energy_ev=pl.col("energy_ev") + pl.Series(rng.exponential(0.05, n)),
        p_unreliable=pl.Series(np.clip(p, 0, 1)).fill_nan(None),
        embedding=pl.when(pl.col("energy_ev").is_not_null()).then(
            pl.Series(embedding.astype(np.float32), dtype=pl.Array(pl.Float32, embedding.shape[1]))
        ),
        part=pl.lit("none.parquet"),
    )
    counts = {"n_ingested": n, "n_conformers": n, "n_records": n, "n_rejected": 0}
    for stage, schema in (
        ("conformers", schemas.CONFORMERS),
        ("scores", schemas.SCORES),
        ("embedded", schemas.EMBEDDED),
    ):
        (out / stage).mkdir(parents=True, exist_ok=True)
        with streams.writing(out / stage / name, schema, {**counts, "device": "none"}) as put:
            for piece in rows.iter_slices(streams.ROWS):
                put(piece)
    tables.write(out / "rejects" / name, [], schemas.REJECTED, counts)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
