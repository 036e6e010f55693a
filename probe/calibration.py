"""A labelled set as PROBE sees it, and a checkpoint's figures on one."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from probe import embed, metrics, tables
from probe.backbones import Backbone
from probe.cache import Cache, Cached
from probe.checkpoint import Checkpoint, Scored, batches
from probe.errors import ProbeError
from probe.labels import Labels
from probe.network import Sample
from probe.score import BATCH


def select(
    labels: Labels, backbone: Backbone, cache: Path, batch_atoms: int | None
) -> list[Sample | None]:
    """What ``backbone`` says of each label, from the cache, computing what it lacks.

    None stands for a conformer that the backbone cannot take.
    """
    geometries = dict(zip(labels.conformer_ids, labels.geometries, strict=True))
    listing, counts = embed.ensure(geometries, backbone, cache, batch_atoms)
    print(
        f"embed: {counts.n_conformers} conformers, {counts.n_cached} from the cache, "
        f"{counts.n_computed} computed, {counts.n_refused} refused",
        file=sys.stderr,
    )
    store = Cache(cache, backbone.fingerprint, backbone.embedding_dim)
    parts = listing["part"].drop_nulls().unique(maintain_order=True)
    entries: dict[str, Cached] = {
        entry.conformer_id: entry
        for part in parts
        for entry in store.entries(part)
        if entry.conformer_id in geometries
    }
    return [
        Sample(entry.embedding, entry.charges, geometries[name].numbers, entry.energy_ev)
        if (entry := entries.get(name))
        else None
        for name in labels.conformer_ids
    ]


def evaluate(
    checkpoint: Checkpoint, labels: Labels, samples: list[Sample | None], out: Path
) -> dict[str, Any]:
    """Write predictions.parquet and metrics.json of ``checkpoint`` on ``labels`` to ``out``.

    A label that the backbone cannot take has no prediction; metrics.json counts them as
    ``n_refused``.

    Raises:
        ProbeError: the backbone can take none of the labels.
    """
    kept = [index for index, sample in enumerate(samples) if sample is not None]
    if not kept:
        raise ProbeError(f"{checkpoint.card['backbone']} can take none of the labelled conformers")
    scored = _score([sample for sample in samples if sample is not None], checkpoint)
    shift = checkpoint.shift
    rows = []
    for index, answer in zip(kept, scored, strict=True):
        geometry, sample = labels.geometries[index], samples[index]
        assert sample is not None
        difference = float(labels.energy_ev[index]) - sample.energy_ev
        error = (difference - shift.of(geometry.numbers, geometry.charge)) * tables.KCAL_PER_EV
        rows.append(
            {
                "conformer_id": labels.conformer_ids[index],
                "smiles": labels.smiles[index],
                "error_kcal": error,
                "p_unreliable": answer.p_unreliable,
                "unreliable": abs(error) > checkpoint.boundary_kcal,
            }
        )
    figures = metrics.evaluate(
        np.array([row["p_unreliable"] for row in rows]),
        np.array([row["error_kcal"] for row in rows]),
        checkpoint.boundary_kcal,
    )
    figures["n_refused"] = len(samples) - len(kept)
    origin = {"checkpoint": checkpoint.card["name"], "labels_sha256": labels.sha256}
    tables.write(out / "predictions.parquet", rows, tables.PREDICTIONS, origin)
    tables.write_json(out / "metrics.json", {**origin, **figures})
    return figures


def _score(samples: list[Sample], checkpoint: Checkpoint) -> list[Scored]:
    """One answer per sample, in order; similar sizes are scored together."""
    order = sorted(range(len(samples)), key=lambda index: len(samples[index].numbers))
    answers: list[Scored | None] = [None] * len(samples)
    for batch in batches(order, BATCH):
        for index, answer in zip(batch, checkpoint.score([samples[i] for i in batch]), strict=True):
            answers[index] = answer
    return [answer for answer in answers if answer is not None]
