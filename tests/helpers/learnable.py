"""Made-up labels from which it can be learnt which are unreliable, and quick recipes for it."""

import hashlib
from dataclasses import replace

import numpy as np
import torch

from probe.backbones import Geometry
from probe.classifier.labels import Labels, in_share, reserved
from probe.classifier.network import Inputs, Sample
from probe.classifier.training import PAPER, Recipe
from probe.schemas import KCAL_PER_EV

WIDTH = 8
SHIFT = {1: 0.012, 6: -0.02, 8: 0.03}
"""eV an atom; what the reference of these tests has over the backbone."""
IDENTITY = {"name": "test", "backbone": "none", "fingerprint": "0", "labels": "made up"}
QUICK = Recipe(members=2, max_epochs=2)
QUICK_PAPER = replace(PAPER, max_epochs=2)
NAMES = [f"molecule-{index}" for index in range(400) if not reserved(f"molecule-{index}")]
ASIDE = [name for name in NAMES if in_share(name, "held out", QUICK.held_out)]
CALIBRATING = [
    name for name in NAMES if in_share(name, "calibration", QUICK.calibration) and name not in ASIDE
]
REST = [name for name in NAMES if name not in (*ASIDE, *CALIBRATING)]


def dataset(names=NAMES[:24], n_conformers=2, seed=0):
    """Labels and samples; half of the molecules are 1 kcal/mol off, and a feature knows which."""
    rng = np.random.default_rng(seed)
    smiles, geometries, samples, energies = [], [], [], []
    for index, name in enumerate(names):
        numbers = rng.choice(list(SHIFT), rng.integers(3, 9)).astype(np.uint8)
        bad = index % 2
        for _ in range(n_conformers):
            atoms = rng.normal(size=(len(numbers), WIDTH))
            atoms[:, 0] += 2.0 * (2 * bad - 1)
            backbone = float(rng.normal(-500 * len(numbers), 1))
            off = rng.choice([-1.0, 1.0]) * (1.0 if bad else 0.05) / KCAL_PER_EV
            smiles.append(name)
            geometries.append(Geometry(numbers, rng.normal(size=(len(numbers), 3))))
            charges = rng.normal(0, 0.3, len(numbers)).astype(np.float32)
            samples.append(Sample(atoms.astype(np.float16), charges, numbers, backbone))
            energies.append(backbone + sum(SHIFT[z] for z in numbers.tolist()) + off)
    return labelled(smiles, geometries, energies), samples


def padded(sizes):
    """Inputs of conformers of ``sizes`` atoms, whose every value is the conformer's number."""
    n, width = len(sizes), max(sizes)
    padding = torch.arange(width)[None, :] >= torch.tensor(sizes)[:, None]
    rows = torch.arange(n, dtype=torch.float32)
    values = rows[:, None, None].expand(n, width, WIDTH)
    return Inputs(values, values[..., 0], rows, torch.tensor(sizes).float(), padding)


def labelled(smiles, geometries, energies):
    text = repr((smiles, energies)).encode()
    ids = tuple(f"id{index}" for index in range(len(smiles)))
    digest = hashlib.sha256(text).hexdigest()
    return Labels(ids, tuple(smiles), tuple(geometries), np.array(energies), digest)


def without(card, *keys):
    return {key: value for key, value in card.items() if key not in keys}
