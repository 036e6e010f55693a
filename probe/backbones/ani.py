"""ANI-2xt from the wheel of Auto3D: a file of tensors alone, so neither it nor torchani is needed.

Differences of positions and sums are in double precision, the rest in single, as in training.
Every element has a network of its own, and the last hidden layers of two of them share neither
width nor meaning. An embedding has a block of columns for each element; all but its own are zero.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import celu, linear

from probe.backbones import aev
from probe.backbones.contract import Evaluation, Geometry, fingerprint
from probe.backbones.wheels import advice, sources
from probe.errors import ProbeError
from probe.listing import Entry, Located

__all__ = ["IS_CODE", "SUFFIX", "advice", "backbone", "identify", "read", "sources"]

SUFFIX = ".pt"
IS_CODE = False
NUMBERS = (1, 6, 7, 8, 9, 16, 17)
"""The elements, in the order of their networks."""
HARTREE = 27.211386245988
ATOMIC = HARTREE * np.array([-0.5984, -38.0826, -54.7031, -75.1901, -99.8006, -398.1224, -460.1387])


class AniBackbone:
    """ANI-2xt: 864 features an atom, at most 160 of them its own; two energy terms, no charges."""

    takes_charge = False
    takes_open_shell = False
    terms: tuple[str, ...] = ("network", "atomic")
    elements = frozenset(NUMBERS)

    def __init__(
        self, name: str, fingerprint: str, model: Mapping[str, Tensor], device: torch.device
    ) -> None:
        self.name, self.fingerprint, self.device = name, fingerprint, device
        self._model = {key: values.to(device) for key, values in model.items()}
        widths = [len(model[f"{kind}.4.bias"]) for kind in range(len(NUMBERS))]
        self._stops = np.cumsum([0, *widths]).tolist()
        self.embedding_dim = sum(widths)

    @torch.no_grad()
    def evaluate(self, batch: Sequence[Geometry]) -> Evaluation:
        """See the contract."""
        numbers = np.concatenate([one.numbers for one in batch])
        kinds = torch.from_numpy(np.searchsorted(NUMBERS, numbers)).to(self.device)
        pairs = (x.to(self.device) for x in aev.neighbours(one.positions for one in batch))
        described = aev.descriptors(kinds, len(NUMBERS), *pairs)
        network = torch.zeros(len(kinds), dtype=torch.float64, device=self.device)
        features = torch.zeros(len(kinds), self.embedding_dim, device=self.device)
        for kind in set(kinds.tolist()):
            atoms, block = kinds == kind, slice(*self._stops[kind : kind + 2])
            hidden = described[atoms]
            for layer in (0, 2, 4):
                hidden = celu(self._linear(hidden, f"{kind}.{layer}"), 0.1)
            features[atoms, block] = hidden
            network[atoms] = self._linear(hidden, f"{kind}.6")[:, 0].double() * HARTREE
        starts = np.cumsum([0, *(len(one.numbers) for one in batch[:-1])])
        per_atom = {"network": network.cpu().numpy(), "atomic": ATOMIC[kinds.cpu().numpy()]}
        parts = {name: np.add.reduceat(values, starts) for name, values in per_atom.items()}
        energy = parts["network"] + parts["atomic"]
        return Evaluation(energy, features.cpu().numpy(), None, parts)

    def _linear(self, values: Tensor, layer: str) -> Tensor:
        return linear(values, self._model[f"{layer}.weight"], self._model[f"{layer}.bias"])


def backbone(wanted: Entry, located: Located, device: torch.device) -> AniBackbone:
    """See ``Adapter``."""
    return AniBackbone(wanted.name, located.fingerprint, located.model, device)


def read(content: bytes, wanted: Entry, where: str) -> dict[str, Tensor]:  # noqa: ARG001
    """See ``Adapter``: tensors alone are unpickled."""
    try:
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a different class for each kind of damage
        raise ProbeError(f"{where}: not a readable file of weights; fetch it again") from error


def identify(model: Mapping[str, Tensor]) -> str:
    """See ``Adapter``: the weights, and what this module and its descriptors add to them."""
    numbers = [*NUMBERS, *ATOMIC, aev.CUTOFF, aev.NEAR, *aev.SHIFTS, *aev.MEANS, *aev.ANGLES]
    return fingerprint(model, {"kind": "ANI-2xt", "constants": [f"{x:.5f}" for x in numbers]})
