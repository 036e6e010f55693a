"""Energies and embeddings by AIMNet2 with all cores, ours and by its own calculator."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from probe import backbones, devices
from probe.backbones import Backbone, Geometry
from probe.cache.packing import packs
from probe.classifier.network import Sample

BACKBONE = "aimnet2-b973c"
CORES = len(os.sched_getaffinity(0))


def ours(backbone: Backbone, geometries: Sequence[Geometry]) -> list[Sample]:
    """Energies and features of ``geometries`` by size, packed as `probe embed` packs them."""
    ordered = sorted(geometries, key=lambda g: len(g.numbers))
    sizes = [len(g.numbers) for g in ordered]
    found = []
    for start, stop in packs(sizes, devices.BATCH_ATOMS["cpu"]):
        batch = ordered[start:stop]
        answer = backbone.evaluate(batch)
        assert answer.charges is not None
        ends = np.cumsum(sizes[start:stop])[:-1]
        parts = (np.split(x, ends) for x in (answer.atom_features, answer.charges))
        each = zip(*parts, batch, answer.energy, strict=True)
        found += [Sample(f, q, g.numbers, float(e)) for f, q, g, e in each]
    return found


def calculator(backbone: Backbone, geometries: Sequence[Geometry], size: int) -> np.ndarray:
    """Energies by AIMNet2Calculator, ``size`` molecules at once, sorted by size as ours."""
    ordered = sorted(geometries, key=lambda g: len(g.numbers))
    energies = []
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        sizes = [len(g.numbers) for g in batch]
        found = backbone._calculator(  # type: ignore[attr-defined]
            {
                "coord": np.concatenate([g.positions - g.positions.mean(0) for g in batch]),
                "numbers": np.concatenate([g.numbers for g in batch]).astype(int),
                "charge": torch.tensor([float(g.charge) for g in batch]),
                "mol_idx": np.repeat(np.arange(len(batch)), sizes),
            }
        )
        energies.append(found["energy"].detach().numpy())
    return np.concatenate(energies)


class Workers:
    """Ours in a process of one thread a core, each with its share, as jobs of many shards are."""

    def __init__(self, geometries: Sequence[Geometry]) -> None:
        self._shares = [list(geometries[core::CORES]) for core in range(CORES)]
        self._pool = ProcessPoolExecutor(CORES, mp_context=get_context("spawn"), initializer=_load)
        self.run()  # the model is loaded

    def run(self) -> None:
        """All geometries once."""
        for share in [self._pool.submit(_evaluate, share) for share in self._shares]:
            share.result()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


_loaded: list[Backbone] = []


def _load() -> None:
    torch.set_num_threads(1)
    _loaded.append(backbones.load(BACKBONE, "cpu"))


def _evaluate(geometries: Sequence[Geometry]) -> None:
    ours(_loaded[0], geometries)
