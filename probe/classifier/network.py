"""PROBE: the attention classifier on a backbone's frozen per-atom embeddings (paper, Methods)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.schemas import EMBEDDING_WIDTH

WIDTH = 256
"""Of an atom in the published network."""
HEAD_WIDTH = 8
"""Of one attention head."""
N_NUMBERS = 119
"""Atomic numbers that composition tables have room for."""
SPREAD = 1e-6
"""A standard deviation below this is rounding, in every unit used here."""
CLIP = 5.0
"""Standardised scalars are clipped to this many standard deviations."""
LOG_SCALE = (-5.0, 4.0)
"""Bounds of the logarithmic scale: no network may be surer, or less sure, of a single error."""

Head = Literal["classes", "distribution"]


@dataclass(frozen=True)
class Sample:
    """What PROBE sees of one conformer.

    ``embedding`` [N, D], ``charges`` [N] or None, ``numbers`` [N], backbone ``energy_ev``.
    """

    embedding: NDArray[np.floating]
    charges: NDArray[np.floating] | None
    numbers: NDArray[np.integer]
    energy_ev: float


class Inputs(NamedTuple):
    """A padded batch: B conformers of at most N atoms, standardised."""

    embedding: Tensor  # [B, N, D]
    charges: Tensor | None  # [B, N]
    energy: Tensor  # [B], less its composition part
    n_atoms: Tensor  # [B]
    padding: Tensor  # [B, N], True where there is no atom


class Outputs(NamedTuple):
    """PROBE's answer for a batch; ``head`` says what ``answer`` holds.

    ``classes``: logits of reliable and unreliable. ``distribution``: location and logarithmic
    scale of the signed error, in units of the boundary.
    """

    answer: Tensor  # [B, 2]
    molecule: Tensor  # [B, 256], the molecular embedding
    siblings: Tensor  # [B, S, 2], the same of S sibling networks' errors; in training alone
    importance: Tensor  # [B, N], sums to one over the atoms of a conformer, 0 at padding
    attention: Tensor  # [B, H, N, N], of each atom (row) to each, 0 to padding; its rows are noise


class Normalisation(nn.Module):
    """Brings samples to the scale that PROBE was trained on.

    The backbone's total energy, about -1e4 eV and nearly all composition, would drown every other
    input (a weakness of the published recipe): a linear composition part is taken off first.
    Before ``fit`` it leaves everything as it is, as the published recipe does.
    """

    embedding_mean: Tensor
    embedding_std: Tensor
    charge_std: Tensor
    composition: Tensor  # eV per atom, by atomic number
    energy_std: Tensor
    size_mean: Tensor
    size_std: Tensor
    clip: Tensor

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("embedding_mean", torch.zeros(embedding_dim))
        self.register_buffer("embedding_std", torch.ones(embedding_dim))
        self.register_buffer("charge_std", torch.ones(()))
        self.register_buffer("composition", torch.zeros(N_NUMBERS, dtype=torch.float64))
        self.register_buffer("energy_std", torch.ones((), dtype=torch.float64))
        self.register_buffer("size_mean", torch.zeros(()))
        self.register_buffer("size_std", torch.ones(()))
        self.register_buffer("clip", torch.tensor(torch.inf))

    def fit(self, samples: Sequence[Sample]) -> "Normalisation":
        """Take means, deviations and the composition part from ``samples``, the training part."""
        atoms = np.concatenate([sample.embedding for sample in samples]).astype(np.float64)
        std = atoms.std(axis=0)
        self.embedding_mean.copy_(torch.from_numpy(atoms.mean(axis=0)))
        self.embedding_std.copy_(torch.from_numpy(np.where(std > SPREAD, std, 1.0)))
        charges = [sample.charges for sample in samples if sample.charges is not None]
        if charges:
            self.charge_std.fill_(_spread(np.concatenate(charges)))
        sizes = np.array([len(sample.numbers) for sample in samples])
        counts = _counts(samples, sizes, N_NUMBERS)
        energies = np.array([sample.energy_ev for sample in samples])
        fitted = np.linalg.lstsq(counts.astype(np.float64), energies, rcond=None)[0]
        self.composition.copy_(torch.from_numpy(fitted))
        self.energy_std.fill_(_spread(energies - counts @ fitted))
        self.size_mean.fill_(float(sizes.mean()))
        self.size_std.fill_(_spread(sizes))
        self.clip.fill_(CLIP)
        return self

    def forward(self, samples: Sequence[Sample]) -> Inputs:
        """``samples`` as one standardised, padded batch, in order."""
        device = self.embedding_mean.device
        sizes = np.array([len(sample.numbers) for sample in samples])
        present = torch.arange(int(sizes.max())) < torch.from_numpy(sizes)[:, None]

        def padded(parts: Sequence[NDArray[np.floating]], mean: Tensor, std: Tensor) -> Tensor:
            flat = torch.from_numpy(np.concatenate(parts)).to(device).float()
            out = torch.zeros(*present.shape, *flat.shape[1:], device=device)
            out[present.to(device)] = (flat - mean) / std
            return out

        charges = [sample.charges for sample in samples if sample.charges is not None]
        counts = torch.from_numpy(_counts(samples, sizes, len(self.composition))).to(device)
        energy = torch.tensor([sample.energy_ev for sample in samples], dtype=torch.float64)
        inner = (energy.to(device) - counts.double() @ self.composition) / self.energy_std
        n_atoms = (torch.from_numpy(sizes).to(device) - self.size_mean) / self.size_std
        return Inputs(
            embedding=padded(
                [sample.embedding for sample in samples], self.embedding_mean, self.embedding_std
            ),
            charges=padded(charges, torch.zeros((), device=device), self.charge_std)
            if charges
            else None,
            energy=inner.float().clamp(-self.clip, self.clip),
            n_atoms=n_atoms.float().clamp(-self.clip, self.clip),
            padding=~present.to(device),
        )


class Attention(nn.MultiheadAttention):
    """Self-attention over the atoms of each conformer of a padded batch."""

    def among(self, atoms: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """What the ``atoms`` [B, N, width] hear, and the weights of the heads [B, H, N, N].

        In evaluation mode it is written out: torch's own softmax under a mask takes most of the
        time that PROBE does.
        """
        if self.training:
            heard, weights = self(
                atoms, atoms, atoms, key_padding_mask=padding, average_attn_weights=False
            )
            return heard, weights
        n_batch, n_atoms, width = atoms.shape
        shape = (n_batch, n_atoms, 3, self.num_heads, self.head_dim)
        projected = nn.functional.linear(atoms, self.in_proj_weight, self.in_proj_bias).view(shape)
        flat = projected.permute(2, 0, 3, 1, 4).reshape(3, -1, n_atoms, self.head_dim)
        query, key, value = flat.unbind()
        mask = torch.zeros_like(padding, dtype=atoms.dtype).masked_fill(padding, -torch.inf)
        mask = mask.repeat_interleave(self.num_heads, dim=0)[:, None]
        score = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=self.head_dim**-0.5)
        weights = score.softmax(dim=-1)
        heard = (weights @ value).view(n_batch, self.num_heads, n_atoms, self.head_dim)
        heard = self.out_proj(heard.transpose(1, 2).reshape(n_batch, n_atoms, width))
        return heard, weights.view(n_batch, self.num_heads, n_atoms, n_atoms)


class Probe(nn.Module):
    """The attention classifier.

    With the ``classes`` head it is the published one: 567,458 parameters at D = 256 with charges,
    566,434 without. The ``distribution`` head says where the signed error lies, as a sum over
    atoms, since energies are, and how wide: every tolerance has its probability from the two.
    ``width`` is that of an atom, a multiple of ``HEAD_WIDTH``.

    In training that head may have ``siblings``: readouts for the errors of as many networks of the
    backbone's ensemble, of the same hidden layers. ``without_siblings`` takes them off.
    """

    def __init__(
        self,
        embedding_dim: int,
        *,
        charges: bool,
        head: Head = "classes",
        width: int = WIDTH,
        dropout: float = 0.1,
        siblings: int = 0,
    ) -> None:
        super().__init__()

        def block(size: int, out: int) -> list[nn.Module]:
            return [nn.Linear(size, out), nn.LayerNorm(out), nn.GELU(), nn.Dropout(dropout)]

        self.atoms = nn.Sequential(
            *block(embedding_dim, width),
            *block(width, width // 2),
            nn.Linear(width // 2, width),
            nn.LayerNorm(width),
        )
        self.charges = (
            nn.Sequential(nn.Linear(1, width), nn.LayerNorm(width), nn.GELU()) if charges else None
        )
        self.attention = Attention(width, width // HEAD_WIDTH, batch_first=True, dropout=dropout)
        self.after_attention = nn.LayerNorm(width)
        self.molecule = nn.Linear(2 * width + 2, EMBEDDING_WIDTH)
        opening = [nn.LayerNorm(EMBEDDING_WIDTH), nn.GELU(), nn.Dropout(dropout)]
        self.location: nn.Sequential | None = None
        self.siblings: nn.ModuleList | None = None
        if head == "classes":
            self.head = nn.Sequential(
                *opening, *block(EMBEDDING_WIDTH, 128), *block(128, 32), nn.Linear(32, 2)
            )
            return
        self.head = nn.Sequential(*opening, *block(EMBEDDING_WIDTH, 64), nn.Linear(64, 1))
        readout = nn.Linear(64, 1, bias=False)
        nn.init.zeros_(readout.weight)
        self.location = nn.Sequential(*block(width, 64), readout)
        if siblings:
            where = nn.Linear(64, siblings, bias=False)
            nn.init.zeros_(where.weight)
            self.siblings = nn.ModuleList([where, nn.Linear(64, siblings)])

    def forward(self, inputs: Inputs) -> Outputs:
        """Judge a batch. In evaluation mode a conformer's answer is the same in any batch."""
        atoms = self.atoms(inputs.embedding)
        if self.charges is not None:
            if inputs.charges is None:
                raise ValueError("this PROBE was built for a backbone with charges")
            atoms = atoms + self.charges(inputs.charges.unsqueeze(-1))
        mixed, attention = self.attention.among(atoms, inputs.padding)
        atoms = self.after_attention(atoms + mixed)
        absent = inputs.padding.unsqueeze(-1)
        n_real = (~inputs.padding).sum(dim=1, keepdim=True)
        mean = atoms.masked_fill(absent, 0.0).sum(dim=1) / n_real
        peak = atoms.masked_fill(absent, -torch.inf).amax(dim=1)
        scalars = torch.stack([inputs.energy, inputs.n_atoms], dim=-1)
        molecule = self.molecule(torch.cat([mean, peak, scalars], dim=-1))
        answer, siblings = self._answer(atoms, molecule, absent)
        queries = (~inputs.padding).to(attention.dtype)[:, None, None]  # padded ones do not count
        received = (queries @ attention).squeeze(2).mean(dim=1)
        importance = received / received.sum(1, keepdim=True)
        return Outputs(answer, molecule, siblings, importance, attention)

    def without_siblings(self) -> "Probe":
        """This network, which answers for its own backbone alone from now on."""
        self.siblings = None
        return self

    def _answer(self, atoms: Tensor, molecule: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
        """What the head says, [B, 2], and its siblings, [B, S, 2]."""
        none = molecule.new_zeros(len(molecule), 0, 2)
        if self.location is None:
            return self.head(molecule), none
        hidden = [self.location[:-1](atoms), self.head[:-1](molecule)]

        def distribution(location: nn.Module, scale: nn.Module) -> Tensor:
            where = location(hidden[0]).masked_fill(absent, 0.0).sum(dim=1)
            return torch.stack([where, scale(hidden[1]).clamp(*LOG_SCALE)], dim=-1)

        own = distribution(self.location[-1], self.head[-1])[:, 0]
        return own, none if self.siblings is None else distribution(*self.siblings)


def _counts(
    samples: Sequence[Sample], sizes: NDArray[np.integer], n_numbers: int
) -> NDArray[np.int64]:
    """Atoms of each atomic number in ``samples`` of ``sizes``, [B, n_numbers]."""
    rows = np.repeat(np.arange(len(sizes)), sizes)
    numbers = np.concatenate([sample.numbers for sample in samples])
    flat = np.bincount(rows * n_numbers + numbers, minlength=len(sizes) * n_numbers)
    return flat.reshape(len(sizes), n_numbers)


def _spread(values: NDArray[Any]) -> float:
    """Standard deviation, or 1 where all is the same up to rounding: noise is not a feature."""
    std = float(values.astype(np.float64).std())
    return std if std > SPREAD else 1.0


def parameters(network: nn.Module) -> int:
    """The number of trained values of ``network``."""
    return sum(values.numel() for values in network.parameters())


def state(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All tensors of ``modules``, named ``<module>.<tensor>``, on the CPU."""
    return {
        f"{name}.{key}": values.detach().cpu().contiguous()
        for name, module in modules.items()
        for key, values in module.state_dict().items()
    }
