"""A job that was given a GPU never runs on the CPU unnoticed."""

import pytest
import torch

from probe import devices
from probe.errors import ProbeError

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")


@pytest.fixture(autouse=True)
def no_queue(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@without_cuda
class TestWithoutCuda:
    def test_auto_is_the_cpu(self):
        assert devices.choose("auto") == torch.device("cpu")

    @pytest.mark.parametrize("given", ["0", "1,3", "GPU-8f1c2d3e", "MIG-5a6b"])
    def test_a_job_that_was_given_a_gpu_fails_with_the_reason(self, monkeypatch, given):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        with pytest.raises(ProbeError) as raised:
            devices.choose("auto")
        said = str(raised.value)
        assert said.startswith(f"GPU {given} was given, but torch finds no CUDA device: ")
        assert "\n" not in said
        if torch.version.cuda is None:
            assert f"this torch ({torch.__version__}) is built for the CPU" in said
            assert "make setup CUDA=1" in said

    @pytest.mark.parametrize("given", ["", "-1", "NoDevFiles"])
    def test_a_job_whose_gpus_were_taken_away_is_a_cpu_job(self, monkeypatch, given):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert devices.choose("auto") == torch.device("cpu")

    def test_asking_for_cuda_fails_with_the_reason(self):
        with pytest.raises(ProbeError, match="device cuda was asked for, but torch finds no CUDA"):
            devices.choose("cuda")

    def test_the_cpu_that_is_asked_for_is_given_whatever_the_queue_says(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        assert devices.choose("cpu") == torch.device("cpu")


@with_cuda
class TestWithCuda:
    @pytest.mark.parametrize("asked", ["auto", "cuda"])
    def test_it_is_chosen_and_named(self, asked):
        device = devices.choose(asked)
        assert device.type == "cuda"
        assert devices.describe(device).startswith("cuda (")

    def test_the_cpu_can_be_asked_for(self):
        assert devices.choose("cpu") == torch.device("cpu")


def test_the_cpu_is_described_as_such():
    assert devices.describe(torch.device("cpu")) == "cpu"
