"""What several test modules share."""

from pathlib import Path

import pytest
import torch

from probe import labels, weights
from probe.backbones.aimnet import AIMNetBackbone
from probe.calibration import select

CALIBRATION = Path(__file__).parents[1] / "resources/calibration/b973c.parquet"


@pytest.fixture(scope="session")
def aimnet_file():
    """The verified weights of aimnet2-b973c, fetched where this machine has none."""
    return weights.fetch(weights.entry("aimnet2-b973c")).path


@pytest.fixture(scope="session")
def aimnet(aimnet_file):
    """aimnet2-b973c on the CPU."""
    entry = weights.entry("aimnet2-b973c")
    return AIMNetBackbone(entry.name, entry.fingerprint, aimnet_file, torch.device("cpu"))


@pytest.fixture(scope="session")
def calibration():
    """The labelled conformers that the shipped checkpoint is fitted to."""
    return labels.read(CALIBRATION)


@pytest.fixture(scope="session")
def calibration_samples(calibration, aimnet, tmp_path_factory):
    """What aimnet2-b973c says of each of them, None for what it cannot take."""
    return select(calibration, aimnet, tmp_path_factory.mktemp("calibration-cache"), 1000)
