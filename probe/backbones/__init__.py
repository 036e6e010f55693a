"""Machine-learned potentials behind one contract."""

from probe import devices, weights
from probe.backbones.contract import Backbone, Evaluation, Geometry, refusal

__all__ = ["Backbone", "Evaluation", "Geometry", "load", "refusal"]


def load(name: str, device: str = "auto") -> Backbone:
    """The listed backbone ``name``, ready to evaluate on ``device``.

    Its weights must have been fetched (``probe weights fetch``); nothing is downloaded here.

    Raises:
        ProbeError: the name is unknown, the weights are missing or not the pinned network,
            or the device is not there.
    """
    chosen = devices.choose(device)
    entry = weights.entry(name)
    return weights.adapter_of(entry).backbone(entry, weights.locate(entry), chosen)
