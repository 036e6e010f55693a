"""PROBE checkpoints: a folder with probe.safetensors, held_out.parquet and card.json.

The card says what the checkpoint belongs to and what it was made from; the tensors hold the
normalisation, the members of the ensemble and the reference of the latent distance; the table
holds its answers for the conformers that none of its fitting saw. Nothing in them is code.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from scipy.special import expit
from torch import Tensor

from probe import schemas, tables
from probe.cache.packing import packs
from probe.classifier import card
from probe.classifier.exceedance import exceedance
from probe.classifier.network import Inputs, Normalisation, Probe, Sample, state
from probe.classifier.shift import Shift
from probe.errors import ProbeError

COST_OF_ATOM = 64
"""Memory that an atom takes in PROBE, in units of what a pair of atoms takes in its attention."""
BATCH_COST = {"cpu": 100_000, "cuda": 2_000_000}
"""Of a batch, in the same units. On a CPU the fastest of those measured: larger batches are more
padding. On a GPU, where none was measured, its attention takes at most 256 MB."""


@dataclass(frozen=True)
class Scored:
    """PROBE's answer for one conformer; see ``schemas.SCORES``."""

    p_unreliable: float
    latent_distance: float
    importance: NDArray[np.float32]
    embedding: NDArray[np.float32]
    location_kcal: list[float] | None
    scale_kcal: list[float] | None


