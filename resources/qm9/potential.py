"""A small MACE and its training on total energies alone.

Model and graphs are mace-torch's. Its own `mace_run_train` has no loss without forces, which QM9
does not have and which make a step 2.6 times dearer, and a run of it that is killed while it
writes a checkpoint has lost it.
"""

import copy
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import huber_loss, silu
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from probe import tables
from probe.backbones import Geometry, mace
from probe.errors import ProbeError

modules, data, tools = (mace.imported(name) for name in ("modules", "data", "tools"))
irreps = mace.imported("modules.models").o3.Irreps

ELEMENTS = (1, 6, 7, 8, 9)
FIRST, LATER = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
WATCH_EVERY = 10
"""Epochs."""

Graph = Any
"""One conformer as mace takes it."""


@dataclass(frozen=True)
class Recipe:
    """Architecture and training; the rest is as in mace-torch."""

    channels: int = 64
    max_ell: int = 2
    correlation: int = 2
    r_max: float = 4.5  # Å
    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 0.01  # the highest: it rises, and falls to nothing at the last step
    huber_ev: float = 0.1  # errors of a molecule beyond it count linearly
    averaging: float = 0.99  # of the weights over steps


@dataclass(frozen=True)
class Examples:
    """M conformers and their total energies, eV [M]."""

    geometries: Sequence[Geometry]
    energy_ev: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.geometries)

    def counts(self) -> NDArray[np.float64]:
        """Atoms of each of ``ELEMENTS``, [M, 5]."""
        numbers = [geometry.numbers for geometry in self.geometries]
        return np.array([[(n == z).sum() for z in ELEMENTS] for n in numbers], np.float64)

    def sha256(self) -> str:
        """What tells these from others."""
        content = hashlib.sha256(self.energy_ev.tobytes())
        for geometry in self.geometries:
            content.update(geometry.numbers.tobytes() + geometry.positions.tobytes())
        return content.hexdigest()


