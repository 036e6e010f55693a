"""What a pinned molecule shows beyond its drawing: its geometry, and which atom attends to which.

Attention is computed again from the cache, for a bounded number of conformers from a bounded
number of the cache's parts.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from probe import schemas
from probe.cache.store import Cache, PartLostError
from probe.classifier import checkpoint
from probe.classifier.network import Sample
from probe.report.drawings import pick
from probe.report.screening import Floats, Rows, Screening

WORST, OTHERS = 300, 200
"""Conformers with details: those of highest p_unreliable, and some from all over the rest."""
MAX_PARTS = 40
"""Of the cache are read, 64 MB each."""
MAX_ATOMS = 200
"""Of a larger conformer the matrix could not be read in the page."""


def chosen(rows: Rows) -> Rows:
    """Which of ``rows`` (by falling p_unreliable) have details, as places in ``rows``."""
    rest = len(rows) - WORST
    if rest <= OTHERS:
        return np.arange(min(len(rows), WORST + OTHERS))
    others = WORST + np.linspace(0, rest - 1, OTHERS).astype(int)
    return np.concatenate([np.arange(WORST), others])


def details(
    screening: Screening, ids: Sequence[str], geometries: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Atomic numbers, positions in 0.01 Å and attention of the conformers ``ids``, in order."""
    found = _attention(screening, ids, geometries)
    return [
        {
            "numbers": list(geometries[name]["numbers"]),
            "positions": np.rint(100 * np.array(geometries[name]["positions"]))
            .astype(int)
            .tolist(),
            **_written(found.get(name)),
        }
        for name in ids
    ]


def _written(matrix: Floats | None) -> dict[str, Any]:
    """``matrix`` as bytes, 255 being its largest value."""
    if matrix is None:
        return {}
    top = float(matrix.max())
    grey = np.rint(255 * matrix / top).astype(np.uint8)
    return {"attention": base64.b64encode(grey.tobytes()).decode(), "largest": round(top, 4)}


def _attention(
    screening: Screening, ids: Sequence[str], geometries: dict[str, dict[str, Any]]
) -> dict[str, Floats]:
    inputs = screening.inputs
    if inputs.cache is None:
        return {}
    small = [name for name in ids if len(geometries[name]["numbers"]) <= MAX_ATOMS]
    probe = checkpoint.load(str(inputs.checkpoint))
    cache = Cache(inputs.cache, probe.card["fingerprint"], probe.card["embedding_dim"])
    found: dict[str, Floats] = {}
    for part, names in _parts(screening, small):
        with suppress(PartLostError):  # deleted, pruned or damaged: the page does without
            for entry in cache.entries(part):
                if entry.conformer_id in names:
                    numbers = np.array(geometries[entry.conformer_id]["numbers"])
                    sample = Sample(entry.embedding, entry.charges, numbers, entry.energy_ev)
                    found[entry.conformer_id] = probe.attention(sample).astype(np.float64)
    return found


def _parts(screening: Screening, ids: Sequence[str]) -> list[tuple[str, set[str]]]:
    """The first ``MAX_PARTS`` parts of the cache that hold one of ``ids``, with what they hold."""
    listed = pick(screening.inputs.embedded, schemas.EMBEDDED, list(ids), ["part"])
    parts: dict[str, set[str]] = {}
    for name in ids:
        part = listed[name]["part"] if name in listed else None
        if part is not None and (part in parts or len(parts) < MAX_PARTS):
            parts.setdefault(part, set()).add(name)
    return sorted(parts.items())
