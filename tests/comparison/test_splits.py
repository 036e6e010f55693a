"""Outer splits: no molecule on two sides, every row somewhere, the same for the same seed."""

from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from ase.data import atomic_numbers

from probe.comparison import splits

MOLECULES = {
    "c1ccccc1": "CCCCCCHHHHHH",
    "Cc1ccccc1": "CCCCCCCHHHHHHHH",
    "c1ccncc1": "CCCCCNHHHHH",
    "CCO": "CCOHHHHHH",
    "COC": "CCOHHHHHH",
    "CCN": "CCNHHHHHHH",
    "CI": "CHHHI",
    "ICI": "CHHII",
    "CCCCCCCC": "C" * 8 + "H" * 18,
}
SMILES = np.array([name for name in MOLECULES for _ in range(3)])
NUMBERS = [np.array([atomic_numbers[s] for s in MOLECULES[name]]) for name in SMILES]
MANY = np.array([f"molecule {index // 2}" for index in range(400)])
PARTS = ("fit", "tune", "calibrate", "test")


def parts(split):
    return [getattr(split, name) for name in PARTS]


EVERY = [
    splits.at_random(SMILES, 3),
    splits.by_scaffold(SMILES, 3),
    splits.without_element(SMILES, NUMBERS, "I", 3),
    splits.small_to_large(SMILES, NUMBERS, 3),
    splits.at_random(MANY, 3),
]


@pytest.mark.parametrize("split", EVERY, ids=lambda split: split.name)
class TestEverySplit:
    def test_each_row_is_in_exactly_one_part(self, split):
        rows = np.concatenate(parts(split))
        assert sorted(rows) in (list(range(len(SMILES))), list(range(len(MANY))))

    def test_no_molecule_is_on_two_sides(self, split):
        smiles = SMILES if sum(map(len, parts(split))) == len(SMILES) else MANY
        sides = Counter(name for part in parts(split) for name in set(smiles[part]))
        assert set(sides.values()) == {1}

    def test_no_part_is_empty(self, split):
        assert all(len(part) for part in parts(split))


class TestAtRandom:
    def test_the_shares_are_of_conformers(self):
        split = splits.at_random(MANY, 1)
        assert [len(part) for part in parts(split)] == [240, 40, 40, 80]
        assert split.n_labels == 320

    def test_a_seed_gives_one_split_and_another_another(self):
        one, same, other = (splits.at_random(MANY, seed) for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(parts(one), parts(same), strict=True))
        assert not np.array_equal(one.test, other.test)

    def test_where_the_rows_stand_does_not_matter_to_the_molecules(self):
        order = np.random.default_rng(0).permutation(len(MANY))
        one, other = splits.at_random(MANY, 1), splits.at_random(MANY[order], 1)
        assert set(MANY[one.test]) == set(MANY[order][other.test])


class TestByScaffold:
    @pytest.mark.parametrize(
        ("smiles", "family"),
        [
            ("c1ccccc1", "c1ccccc1"),
            ("Cc1ccccc1", "c1ccccc1"),
            ("O=C(c1ccccc1)c1ccncc1", "O=C(c1ccccc1)c1ccncc1"),  # what links rings is part of it
            ("CCO", "no ring: C2 O1"),
            ("COC", "no ring: C2 O1"),
            ("CC[O-]", "no ring: C2 O1"),
            ("[2H]C", "no ring: C1"),
            ("not a molecule", "not a molecule"),
        ],
    )
    def test_the_family_of_a_molecule(self, smiles, family):
        assert splits.scaffold(smiles) == family

    def test_no_family_is_on_two_sides(self):
        for seed in range(20):
            split = splits.by_scaffold(SMILES, seed)
            families = [{splits.scaffold(s) for s in SMILES[part]} for part in parts(split)]
            assert sum(map(len, families)) == len(set.union(*families))


class TestWithoutElement:
    def test_the_test_part_is_all_that_has_it(self):
        split = splits.without_element(SMILES, NUMBERS, "I", 1)
        assert (split.name, split.element) == ("element-I", "I")
        assert set(SMILES[split.test]) == {"CI", "ICI"}

    def test_a_conformer_goes_with_its_molecule(self):
        """Two records of one SMILES, one of them with an atom the other lacks."""
        numbers = [*NUMBERS[:-1], np.append(NUMBERS[-1], 53)]
        split = splits.without_element(SMILES, numbers, "I", 1)
        assert set(SMILES[split.test]) == {"CI", "ICI", "CCCCCCCC"}

    def test_elements_with_too_few_molecules_are_not_left_out(self):
        smiles = np.array([f"m{index}" for index in range(60)])
        numbers = [np.array([6, 53 if i < 10 else 34 if i < 19 else 1]) for i in range(60)]
        assert splits.elements(smiles, numbers) == ["I"]

    def test_nor_is_what_most_molecules_have(self):
        smiles = np.array([f"m{index}" for index in range(60)])
        numbers = [np.array([16 if i < 31 else 15]) for i in range(60)]
        assert splits.elements(smiles, numbers) == ["P"]


class TestSmallToLarge:
    def test_without_large_molecules_the_largest_fifth_is_tested(self):
        split = splits.small_to_large(SMILES, NUMBERS, 1)
        assert set(SMILES[split.test]) == {"CCCCCCCC", "Cc1ccccc1"}  # 6 of 27 conformers

    def test_with_enough_of_them_the_large_are(self):
        smiles = np.array([f"m{index}" for index in range(100)])
        numbers = [np.full(18 if index < 20 else 17, 6) for index in range(100)]
        split = splits.small_to_large(smiles, numbers, 1)
        assert set(split.test) == set(range(20))
        assert [len(part) for part in parts(split)] == [60, 10, 10, 20]


class TestLearningCurve:
    def test_a_subset_has_about_as_many_labels_in_the_same_proportion(self):
        split = splits.subset(splits.at_random(MANY, 1), MANY, 160)
        assert [len(part) for part in parts(split)] == [120, 20, 20, 80]
        assert split.size == 160

    def test_the_smaller_is_part_of_the_larger_and_the_test_part_stays(self):
        whole = splits.at_random(MANY, 1)
        small, large = (splits.subset(whole, MANY, n) for n in (80, 160))
        for one, more, all_of_it in zip(parts(small), parts(large), parts(whole), strict=True):
            assert set(one) <= set(more) <= set(all_of_it)
        assert np.array_equal(small.test, whole.test)

    def test_molecules_stay_whole(self):
        split = splits.subset(splits.at_random(SMILES, 1), SMILES, 12)
        kept = np.concatenate(parts(split))
        assert set(Counter(SMILES[kept]).values()) == {3}

    def test_all_labels_are_the_split_itself(self):
        whole = splits.at_random(MANY, 1)
        same = splits.subset(whole, MANY, whole.n_labels)
        assert [list(part) for part in parts(same)] == [list(part) for part in parts(whole)]
        assert astuple(same)[:2] == ("random", 1)
