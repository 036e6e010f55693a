"""Importance: hiding what PROBE looks at must move its answer further than hiding the rest."""

import numpy as np
import pytest
import torch

from probe.classifier import importance
from probe.classifier.network import Sample

N = 10


class LooksAt:
    """A checkpoint that looks at some atoms only: p is the share of them that it sees."""

    def __init__(self, *atoms):
        self.atoms = list(atoms)

    def score(self, samples):
        attention = np.full(N, 0.01, dtype=np.float32)
        attention[self.atoms] = 1.0
        answer = type("Scored", (), {"importance": attention, "p_unreliable": 1.0})
        return [answer for _ in samples]

    def normalisation(self, samples):
        padding = torch.zeros(len(samples), N, dtype=torch.bool)
        return type("Inputs", (), {"padding": padding, "_replace": lambda _, padding: padding})()

    def p_unreliable(self, padding):
        return 1.0 - padding.numpy()[:, self.atoms].mean(axis=1)


def sample(numbers):
    return Sample(np.zeros((len(numbers), 4), np.float16), None, np.array(numbers), 0.0)


def test_hiding_all_that_it_looks_at_moves_p_by_all_of_it():
    found = importance.validate(LooksAt(2, 7), [sample([6] * N)], seed=1)
    assert found["share_hidden"] == 0.2
    assert (found["most"], found["least"]) == (1.0, 0.0)
    assert 0 < found["random"] < 1
    assert found["better_than_random"] == 1.0


def test_where_the_important_atoms_are_all_of_their_element_so_are_the_random_ones():
    numbers = [6] * N
    numbers[2] = numbers[7] = 17
    found = importance.validate(LooksAt(2, 7), [sample(numbers)], seed=1)
    assert found["same_elements"] == found["most"] == 1.0
    assert found["random"] < 1.0


@pytest.mark.parametrize(("share", "n_hidden"), [(0.01, 1), (0.2, 2), (0.5, 5)])
def test_at_least_one_atom_is_hidden(share, n_hidden):
    random = np.random.default_rng(0)
    masks = importance._choices(np.arange(N, dtype=np.float32), np.full(N, 6), share, random)
    assert (masks.sum(axis=1) == n_hidden).all()
    assert masks[0, -n_hidden:].all()
    assert masks[1, :n_hidden].all()


def test_small_conformers_say_nothing():
    found = importance.validate(LooksAt(2), [sample([6] * N), sample([8, 1, 1])], seed=1)
    assert found["n"] == 1


def test_without_any_conformer_that_is_large_enough_there_is_nothing_to_say():
    assert importance.validate(LooksAt(2), [sample([8, 1, 1])], seed=1) == {
        "n": 0,
        "share_hidden": 0.2,
    }
