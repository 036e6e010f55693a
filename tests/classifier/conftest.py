"""What the test modules of training share."""

import numpy as np
import pytest
import torch
from learnable import IDENTITY, QUICK, QUICK_PAPER, dataset

from probe.classifier.calibration import Labelled
from probe.classifier.training import train


@pytest.fixture(scope="module")
def one_thread():
    """On matrices as small as these, threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made():
    return dataset()


@pytest.fixture(scope="module", params=[QUICK, QUICK_PAPER], ids=["default", "paper"])
def recipe(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(made, recipe):
    return train(*made, IDENTITY, recipe)


@pytest.fixture(scope="module")
def data(made):
    """The labels as training holds them."""
    labels, samples = made
    smiles, charges = np.array(labels.smiles), np.zeros(len(labels), int)
    return Labelled(samples, smiles, charges, labels.energy_ev)
