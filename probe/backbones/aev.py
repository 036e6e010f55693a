"""ANI's descriptors: what lies around an atom, element by element.

Smith, Isayev, Roitberg, Chem. Sci. 2017, 8, 3192, with the constants of ANI-1x and ANI-2xt.
"""

from collections.abc import Iterable
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

CUTOFF, SHIFTS = 5.2, 0.9 + 0.26875 * torch.arange(16)  # Å; of distances
NEAR, MEANS = 3.5, 0.9 + 0.65 * torch.arange(4)  # Å; of the two distances of an angle
ANGLES = pi / 8 * (torch.arange(8) + 0.5)


def neighbours(molecules: Iterable[NDArray[np.float64]]) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of atoms within the cutoff: atom, neighbour and vector [P, 3] in Å, by atom.

    Of several molecules, each given by its positions; atoms are counted through all of them.
    """
    found, start = [], 0
    for positions in molecules:
        near = cdist(positions, positions) < CUTOFF
        atom, other = np.nonzero(near & ~np.eye(len(near), dtype=bool))
        found.append((atom + start, other + start, positions[other] - positions[atom]))
        start += len(near)
    columns = [torch.from_numpy(np.concatenate(x)) for x in zip(*found, strict=True)]
    return columns[0], columns[1], columns[2].float()


def descriptors(kinds: Tensor, n: int, atom: Tensor, other: Tensor, vector: Tensor) -> Tensor:
    """[N, 16 n + 16 n (n + 1)] of N atoms, each of one of ``n`` ``kinds`` of elements.

    Of each kind how far its atoms are; of each two kinds the angles and distances of near ones.
    """
    device, distance = vector.device, vector.norm(dim=1)[:, None]
    terms = 0.25 * torch.exp(-16 * (distance - SHIFTS.to(device)) ** 2) * _fade(distance, CUTOFF)
    radial = terms.new_zeros(len(kinds) * n, 16).index_add_(0, atom * n + kinds[other], terms)
    close = distance[:, 0] < NEAR
    atom, other, vector, distance = (x[close] for x in (atom, other, vector, distance))
    one, two = _twos(atom)
    cosine = (vector[one] * vector[two]).sum(1, keepdim=True) / (distance[one] * distance[two])
    angle = torch.acos(0.95 * cosine) - ANGLES.to(device)
    mean = (distance[one] + distance[two]) / 2 - MEANS.to(device)
    terms = torch.exp(-8 * mean**2)[:, :, None] * (0.5 + 0.5 * torch.cos(angle))[:, None, :] ** 32
    fade = _fade(distance, NEAR)
    terms = 2 * fade[one] * fade[two] * terms.flatten(1)
    ends = torch.stack([kinds[other[one]], kinds[other[two]]])
    small, large, twos = ends.amin(0), ends.amax(0), n * (n + 1) // 2
    place = atom[one] * twos + small * (2 * n - 1 - small) // 2 + large
    angular = terms.new_zeros(len(kinds) * twos, 32).index_add_(0, place, terms)
    return torch.cat([radial.view(len(kinds), -1), angular.view(len(kinds), -1)], dim=1)


def _twos(atom: Tensor) -> tuple[Tensor, Tensor]:
    """Each two pairs of one atom, once; ``atom`` [P] is sorted."""
    ends = torch.bincount(atom, minlength=1).cumsum(0)[atom]
    later = ends - torch.arange(len(atom), device=atom.device) - 1
    one = torch.repeat_interleave(later)
    within = torch.arange(len(one), device=atom.device) - (later.cumsum(0) - later)[one]
    return one, one + 1 + within


def _fade(distance: Tensor, cutoff: float) -> Tensor:
    """From 1 at no distance to 0 at the cutoff."""
    return 0.5 + 0.5 * torch.cos(distance * (pi / cutoff))
