"""Whether a refitted checkpoint takes the place of the one in use.

Both answer the same question for the same held-out conformers, which neither was fitted to: is the
energy off by more than the boundary of the one in use, on its scale?
"""

from typing import Any

import numpy as np

from probe.classifier.calibration import Labelled
from probe.classifier.checkpoint import Checkpoint
from probe.classifier.exceedance import exceedance
from probe.comparison.evidence import Bootstrap, Tested, summary
from probe.errors import ProbeError

BETTER_WHEN = {"auroc": 1.0, "brier": -1.0}
"""The figures that decide, and the sign of what is better: order and probabilities."""
RESAMPLES, SEED = 2000, 1

Gains = dict[str, dict[str, float | None]]
"""By figure the gain and its 95 % interval; above 0 the candidate is better."""


def asked(checkpoint: Checkpoint, in_use: Checkpoint, data: Labelled) -> Tested:
    """What ``checkpoint`` answers for ``data`` to the question of ``in_use``.

    The errors that it expects refer to its own shift; what the two shifts differ by is added.

    Raises:
        ProbeError: it knows its own boundary only (the published recipe).
    """
    rows = np.arange(len(data))
    scored = checkpoint.score(data.samples)
    known = [(s.location_kcal, s.scale_kcal) for s in scored if s.location_kcal and s.scale_kcal]
    if len(known) < len(scored):
        raise ProbeError(
            f"checkpoint {checkpoint.card['name']} knows its own boundary only, as the published "
            "recipe does, and two boundaries are two questions; train with the default recipe"
        )
    mine, asks = (data.error_kcal(rows, one.shift) for one in (checkpoint, in_use))
    location, scale = (np.array(each, dtype=np.float64) for each in zip(*known, strict=True))
    p = exceedance(location + (asks - mine)[:, None], scale, in_use.boundary_kcal)
    return Tested(p, p, asks, data.smiles, in_use.boundary_kcal)


def gains(candidate: Tested, in_use: Tested) -> tuple[dict[str, Any], Gains]:
    """The deciding figures of both, and by how much the candidate is better.

    Both are computed on the same resamples of whole molecules: a paired bootstrap.
    """
    bootstrap = Bootstrap(in_use.smiles.tolist(), RESAMPLES, SEED)
    new, old = bootstrap.figures(candidate), bootstrap.figures(in_use)
    figures = {
        figure: {"in_use": summary([old[figure]]), "candidate": summary([new[figure]])}
        for figure in BETTER_WHEN
    }
    gained = {
        figure: summary([sign * (new[figure] - old[figure])])
        for figure, sign in BETTER_WHEN.items()
    }
    return figures, gained


def verdict(gained: Gains) -> str:
    """``worse``, ``better``, ``undecided``, or ``untold`` where a figure cannot be computed.

    Worse in one figure is worse, whatever the other says.
    """
    if any(gain["value"] is None for gain in gained.values()):
        return "untold"
    if any(_end(gain, "high") < 0 for gain in gained.values()):
        return "worse"
    return "better" if any(_end(gain, "low") > 0 for gain in gained.values()) else "undecided"


PROMOTES = ("better", "undecided")
"""What the held-out molecules cannot tell from the one in use has learnt from more labels."""


def _end(gain: dict[str, float | None], end: str) -> float:
    value = gain[end]
    return float("nan") if value is None else value
