"""What several test modules share."""

from pathlib import Path

import pytest
import tiny_mace
import torch
import yaml
from click.testing import CliRunner
from repository import CALIBRATION, ROOT

from probe import cli, listing, weights
from probe.backbones import ani as ani_adapter
from probe.backbones import mace as mace_adapter
from probe.backbones.aimnet import AIMNetBackbone
from probe.classifier import labels
from probe.classifier.calibration import select


@pytest.fixture
def probe():
    """Runs `probe` with arguments, in this process."""

    def run(*arguments):
        words = [str(word) for word in arguments]
        return CliRunner().invoke(cli.main, words, prog_name="probe")

    return run


@pytest.fixture
def fails(probe, tmp_path):
    """Runs `probe` and returns its one line of error; nothing may have been written."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        result = probe(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("probe: error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return line

    return run


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
def mace_content():
    """A .model file of a tiny MACE with random weights."""
    return tiny_mace.saved(tiny_mace.build())


@pytest.fixture(scope="session")
def mace_entry():
    """How the tiny MACE is listed."""
    words = {"method": "none", "licence": "MIT", "citation": "random weights"}
    return listing.Entry("tiny-mace", "tiny-mace", 0, "mace", listed_in=Path("own.yaml"), **words)


def _mace(content, entry, dtype):
    network = mace_adapter.read(content, entry, "tiny-mace.model")
    name = mace_adapter.identify(network)
    return mace_adapter.MaceBackbone(entry.name, name, network, torch.device("cpu"), dtype)


@pytest.fixture(scope="session")
def mace(mace_content, mace_entry):
    """The tiny MACE as it runs on a CPU."""
    return _mace(mace_content, mace_entry, torch.float64)


@pytest.fixture(scope="session")
def mace_single(mace_content, mace_entry):
    """The tiny MACE in the precision of a GPU."""
    return _mace(mace_content, mace_entry, torch.float32)


@pytest.fixture(scope="session")
def calibration():
    """The labelled conformers that the shipped checkpoint is fitted to."""
    return labels.read(CALIBRATION)


@pytest.fixture(scope="session")
def calibration_samples(calibration, aimnet, tmp_path_factory):
    """What aimnet2-b973c says of each of them, None for what it cannot take."""
    return select(calibration, aimnet, tmp_path_factory.mktemp("calibration-cache"), 1000)


@pytest.fixture(scope="session")
def ani():
    """ani-2xt on the CPU, its weights fetched where this machine has none."""
    wanted = weights.entry("ani-2xt")
    return ani_adapter.backbone(wanted, weights.fetch(wanted), torch.device("cpu"))


@pytest.fixture
def shipped():
    """The configuration as it is shipped."""
    return yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
