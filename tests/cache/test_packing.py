"""Runs of items that fit into a budget when padded."""

import numpy as np
import pytest

from probe.cache.packing import packs


@pytest.mark.parametrize(
    ("sizes", "batch_atoms", "runs"),
    [
        ([], 10, []),
        ([3], 10, [(0, 1)]),
        ([3, 3, 3], 9, [(0, 3)]),  # 3 * 3
        ([3, 3, 3], 8, [(0, 2), (2, 3)]),
        ([1, 1, 1, 9], 10, [(0, 3), (3, 4)]),  # 4 * 9 with the padding
        ([2, 3, 4, 5], 10, [(0, 2), (2, 4)]),  # 2 * 3, then 2 * 5
        ([12, 15], 10, [(0, 1), (1, 2)]),  # each alone is too large already
        ([1, 12], 10, [(0, 1), (1, 2)]),
    ],
)
def test_padded_atoms_decide(sizes, batch_atoms, runs):
    assert list(packs(sizes, batch_atoms)) == runs


def test_all_are_in_one_run_each():
    sizes = sorted(np.random.default_rng(0).integers(1, 60, 500).tolist())
    runs = list(packs(sizes, 300))
    assert [start for start, _ in runs] == [0, *[stop for _, stop in runs[:-1]]]
    assert runs[-1][1] == 500
    assert all((stop - start) * max(sizes[start:stop]) <= 300 for start, stop in runs)
