"""Which device a job computes on."""

import os

import torch

from probe.errors import ProbeError

BATCH_ATOMS = {"cpu": 500, "cuda": 50_000}
"""Padded atoms that a backbone takes at once: on two CPU cores the fastest of those measured;
none was measured on a GPU, where too large a batch is halved until it fits."""


def choose(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; ``cpu`` and ``cuda`` are themselves.

    A job that was given a GPU must not run on the CPU unnoticed: the queue's mark of a GPU is
    CUDA_VISIBLE_DEVICES, which SLURM sets for every job with a real one.

    Raises:
        ProbeError: a GPU was asked for or given and torch finds no CUDA device.
    """
    if device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if device == "cuda" or given not in ("", "-1", "NoDevFiles"):
        why = (
            f"this torch ({torch.__version__}) is built for the CPU; run `make setup CUDA=1`"
            if torch.version.cuda is None
            else "the driver shows no usable device; look at `nvidia-smi` on this node"
        )
        asked = "device cuda was asked for" if device == "cuda" else f"GPU {given} was given"
        raise ProbeError(f"{asked}, but torch finds no CUDA device: {why}, or set device: cpu")
    return torch.device("cpu")


def describe(device: torch.device) -> str:
    """The device's name for provenance, such as ``cpu`` or ``cuda (NVIDIA A100)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type
