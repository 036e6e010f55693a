"""Machine-learned potentials behind one contract."""

from probe.backbones.contract import Backbone, Evaluation, Geometry, refusal

__all__ = ["Backbone", "Evaluation", "Geometry", "load", "refusal"]


def load(name: str, device: str = "auto") -> Backbone:
    """The backbone ``name`` of resources/backbones.yaml, ready to evaluate on ``device``.

    Its weights must have been fetched (``probe weights fetch``); nothing is downloaded here.

    Raises:
        ProbeError: the name is unknown, the weights are missing or not the pinned network,
            or the device is not there.
    """
    from probe import weights  # noqa: PLC0415 (both need the other's names)
    from probe.backbones.aimnet import AIMNetBackbone  # noqa: PLC0415
    from probe.devices import choose  # noqa: PLC0415

    entry = weights.entry(name)
    return AIMNetBackbone(entry, weights.locate(entry), choose(device))
