"""Whether the atoms that PROBE calls important are: hide them, and see how far p moves.

Importance is the attention that an atom receives, summed over queries and heads (paper, Methods).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probe.classifier.checkpoint import Checkpoint
from probe.classifier.network import Sample

HIDDEN = 0.2
"""Share of a conformer's atoms that is hidden; at least one atom."""

FEWEST_ATOMS = 5
"""Of a conformer with fewer atoms, hiding any is hiding much of it."""

DRAWS = 8
"""Random choices, over which a conformer's change is averaged."""


def validate(
    checkpoint: Checkpoint, samples: Sequence[Sample], seed: int, share: float = HIDDEN
) -> dict[str, Any]:
    """How far p_unreliable moves when atoms of each of ``samples`` are hidden, on average.

    ``most`` and ``least`` important atoms are hidden, and as many ``random`` ones; in
    ``same_elements`` the random ones are of the elements of the most important, so that a
    preference for an element alone shows no effect. ``better_than_random`` is the share of
    conformers for which the most important move p further than random atoms do on average. With
    no conformer of ``FEWEST_ATOMS``, only ``n`` and ``share_hidden`` are there.
    """
    random = np.random.default_rng(seed)
    known = [sample for sample in samples if len(sample.numbers) >= FEWEST_ATOMS]
    rows = []
    for sample, whole in zip(known, checkpoint.score(known), strict=True):
        choices = _choices(whole.importance, sample.numbers, share, random)
        moved = np.abs(_p_without(checkpoint, sample, choices) - whole.p_unreliable)
        drawn = moved[2:].reshape(2, DRAWS).mean(axis=1)
        rows.append([moved[0], moved[1], *drawn])
    if not rows:
        return {"n": 0, "share_hidden": share}
    changes = np.array(rows)
    names = ("most", "least", "random", "same_elements")
    return {
        "n": len(known),
        "share_hidden": share,
        **dict(zip(names, changes.mean(axis=0).tolist(), strict=True)),
        "better_than_random": float((changes[:, 0] > changes[:, 2]).mean()),
    }


def _choices(
    importance: NDArray[np.float32],
    numbers: NDArray[np.integer],
    share: float,
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """Masks [2 + 2 ``DRAWS``, N] of hidden atoms: most, least, random, of the same elements."""
    count = max(1, round(share * len(numbers)))
    ranked = np.argsort(-importance, kind="stable")
    chosen = [ranked[:count], ranked[-count:]]
    chosen += [random.permutation(len(numbers))[:count] for _ in range(DRAWS)]
    wanted, needed = np.unique(numbers[ranked[:count]], return_counts=True)
    for _ in range(DRAWS):
        drawn = [
            random.permutation(np.flatnonzero(numbers == element))[:n]
            for element, n in zip(wanted, needed, strict=True)
        ]
        chosen.append(np.concatenate(drawn))
    masks = np.zeros((len(chosen), len(numbers)), dtype=np.bool_)
    for row, atoms in enumerate(chosen):
        masks[row, atoms] = True
    return masks


def _p_without(
    checkpoint: Checkpoint, sample: Sample, hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """P(unreliable) [K] of ``sample`` with the atoms of each mask of ``hidden`` [K, N] padded."""
    inputs = checkpoint.normalisation([sample] * len(hidden))
    mask = torch.from_numpy(hidden).to(inputs.padding.device)
    return checkpoint.p_unreliable(inputs._replace(padding=inputs.padding | mask))
