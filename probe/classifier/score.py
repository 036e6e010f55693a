"""PROBE's answer for every conformer of a shard, straight from the cache."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from probe import devices, schemas, spill, streams, tables
from probe.cache.store import Cache, Cached, PartLostError, in_use
from probe.classifier import card
from probe.classifier.checkpoint import Checkpoint, Scored
from probe.classifier.network import Sample
from probe.errors import ProbeError

SCORED_AT_ONCE = 2048
"""Conformers."""


@dataclass(frozen=True)
class Shard:
    """A shard's tables: its conformers, and where the cache holds them."""

    conformers: Path
    embedded: Path


def score_shard(
    shard: Shard, checkpoint: Checkpoint, cache_root: Path, out: Path, *, device: str = "auto"
) -> int:
    """Score every conformer of ``shard``; those that the backbone refused keep the refusal.

    Returns the number of conformers scored.

    Raises:
        ProbeError: the embeddings are of another backbone than the checkpoint's, the two tables
            do not list the same conformers, or a part of the cache is gone or damaged; then the
            table that refers to it has been removed.
    """
    listing = _listing(shard)
    made = tables.provenance(shard.embedded)
    if "fingerprint" not in made:
        raise ProbeError(f"{shard.embedded}: not written by `probe embed`; embed the shard")
    card.require(checkpoint.card, made["fingerprint"], made["backbone"])
    on_device = checkpoint.to(devices.choose(device))
    cache = Cache(cache_root, made["fingerprint"], checkpoint.card["embedding_dim"])
    places = {name: float(place) for place, name in enumerate(listing["conformer_id"])}
    refused = listing.filter(pl.col("refusal").is_not_null())
    origin = card.identity(checkpoint.card) | {"device": made["device"]}
    with (
        _listing_is_true(shard.embedded),
        spill.scratch(out) as place,
        streams.writing(out, schemas.SCORES, origin) as write,
        in_use(cache.folder),
    ):
        runs = place.runs("scored")
        for rows in _scored(listing, cache, on_device):
            runs.add(rows, np.array([places[name] for name in rows["conformer_id"]]))
        unanswered = refused.select("conformer_id", "refusal").to_dicts()
        runs.add(_table(unanswered), np.array([places[row["conformer_id"]] for row in unanswered]))
        for rows in runs.merged():
            write(rows)
    return listing.height - refused.height


@contextmanager
def _listing_is_true(embedded: Path) -> Iterator[None]:
    """If what ``embedded`` refers to is lost, it goes, too: what makes it makes both again."""
    try:
        yield
    except PartLostError as error:
        embedded.unlink(missing_ok=True)
        raise ProbeError(
            f"{error}; {embedded}, which refers to it, has been removed: run the same `snakemake` "
            "or `probe screen` again, or `probe embed` on the shard, which computes what is lost"
        ) from error


def _listing(shard: Shard) -> pl.DataFrame:
    """Both tables in one: part or refusal, and the atomic numbers, of each conformer."""
    embedded = tables.frame(shard.embedded, schemas.EMBEDDED)
    columns = ["conformer_id", "numbers"]
    conformers = tables.frame(shard.conformers, schemas.CONFORMERS, columns)
    if set(embedded["conformer_id"]) != set(conformers["conformer_id"]):
        raise ProbeError(
            f"{shard.embedded}: does not list the conformers of {shard.conformers}; embed them "
            f"again (`snakemake --forcerun embed`)"
        )
    return embedded.join(conformers, on="conformer_id", how="left", maintain_order="left")


def _scored(listing: pl.DataFrame, cache: Cache, checkpoint: Checkpoint) -> Iterator[pl.DataFrame]:
    """Rows of all conformers that the cache holds, some at a time, part by part."""
    for (part,), group in listing.filter(pl.col("part").is_not_null()).group_by("part"):
        numbers = dict(group.select("conformer_id", "numbers").iter_rows())
        entries = [e for e in cache.entries(str(part)) if e.conformer_id in numbers]
        if lost := sorted(numbers.keys() - {entry.conformer_id for entry in entries}):
            raise PartLostError(f"{cache.folder / str(part)} does not hold conformer {lost[0]}")
        entries.sort(key=lambda entry: len(entry.embedding))  # less padding in a batch
        for start in range(0, len(entries), SCORED_AT_ONCE):
            held = entries[start : start + SCORED_AT_ONCE]
            samples = [
                Sample(e.embedding, e.charges, np.array(numbers[e.conformer_id]), e.energy_ev)
                for e in held
            ]
            answers = checkpoint.score(samples)
            yield _table([_row(e, answer) for e, answer in zip(held, answers, strict=True)])


def _table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(pa.Table.from_pylist(list(rows), schema=schemas.SCORES))


def _row(entry: Cached, scored: Scored) -> dict[str, Any]:
    return {
        "conformer_id": entry.conformer_id,
        "energy_ev": entry.energy_ev,
        "p_unreliable": scored.p_unreliable,
        "verdict": "unreliable" if scored.p_unreliable > 0.5 else "reliable",
        "location_kcal": scored.location_kcal,
        "scale_kcal": scored.scale_kcal,
        "latent_distance": scored.latent_distance,
        "importance": scored.importance,
        "embedding": scored.embedding,
    }
