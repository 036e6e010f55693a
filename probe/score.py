"""PROBE's answer for every conformer of a shard, straight from the cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from probe import card, devices, tables
from probe.cache import Cache
from probe.checkpoint import Checkpoint, Scored
from probe.errors import ProbeError
from probe.network import Sample


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
        ProbeError: the embeddings are of another backbone than the checkpoint's, a part of the
            cache is gone, or the two tables do not list the same conformers.
    """
    listing = _listing(shard)
    made = tables.provenance(shard.embedded)
    if "fingerprint" not in made:
        raise ProbeError(f"{shard.embedded}: not written by `probe embed`; embed the shard")
    card.require(checkpoint.card, made["fingerprint"], made["backbone"])
    on_device = checkpoint.to(devices.choose(device))
    cache = Cache(cache_root, made["fingerprint"], checkpoint.card["embedding_dim"])
    rows = {
        conformer_id: _row(conformer_id, energy, scored)
        for conformer_id, energy, scored in _scored(listing, cache, on_device)
    }
    refused = listing.filter(pl.col("refusal").is_not_null())
    rows |= {
        conformer_id: {"conformer_id": conformer_id, "refusal": why}
        for conformer_id, why in refused.select("conformer_id", "refusal").iter_rows()
    }
    tables.write(
        out,
        [rows[conformer_id] for conformer_id in listing["conformer_id"]],
        tables.SCORES,
        {
            "checkpoint": checkpoint.card["name"],
            "backbone": made["backbone"],
            "fingerprint": made["fingerprint"],
            "device": made["device"],
        },
    )
    return listing.height - refused.height


def _listing(shard: Shard) -> pl.DataFrame:
    """Both tables in one: part or refusal, and the atomic numbers, of each conformer."""
    embedded = tables.frame(shard.embedded, tables.EMBEDDED)
    columns = ["conformer_id", "numbers"]
    conformers = tables.frame(shard.conformers, tables.CONFORMERS, columns)
    if set(embedded["conformer_id"]) != set(conformers["conformer_id"]):
        raise ProbeError(
            f"{shard.embedded}: does not list the conformers of {shard.conformers}; embed them "
            f"again (`snakemake --forcerun embed`)"
        )
    return embedded.join(conformers, on="conformer_id", how="left", maintain_order="left")


def _scored(
    listing: pl.DataFrame, cache: Cache, checkpoint: Checkpoint
) -> Iterator[tuple[str, float, Scored]]:
    """Conformer, backbone energy and answer for all that the cache holds, part by part."""
    for (part,), group in listing.filter(pl.col("part").is_not_null()).group_by("part"):
        numbers = dict(group.select("conformer_id", "numbers").iter_rows())
        entries = [e for e in cache.entries(str(part)) if e.conformer_id in numbers]
        if lost := sorted(numbers.keys() - {entry.conformer_id for entry in entries}):
            raise ProbeError(
                f"{cache.folder / str(part)} does not hold conformer {lost[0]}, as it should; "
                f"`snakemake --forcerun embed` finds or computes it again"
            )
        samples = [
            Sample(e.embedding, e.charges, np.array(numbers[e.conformer_id]), e.energy_ev)
            for e in entries
        ]
        for entry, answer in zip(entries, checkpoint.score(samples), strict=True):
            yield entry.conformer_id, entry.energy_ev, answer


def _row(conformer_id: str, energy_ev: float, scored: Scored) -> dict[str, Any]:
    return {
        "conformer_id": conformer_id,
        "energy_ev": energy_ev,
        "p_unreliable": scored.p_unreliable,
        "verdict": "unreliable" if scored.p_unreliable > 0.5 else "reliable",
        "location_kcal": scored.location_kcal,
        "scale_kcal": scored.scale_kcal,
        "latent_distance": scored.latent_distance,
        "importance": scored.importance,
        "embedding": scored.embedding,
    }
