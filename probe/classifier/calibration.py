"""A labelled set as PROBE sees it, and a checkpoint's figures on one."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe import backbones, schemas, tables, weights
from probe.backbones import Backbone
from probe.cache import embed
from probe.cache.store import Cache, Cached, in_use
from probe.classifier import metrics
from probe.classifier.checkpoint import Checkpoint
from probe.classifier.labels import Labels
from probe.classifier.network import Sample
from probe.classifier.shift import Shift, element_counts, fit_shift
from probe.errors import ProbeError

Rows = NDArray[np.int64]
"""Numbers of conformers in a labelled set."""


@dataclass(frozen=True)
class Labelled:
    """M conformers with the backbone's answer and the reference energy; rows are 0..M-1.

    ``smiles`` [M] is the molecule, by which splits are grouped; ``charges`` [M] in e;
    ``energy_ev`` [M] is the reference's, on its own scale.
    """

    samples: Sequence[Sample]
    smiles: NDArray[np.str_]
    charges: NDArray[np.int64]
    energy_ev: NDArray[np.float64]

    @classmethod
    def of(
        cls, labels: Labels, samples: Sequence[Sample | None], kept: Sequence[int] | None = None
    ) -> "Labelled":
        """Those ``labels`` (or their rows ``kept``) that the backbone can take."""
        candidates = range(len(labels)) if kept is None else kept
        rows = [i for i in candidates if samples[i] is not None]
        return cls(
            [sample for i in rows if (sample := samples[i]) is not None],
            np.array([labels.smiles[i] for i in rows]),
            np.array([labels.geometries[i].charge for i in rows], dtype=np.int64),
            labels.energy_ev[rows],
        )

    def __len__(self) -> int:
        return len(self.samples)

    def differences(self, rows: Rows) -> NDArray[np.float64]:
        """Reference less backbone of ``rows``, eV."""
        backbone = np.array([self.samples[i].energy_ev for i in rows])
        difference: NDArray[np.float64] = self.energy_ev[rows] - backbone
        return difference

    def shift(self, rows: Rows, min_molecules: int) -> Shift:
        """The linear shift per element, fitted to ``rows``: the training part's."""
        return fit_shift(
            [self.samples[i].numbers for i in rows],
            self.charges[rows].tolist(),
            self.differences(rows),
            min_molecules,
            self.smiles[rows].tolist(),
        )

    def covered(self, rows: Rows, shift: Shift) -> NDArray[np.bool_]:
        """Whether ``shift`` knows every element, for each of ``rows``."""
        return np.array([shift.covers(self.samples[i].numbers) for i in rows], dtype=np.bool_)

    def error_kcal(self, rows: Rows, shift: Shift) -> NDArray[np.float64]:
        """Signed error of ``rows``: reference less ``shift`` less backbone."""
        shifts = [shift.of(self.samples[i].numbers, int(self.charges[i])) for i in rows]
        errors: NDArray[np.float64] = self.differences(rows) - np.array(shifts)
        return errors * schemas.KCAL_PER_EV

    def by_another(self, energies_ev: NDArray[np.float64]) -> "Labelled":
        """The same conformers with the energies [M] of another network, eV."""
        pairs = zip(self.samples, energies_ev.tolist(), strict=True)
        return replace(self, samples=[replace(one, energy_ev=energy) for one, energy in pairs])

    def domain(self, rows: Rows) -> dict[str, Any]:
        """What the card says of ``rows``, the training part: its shape and its reach."""
        numbers = [self.samples[i].numbers for i in rows]
        sizes = [len(atoms) for atoms in numbers]
        return {
            "embedding_dim": self.samples[0].embedding.shape[1],
            "charges": self.samples[0].charges is not None,
            "elements": element_counts(numbers, self.smiles[rows].tolist()),
            "n_atoms": {"min": min(sizes), "max": max(sizes)},
        }


def select(
    labels: Labels, backbone: Backbone, cache: Path, batch_atoms: int | None
) -> list[Sample | None]:
    """What ``backbone`` says of each label, from the cache, computing what it lacks.

    None stands for a conformer that the backbone cannot take.
    """
    geometries = dict(zip(labels.conformer_ids, labels.geometries, strict=True))
    store = Cache(cache, backbone.fingerprint, backbone.embedding_dim)
    with in_use(store.folder):
        listing, counts = embed.ensure(geometries, backbone, cache, batch_atoms)
        parts = listing["part"].drop_nulls().unique(maintain_order=True)
        entries: dict[str, Cached] = {
            entry.conformer_id: entry
            for part in parts
            for entry in store.entries(part)
            if entry.conformer_id in geometries
        }
    print(
        f"embed: {counts.n_conformers} conformers, {counts.n_cached} from the cache, "
        f"{counts.n_computed} computed, {counts.n_refused} refused",
        file=sys.stderr,
    )
    return [
        Sample(entry.embedding, entry.charges, geometries[name].numbers, entry.energy_ev)
        if (entry := entries.get(name))
        else None
        for name in labels.conformer_ids
    ]


def siblings_ev(
    labels: Labels, backbone: Backbone, cache: Path, batch_atoms: int | None
) -> NDArray[np.float64] | None:
    """Energies [M, S] of each label by the other networks of the ensemble of ``backbone``.

    Not a number where one cannot take a conformer; None where ``backbone`` is of no ensemble.

    Raises:
        ProbeError: the weights of one cannot be had.
    """
    columns = []
    for other in weights.ensemble(weights.entry(backbone.name))[1:]:
        weights.fetch(other)
        sibling = backbones.load(other.name, str(backbone.device))
        samples = select(labels, sibling, cache, batch_atoms)
        columns.append([np.nan if s is None else s.energy_ev for s in samples])
    return np.array(columns).T if columns else None


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
        error = shifted * schemas.KCAL_PER_EV
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
    tables.write(out / "predictions.parquet", rows, schemas.PREDICTIONS, origin)
    tables.write_json(out / "metrics.json", {**origin, **figures})
    return figures