class Training:
    """A network and what its training needs from one epoch to the next.

    It learns what is left of the energies without a sum of ``atomic`` energies, fitted to them:
    single precision would not hold the whole.
    """

    @mace.quiet()
    def __init__(self, examples: Examples, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.identity = {**asdict(recipe), "seed": seed, "examples": examples.sha256()}
        counts = examples.counts()
        self.atomic = np.linalg.lstsq(counts, examples.energy_ev, rcond=None)[0]
        inner = examples.energy_ev - counts @ self.atomic
        self.target = torch.from_numpy(inner).float()
        self.graphs = graphs(examples.geometries, recipe.r_max)
        edges = sum(graph.edge_index.shape[1] for graph in self.graphs)
        torch.manual_seed(seed)
        self.model = untrained(
            recipe, float(np.std(inner / counts.sum(axis=1))), edges / counts.sum()
        )
        self.averaged = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging)
        )
        self.optimiser = torch.optim.Adam(self.model.parameters(), amsgrad=True)
        steps = recipe.epochs * -(-len(examples) // recipe.batch_size)
        self.schedule = OneCycleLR(
            self.optimiser, recipe.learning_rate, total_steps=steps, pct_start=0.05
        )
        self.done = 0

    def epoch(self) -> float:
        """One pass over the examples, in an order of its own; the mean loss."""
        order = np.random.default_rng([self.seed, self.done]).permutation(len(self.graphs))
        losses = []
        for start in range(0, len(order), self.recipe.batch_size):
            rows = order[start : start + self.recipe.batch_size].tolist()
            found = inner_energy(self.model, [self.graphs[row] for row in rows])
            delta = self.recipe.huber_ev
            loss = huber_loss(found, self.target[rows], delta=delta) / delta
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
            self.optimiser.step()
            self.schedule.step()
            self.averaged.update_parameters(self.model)
            losses.append(loss.item())
        self.done += 1
        return float(np.mean(losses))

    def save(self, path: Path) -> None:
        """Write all that the next epoch needs."""
        content = {name: part.state_dict() for name, part in self._parts().items()}
        content |= {"identity": self.identity, "done": self.done}
        tables.atomically(path, lambda handle: torch.save(content, handle))

    def resume(self, path: Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            ProbeError: it is of another training.
        """
        content = torch.load(path, weights_only=True)
        if content["identity"] != self.identity:
            raise ProbeError(f"{path}: of another recipe, seed or set; move it away")
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        self.done = content["done"]

    @mace.quiet()
    def result(self) -> nn.Module:
        """The averaged network, with the atomic energies; those are in double precision."""
        model = copy.deepcopy(self.averaged.module)
        model.atomic_energies_fn.atomic_energies = torch.from_numpy(self.atomic)[None]
        return model.eval()

    def _parts(self) -> dict[str, Any]:
        names = ("model", "averaged", "optimiser", "schedule")
        return {name: getattr(self, name) for name in names}


def train(
    examples: Examples, recipe: Recipe, seed: int, state: Path, watched: Examples | None = None
) -> nn.Module:
    """A network fitted to ``examples``; its error on ``watched`` is shown and decides nothing.

    ``state`` is replaced after every epoch. A run that finds it goes on from there, and ends with
    the network of a run that was never stopped.

    Raises:
        ProbeError: ``state`` is of another training.
    """
    training = Training(examples, recipe, seed)
    if state.exists():
        training.resume(state)
    while training.done < recipe.epochs:
        start = time.process_time()
        loss = training.epoch()
        training.save(state)
        said = f"epoch {training.done} of {recipe.epochs}: loss {loss:.4f}"
        if watched and training.done % WATCH_EVERY == 0:
            error = watched.energy_ev - energies(training.result(), watched.geometries)
            said += f", MAE {1000 * np.abs(error).mean():.1f} meV"
        print(f"{said}, {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)
    return training.result()


def untrained(recipe: Recipe, scale: float, neighbours: float) -> nn.Module:
    """A new network in single precision; torch's global seed decides on its weights."""
    return modules.ScaleShiftMACE(
        r_max=recipe.r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=recipe.max_ell,
        interaction_cls=modules.interaction_classes[LATER],
        interaction_cls_first=modules.interaction_classes[FIRST],
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=irreps(f"{recipe.channels}x0e"),
        MLP_irreps=irreps("16x0e"),
        atomic_energies=np.zeros((1, len(ELEMENTS))),
        avg_num_neighbors=neighbours,
        atomic_numbers=list(ELEMENTS),
        correlation=recipe.correlation,
        gate=silu,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=scale,
        atomic_inter_shift=0.0,
        heads=["Default"],
    )


def graphs(geometries: Sequence[Geometry], r_max: float) -> list[Graph]:
    """Atoms within ``r_max`` of each other, as mace takes them."""
    table = tools.AtomicNumberTable(list(ELEMENTS))
    return [
        data.AtomicData.from_config(
            data.Configuration(
                atomic_numbers=geometry.numbers,
                positions=geometry.positions,
                properties={},
                property_weights={},
            ),
            z_table=table,
            cutoff=r_max,
        )
        for geometry in geometries
    ]


def inner_energy(model: nn.Module, batch: Sequence[Graph]) -> torch.Tensor:
    """Energies without the atomic ones, eV [B]."""
    collated = tools.torch_geometric.Batch.from_data_list(list(batch)).to_dict()
    return model(collated, training=True, compute_force=False)["interaction_energy"]


@torch.no_grad()
def energies(
    model: nn.Module, geometries: Sequence[Geometry], batch_size: int = 64
) -> NDArray[np.float64]:
    """Total energies, eV [M], of a network that ``Training.result`` gave."""
    drawn = graphs(geometries, float(model.r_max))
    inner = [
        inner_energy(model, drawn[start : start + batch_size])
        for start in range(0, len(drawn), batch_size)
    ]
    atomic = model.atomic_energies_fn.atomic_energies[0].numpy()
    counts = Examples(geometries, np.zeros(len(geometries))).counts()
    return torch.cat(inner).double().numpy() + counts @ atomic
