"""A labelled set as PROBE sees it, and a checkpoint's figures on one."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from probe import embed, metrics, tables
from probe.backbones import Backbone
from probe.cache import Cache, Cached
from probe.checkpoint import Checkpoint
from probe.errors import ProbeError
from probe.labels import Labels
from probe.network import Sample


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

    A label has no prediction where the backbone cannot take it, and no error where the
    checkpoint has no reference shift for an element; metrics.json counts these as ``n_left_out``,
    and says in ``trained_on`` whether the labels are those that the checkpoint was fitted to.

    Raises:
        ProbeError: that leaves no label.
    """
    shift = checkpoint.shift
    kept = [(i, s) for i, s in enumerate(samples) if s is not None and shift.covers(s.numbers)]
    if not kept:
        raise ProbeError(
            f"{checkpoint.card['backbone']} can take none of the labelled conformers, or the "
            f"checkpoint has no reference shift for their elements"
        )
    scored = checkpoint.score([sample for _, sample in kept])
    rows = []
    for (index, sample), answer in zip(kept, scored, strict=True):
        difference = float(labels.energy_ev[index]) - sample.energy_ev
        shifted = difference - shift.of(sample.numbers, labels.geometries[index].charge)
        error = shifted * tables.KCAL_PER_EV
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
    figures["n_left_out"] = len(samples) - len(kept)
    origin = {"checkpoint": checkpoint.card["name"], "labels_sha256": labels.sha256}
    figures["trained_on"] = labels.sha256 == checkpoint.card.get("training", {}).get(
        "labels_sha256"
    )
    if figures["trained_on"]:
        print(
            "evaluate: the checkpoint was trained on these labels; its held-out figures are in "
            "its card, these flatter it",
            file=sys.stderr,
        )
    tables.write(out / "predictions.parquet", rows, tables.PREDICTIONS, origin)
    tables.write_json(out / "metrics.json", {**origin, **figures})
    return figures