@dataclass(frozen=True)
class Checkpoint:
    """A trained PROBE. ``latent_mean`` [256] and ``latent_whitening`` [256, 256] place the
    calibration set in the space of the first member's molecular embedding."""

    card: Mapping[str, Any]
    normalisation: Normalisation
    members: Sequence[Probe]
    latent_mean: Tensor = field(default_factory=lambda: torch.zeros(schemas.EMBEDDING_WIDTH))
    latent_whitening: Tensor = field(default_factory=lambda: torch.eye(schemas.EMBEDDING_WIDTH))
    held_out: Sequence[Mapping[str, Any]] = ()
    """Rows of ``schemas.HELD_OUT``: what it says of conformers that none of its fitting saw."""

    @property
    def boundary_kcal(self) -> float:
        """The absolute error in kcal/mol beyond which an energy is called unreliable."""
        return float(self.card["boundary_kcal"])

    @property
    def shift(self) -> Shift:
        """What takes the reference's energies to the backbone's scale."""
        return Shift(**self.card["shift"])

    def score(self, samples: Sequence[Sample]) -> list[Scored]:
        """One answer per sample, in order: the members' mean, after calibration.

        The molecular embedding is the first member's, the importance the mean of all.
        """
        order = sorted(range(len(samples)), key=lambda index: len(samples[index].numbers))
        costs = [n * (n + COST_OF_ATOM) for n in (len(samples[i].numbers) for i in order)]
        networks = [member.eval() for member in self.members]
        answers: dict[int, Scored] = {}
        for start, stop in packs(costs, BATCH_COST[self.latent_mean.device.type]):
            batch = order[start:stop]
            answers |= zip(batch, self._answers([samples[i] for i in batch], networks), strict=True)
        return [answers[index] for index in range(len(samples))]

    @torch.inference_mode()
    def attention(self, sample: Sample) -> NDArray[np.float32]:
        """How much each atom (row) of ``sample`` attends to each other [N, N], rows sum to one.

        The mean of the members and of their heads; the sum of a column is the importance of its
        atom, but for a factor.
        """
        inputs = self.normalisation([sample])
        found = torch.cat([member.eval()(inputs).attention[0] for member in self.members])
        weights: NDArray[np.float32] = found.mean(dim=0).cpu().numpy()
        return weights

    @torch.inference_mode()
    def p_unreliable(self, inputs: Inputs) -> NDArray[np.float64]:
        """P(unreliable) [B] of a batch that is already normalised."""
        answers = [member.eval()(inputs).answer for member in self.members]
        return self._judge(torch.stack(answers, dim=1).double().cpu().numpy())[0]

    @torch.inference_mode()
    def _answers(self, samples: Sequence[Sample], networks: Sequence[Probe]) -> list[Scored]:
        inputs = self.normalisation(samples)
        told = [_without_attention(network, inputs) for network in networks]
        answers, molecules, importances = zip(*told, strict=True)
        p, location, scale = self._judge(torch.stack(answers, dim=1).double().cpu().numpy())
        importance = torch.stack(importances).mean(dim=0).cpu()
        molecule = molecules[0]
        distance = latent_distance(molecule, self.latent_mean, self.latent_whitening)
        return [
            Scored(
                p_unreliable=float(p[row]),
                latent_distance=float(distance[row]),
                importance=importance[row, : len(sample.numbers)].numpy(),
                embedding=molecule[row].cpu().numpy(),
                location_kcal=None if location is None else location[row].tolist(),
                scale_kcal=None if scale is None else scale[row].tolist(),
            )
            for row, sample in enumerate(samples)
        ]

    def _judge(
        self, answers: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """p_unreliable [B], and location and scale [B, K] in kcal/mol where the head has them.

        ``answers`` [B, K, 2] are those of the K members.
        """
        temperature = float(self.card["temperature"])
        if self.card["head"] == "classes":
            logits = np.diff(answers, axis=-1)[..., 0].mean(axis=1)
            return expit(logits / temperature), None, None
        location = answers[..., 0] * self.boundary_kcal
        scale = np.exp(answers[..., 1]) * temperature * self.boundary_kcal
        return exceedance(location, scale, self.boundary_kcal), location, scale

    def to(self, device: torch.device) -> "Checkpoint":
        """A copy on ``device``; this one stays where it is."""
        return replace(
            self,
            normalisation=copy.deepcopy(self.normalisation).to(device),
            members=[copy.deepcopy(member).to(device) for member in self.members],
            latent_mean=self.latent_mean.to(device),
            latent_whitening=self.latent_whitening.to(device),
        )


def _without_attention(network: Probe, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Answer, molecular embedding and importance; the attention, which is large, is let go."""
    outputs = network(inputs)
    return outputs.answer, outputs.molecule, outputs.importance


def latent_distance(molecule: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Mahalanobis distance [B] of molecular embeddings [B, 256], per root of the dimension."""
    offset = (molecule - mean) @ whitening
    distance: Tensor = torch.linalg.vector_norm(offset, dim=-1) / molecule.shape[-1] ** 0.5
    return distance


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write ``checkpoint`` to ``folder``; the card last, since it makes the folder valid."""
    modules = {"normalisation": checkpoint.normalisation}
    members = {f"member{index}": member for index, member in enumerate(checkpoint.members)}
    tensors = state({**modules, **members}) | {
        "latent.mean": checkpoint.latent_mean.cpu(),
        "latent.whitening": checkpoint.latent_whitening.cpu().contiguous(),
    }
    stored = {name: _narrow(values) for name, values in tensors.items()}
    tables.atomically(folder / card.WEIGHTS, lambda handle: handle.write(save(stored)))
    origin = {"checkpoint": checkpoint.card["name"], "fingerprint": checkpoint.card["fingerprint"]}
    tables.write(folder / card.HELD_OUT, checkpoint.held_out, schemas.HELD_OUT, origin)
    tables.write_json(folder / card.CARD, checkpoint.card)


def load(name: str) -> Checkpoint:
    """A shipped checkpoint by name, or one in a folder, on the CPU and in evaluation mode.

    Raises:
        ProbeError: it does not exist, is of another format, or is damaged.
    """
    record, folder = card.read(name), card.resolve(name)
    held_out = tables.read(folder / card.HELD_OUT, schemas.HELD_OUT).to_pylist()
    path = folder / card.WEIGHTS
    try:
        tensors = load_file(path)
        normalisation = Normalisation(record["embedding_dim"])
        normalisation.load_state_dict(_under("normalisation", tensors))
        members = []
        for index in range(record["n_members"]):
            member = Probe(
                record["embedding_dim"],
                charges=record["charges"],
                head=record["head"],
                width=record["width"],
            )
            member.load_state_dict(_under(f"member{index}", tensors))
            members.append(member.eval())
        latent = tensors["latent.mean"], tensors["latent.whitening"]
        return Checkpoint(record, normalisation, members, *latent, held_out)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ProbeError(
            f"{path}: not the weights that its card describes ({tables.first_line(error)}); "
            f"restore the checkpoint or train it again"
        ) from error


def _narrow(values: Tensor) -> Tensor:
    """``values`` in half precision where that says the same, as it does of trained networks."""
    half = values.half()
    same = values.is_floating_point() and torch.equal(half.to(values.dtype), values)
    return half if same else values


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): values
        for name, values in tensors.items()
        if name.startswith(start)
    }
