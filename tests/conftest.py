"""What several test modules share."""

from pathlib import Path

import pytest
import torch

from probe import labels, weights
from probe.backbones.aimnet import AIMNetBackbone

CALIBRATION = Path(__file__).parents[1] / "resources/calibration/b973c.parquet"


@pytest.fixture(scope="session")
def aimnet_file():
    """The verified weights of aimnet2-b973c, fetched where this machine has none."""
    return weights.fetch(weights.entry("aimnet2-b973c")).path


@pytest.fixture(scope="session")
def aimnet(aimnet_file):
    """aimnet2-b973c on the CPU."""
    return AIMNetBackbone(weights.entry("aimnet2-b973c"), aimnet_file, torch.device("cpu"))


@pytest.fixture(scope="session")
def calibration():
    """The labelled conformers that the shipped checkpoint is fitted to."""
    return labels.read(CALIBRATION)
