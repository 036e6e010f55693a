"""A MACE with random weights, small enough for unit tests; its energies mean nothing."""

import io
import warnings

import numpy as np
import torch

from probe.backbones import Geometry, mace

ENERGIES = {1: -13.6, 6: -1030.0, 7: -1490.0, 8: -2040.0, 9: -2700.0, 16: -10800.0, 17: -12500.0}
"""Elements that it knows, and their reference energies in eV."""


def build(
    seed=0, hidden="8x0e+8x1o", heads=None, kind="ScaleShiftMACE", dtype=torch.float64, **more
):
    """A new module; ``more`` goes to mace's class."""
    modules = mace.imported("modules")
    n_heads = len(heads or ["Default"])
    if kind == "ScaleShiftMACE":
        more |= {"atomic_inter_scale": [3.0] * n_heads, "atomic_inter_shift": [0.1] * n_heads}
    energies = np.array(list(ENERGIES.values())) + np.arange(n_heads)[:, None]
    torch.manual_seed(seed)
    with warnings.catch_warnings(), mace._default(dtype):
        warnings.simplefilter("ignore")  # building is the trainer's; only loading must be quiet
        from e3nn.o3 import Irreps  # noqa: PLC0415 (mace is imported by its adapter alone)

        module = getattr(modules, kind)(
            r_max=4.0,
            num_bessel=4,
            num_polynomial_cutoff=5,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_elements=len(ENERGIES),
            atomic_numbers=list(ENERGIES),
            atomic_energies=energies,
            avg_num_neighbors=6.0,
            correlation=2,
            gate=torch.nn.functional.silu,
            **{
                "num_interactions": 2,
                "max_ell": 1,
                "hidden_irreps": Irreps(hidden),
                "MLP_irreps": Irreps("4x0e"),
                "radial_MLP": [8],
                "heads": heads,
                **more,
            },
        )
    for block in module.products:  # to features of order one, as a trained network has
        block.linear.weight.data *= 10.0
    return module


def saved(module):
    """The content of its .model file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(module, content)
    return content.getvalue()


METHANE = Geometry(
    np.array([6, 1, 1, 1, 1], np.uint8),
    0.63 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], float),
)


WATER = Geometry(np.array([8, 1, 1], np.uint8), np.array([[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]]))
