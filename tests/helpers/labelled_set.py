"""A made-up set of labels with one shift of the reference per element."""

import numpy as np

from probe.classifier.calibration import Labelled
from probe.classifier.network import Sample
from probe.comparison import parts
from probe.schemas import KCAL_PER_EV

CARBON, IODINE = 0.5, 2.0
"""Shifts of the made-up reference in eV an atom."""


def made_up(n=60, iodine=20):
    """Molecules of carbon, the last of them with iodine; each has an error of its own, in eV."""
    random = np.random.default_rng(0)
    samples, energies = [], []
    error = random.normal(size=n) * 0.01
    for index in range(n):
        size = 2 + index % 5
        numbers = np.full(size, 6)
        numbers[0] = 53 if index >= n - iodine else 6
        samples.append(Sample(random.normal(size=(size, 3)), None, numbers, -10.0 * size))
        shift = np.where(numbers == 6, CARBON, IODINE).sum()
        energies.append(-10.0 * size + shift + error[index])
    smiles = np.array([f"m{index}" for index in range(n)])
    data = Labelled(samples, smiles, np.zeros(n, dtype=int), np.array(energies))
    ids = np.array([f"c{index}" for index in range(n)])
    members = random.normal(size=(n, 4))
    return parts.LabelledSet(data, ids, members, {"backbone": "made-up"}), error * KCAL_PER_EV
