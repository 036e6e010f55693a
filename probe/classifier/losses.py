"""What PROBE's networks are fitted to: losses of an answer against known errors."""

import torch
from torch import Tensor, nn

from probe.classifier.exceedance import SMALLEST, TOLERANCES
from probe.classifier.network import Head, Inputs, Outputs

SIBLINGS_WEIGHT = 2.0
"""Of what is learnt from the siblings' errors, all together, beside the backbone's own."""


def classes_loss(logits: Tensor, error: Tensor, inputs: Inputs) -> Tensor:
    """Cross-entropy, each conformer's divided by the root of its atom count (paper, Methods)."""
    target = (error.abs() > 1).long()
    entropy = nn.functional.cross_entropy(logits, target, reduction="none")
    weight = (~inputs.padding).sum(dim=1).float().rsqrt()
    return (entropy * weight).mean()


def distribution_loss(answers: Tensor, error: Tensor, inputs: Inputs) -> Tensor:  # noqa: ARG001
    """What the signed error [B] says against a logistic distribution, and at each tolerance.

    Negative log-likelihood, which uses size and sign of an error and not its class alone, plus
    the cross-entropy of lying beyond each of ``TOLERANCES``, which is what is asked later.
    """
    location, scale = answers[:, 0], answers[:, 1].exp()
    away = ((error - location) / scale).abs()
    likelihood = (answers[:, 1] + away + 2 * nn.functional.softplus(-away)).mean()
    tolerances = torch.tensor(TOLERANCES)
    above = torch.sigmoid((location[:, None] - tolerances) / scale[:, None])
    below = torch.sigmoid((-location[:, None] - tolerances) / scale[:, None])
    p = (above + below).clamp(SMALLEST, 1 - SMALLEST)
    beyond = (error.abs()[:, None] > tolerances).float()
    entropy = nn.functional.binary_cross_entropy(p, beyond, reduction="none")
    return likelihood + entropy.sum(dim=1).mean() / 3


LOSSES = {"classes": classes_loss, "distribution": distribution_loss}


def learnt(
    outputs: Outputs, error: Tensor, siblings: Tensor | None, inputs: Inputs, head: Head
) -> Tensor:
    """The loss of ``outputs``: of the ``error`` [B] and, if known, those of ``siblings`` [B, S]."""
    loss = LOSSES[head]
    own = loss(outputs.answer, error, inputs)
    if siblings is None:
        return own
    pairs = zip(outputs.siblings.unbind(dim=1), siblings.unbind(dim=1), strict=True)
    return own + SIBLINGS_WEIGHT * torch.stack([loss(*pair, inputs) for pair in pairs]).mean()
