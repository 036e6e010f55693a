"""One turn of the loop: PROBE fitted again to what recomputing gained, and promoted or not.

``out`` holds a folder for each turn that fitted one, ``promotion.json`` on the latest turn, and
``in_use.json``, which names the turn that was promoted last: as a checkpoint, ``out`` is that one.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probe import tables
from probe.backbones import Backbone
from probe.classifier import calibration, card, labels, training
from probe.classifier import checkpoint as checkpoints
from probe.classifier.calibration import Labelled
from probe.classifier.checkpoint import Checkpoint
from probe.classifier.labels import Labels
from probe.classifier.network import Sample
from probe.classifier.training import Recipe
from probe.errors import ProbeError
from probe.recalibration import gains, promotion

RECORD, LABELS, TURN = "promotion.json", "labels.parquet", "turn-"
BEFORE = {"siblings": False, "averaging": 0.0}
"""Settings of a recipe that cards have not always named, as they were without a name."""


@dataclass(frozen=True)
class Turn:
    """What is fitted again: the checkpoint in use by name or folder, and labels.

    ``labels`` are those that it was fitted to; None takes the ones in its folder.
    """

    checkpoint: str
    labels: Path | None
    more: Sequence[Path]
    out: Path
    min_new_labels: int


def turn(asked: Turn, backbone: Backbone, cache: Path, batch_atoms: int | None) -> dict[str, Any]:
    """Fit, compare and decide; what ``promotion.json`` holds.

    Raises:
        ProbeError: the labels are not those of the checkpoint, or it cannot be fitted again.
    """
    in_use = checkpoints.load(asked.checkpoint)
    card.require(in_use.card, backbone.fingerprint, backbone.name)
    recipe = _recipe(in_use)
    folder = asked.out / f"{TURN}{_next(asked.out)}"
    fitted = asked.labels or card.resolve(asked.checkpoint) / LABELS
    if labels.read(fitted).sha256 != in_use.card["training"]["labels_sha256"]:
        raise ProbeError(
            f"{fitted}: not the labels that checkpoint {in_use.card['name']} was fitted to; name "
            "those, so that what is new is known"
        )
    n_new = gains.join(fitted, asked.more, folder / LABELS)
    record = {"in_use": in_use.card["name"], "n_new_labels": n_new}
    if n_new < asked.min_new_labels:
        record |= {"verdict": "too few new labels", "min_new_labels": asked.min_new_labels}
    else:
        known = labels.read(folder / LABELS)
        samples = calibration.select(known, backbone, cache, batch_atoms)
        identity = {key: in_use.card[key] for key in ("backbone", "fingerprint")}
        identity |= {"name": f"{backbone.name}-{folder.name}", "labels": LABELS}
        others = (
            calibration.siblings_ev(known, backbone, cache, batch_atoms)
            if recipe.siblings
            else None
        )
        candidate = training.train(known, samples, identity, recipe, others)
        checkpoints.save_checkpoint(candidate, folder)
        record |= {"candidate": str(folder), **compared(candidate, in_use, known, samples)}
    return _decided(record, asked, folder)


def compared(
    candidate: Checkpoint, in_use: Checkpoint, known: Labels, samples: Sequence[Sample | None]
) -> dict[str, Any]:
    """Figures of both on the held-out side of ``known``, the gain of each, and the verdict."""
    fixed = {row["conformer_id"] for row in candidate.held_out}
    rows = [
        i
        for i, (name, sample) in enumerate(zip(known.conformer_ids, samples, strict=True))
        if name in fixed and sample is not None and in_use.shift.covers(sample.numbers)
    ]
    if not rows:
        raise ProbeError("no held-out molecule has a reference shift in both checkpoints")
    data = Labelled.of(known, samples, rows)
    new, old = (promotion.asked(one, in_use, data) for one in (candidate, in_use))
    figures, gain = promotion.gains(new, old)
    before = {row["conformer_id"] for row in in_use.held_out}
    return {
        "verdict": promotion.verdict(gain),
        "boundary_kcal": in_use.boundary_kcal,
        "n_held_out": len(rows),
        "n_held_out_molecules": len(np.unique(data.smiles)),
        "n_held_out_new": sum(known.conformer_ids[i] not in before for i in rows),
        "figures": figures,
        "gain": gain,
    }


def in_words(record: dict[str, Any]) -> str:
    """What is said of a turn, in one line."""
    head = f"{record['n_new_labels']} new labels, {record['verdict']}"
    if "gain" in record:
        shown = (
            f"{figure} {one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
            for figure, one in record["gain"].items()
            if one["value"] is not None
        )
        head += f" (gain: {', '.join(shown)})"
    if not record["promoted"]:
        return f"{head}; kept {record['checkpoint']}"
    return f"{head}; promoted: set checkpoint to {record['checkpoint']} in your configuration"


def _decided(record: dict[str, Any], asked: Turn, folder: Path) -> dict[str, Any]:
    """``record`` with the decision, which it makes true; the pointer comes last."""
    promoted = record["verdict"] in promotion.PROMOTES
    chosen = str(asked.out) if promoted else asked.checkpoint
    record = record | {"promoted": promoted, "checkpoint": chosen}
    if (folder / card.CARD).is_file():
        tables.write_json(folder / RECORD, record)
    tables.write_json(asked.out / RECORD, record)
    if promoted:
        tables.write_json(asked.out / card.IN_USE, {"checkpoint": folder.name})
    return record


def _recipe(checkpoint: Checkpoint) -> Recipe:
    """How ``checkpoint`` was trained: with its shares a held-out molecule stays held out."""
    known = BEFORE | checkpoint.card.get("training", {})
    names = [field.name for field in dataclasses.fields(Recipe)]
    if missing := [name for name in (*names, "labels_sha256") if name not in known]:
        raise ProbeError(
            f"the card of checkpoint {checkpoint.card['name']} does not say how it was trained "
            f"({', '.join(missing)}); train it again"
        )
    return Recipe(**{name: known[name] for name in names})


def _next(out: Path) -> int:
    """The number of the turn that is to come: one more than the last that left a checkpoint."""
    done = [path.parent.name.removeprefix(TURN) for path in out.glob(f"{TURN}*/{card.CARD}")]
    return 1 + max((int(number) for number in done if number.isdecimal()), default=0)
