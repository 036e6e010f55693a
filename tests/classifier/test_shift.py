"""The shift between the reference's energies and the backbone's, and what may not disturb it."""

import numpy as np
import pytest
from ase.data import atomic_numbers

from probe.classifier.shift import Shift, element_counts, fit_shift
from probe.errors import ProbeError

TRUE = Shift({"H": 0.012, "C": -0.021, "N": 0.03, "O": -0.008}, per_charge=0.06)


@pytest.fixture
def molecules():
    """300 random compositions of H, C, N and O with charges."""
    rng = np.random.default_rng(7)
    numbers = []
    for _ in range(300):
        carbons, nitrogens, oxygens = rng.integers(1, 9), rng.integers(0, 3), rng.integers(0, 3)
        hydrogens = rng.integers(0, 2 * carbons + 3)
        atoms = [6] * carbons + [7] * nitrogens + [8] * oxygens + [1] * hydrogens
        numbers.append(np.array(atoms, dtype=np.uint8))
    return numbers, rng.choice([-1, 0, 0, 0, 1], 300).tolist(), rng


def differences_of(numbers, charges):
    return np.array([TRUE.of(*pair) for pair in zip(numbers, charges, strict=True)])


def close_to(shift, tolerance):
    assert shift.per_element.keys() == TRUE.per_element.keys()
    assert shift.per_element == pytest.approx(TRUE.per_element, abs=tolerance)
    assert shift.per_charge == pytest.approx(TRUE.per_charge, abs=tolerance)


def with_element(numbers, symbol, rows):
    """``numbers`` with one more atom in some rows."""
    atom = np.array([atomic_numbers[symbol]], np.uint8)
    return [np.r_[n, atom] if row in rows else n for row, n in enumerate(numbers)]


class TestFit:
    def test_exact_differences_give_the_exact_shift(self, molecules):
        numbers, charges, _ = molecules
        close_to(fit_shift(numbers, charges, differences_of(numbers, charges), 20), 1e-5)

    def test_a_fifth_of_gross_outliers_hardly_moves_it(self, molecules):
        numbers, charges, rng = molecules
        target = differences_of(numbers, charges) + rng.normal(0, 0.001, 300)
        target[rng.choice(300, 60, replace=False)] += 1.0
        close_to(fit_shift(numbers, charges, target, 20), 1e-3)
        plain = np.linalg.lstsq(
            np.column_stack([[np.bincount(n, minlength=9) for n in numbers], charges]),
            target,
            rcond=None,
        )[0]
        assert abs(plain[6] - TRUE.per_element["C"]) > 1e-2  # what least squares makes of it

    def test_the_charge_has_a_term_of_its_own(self, molecules):
        numbers, charges, _ = molecules
        target = np.array([0.25 * charge for charge in charges])
        shift = fit_shift(numbers, charges, target, 20)
        assert shift.per_charge == pytest.approx(0.25, abs=1e-5)
        assert list(shift.per_element.values()) == pytest.approx([0.0] * 4, abs=1e-5)


class TestRareElements:
    def test_one_with_too_few_molecules_is_left_out(self, molecules):
        numbers, charges, _ = molecules
        rows = range(19)
        numbers = with_element(numbers, "Se", rows)
        target = differences_of(numbers, charges)
        target[rows] += 5.0
        close_to(fit_shift(numbers, charges, target, 20), 1e-5)

    def test_one_with_just_enough_is_fitted(self, molecules):
        numbers, charges, _ = molecules
        rows = range(20)
        numbers = with_element(numbers, "Se", rows)
        target = differences_of(numbers, charges)
        target[rows] += 0.4
        shift = fit_shift(numbers, charges, target, 20)
        assert shift.per_element["Se"] == pytest.approx(0.4, abs=1e-4)
        assert shift.per_element["C"] == pytest.approx(TRUE.per_element["C"], abs=1e-4)

    def test_one_that_is_only_seen_beside_a_rare_one_is_rare_too(self, molecules):
        numbers, charges, _ = molecules
        with_both = with_element(with_element(numbers, "I", range(25)), "Si", range(10))
        shift = fit_shift(with_both, charges, differences_of(with_both, charges), 20)
        assert shift.per_element.keys() == TRUE.per_element.keys()  # 15 whole ones have iodine

    def test_an_atom_counts_once_a_molecule(self):
        numbers = [np.array([6] * 50, np.uint8), np.array([6], np.uint8), np.array([1], np.uint8)]
        shift = fit_shift(numbers, [0, 0, 0], np.array([0.5, 0.01, 9.0]), 2)
        assert list(shift.per_element) == ["C"]

    def test_nothing_left_is_an_error(self, molecules):
        numbers, charges, _ = molecules
        with pytest.raises(ProbeError, match="no element occurs in 500 of the 300"):
            fit_shift(numbers, charges, differences_of(numbers, charges), 500)


class TestShift:
    def test_it_sums_over_the_atoms_and_the_charge(self):
        water = np.array([8, 1, 1], np.uint8)
        assert TRUE.of(water, 0) == pytest.approx(-0.008 + 2 * 0.012)
        assert TRUE.of(water, -2) == pytest.approx(-0.008 + 2 * 0.012 - 0.12)

    def test_an_element_without_a_shift_adds_nothing(self):
        assert TRUE.of(np.array([53, 1], np.uint8), 0) == pytest.approx(0.012)


def test_elements_are_counted_by_molecule_and_listed_by_atomic_number():
    numbers = [np.array(n, np.uint8) for n in ([6, 1, 1, 1, 1], [8, 1, 1], [53, 53], [8, 1, 1])]
    counts = element_counts(numbers, ["C", "O", "II", "O"])
    assert list(counts.items()) == [("H", 2), ("C", 1), ("O", 1), ("I", 1)]


def test_conformers_of_one_molecule_do_not_make_its_element_common():
    water, iodine = np.array([8, 1, 1], np.uint8), np.array([53, 53], np.uint8)
    numbers, differences = [water] * 4 + [iodine] * 4, np.full(8, 0.3)
    each_its_own = fit_shift(numbers, [0] * 8, differences, 4)
    of_two = fit_shift(numbers, [0] * 8, differences, 4, ["a", "b", "c", "d"] + ["II"] * 4)
    assert each_its_own.covers(iodine)
    assert not of_two.covers(iodine)
    assert of_two.covers(water)
