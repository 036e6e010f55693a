"""The parts of a split as peers see them: errors, the boundary, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from labelled_set import IODINE, made_up

from probe.classifier.labels import Labels
from probe.comparison import parts, splits
from probe.errors import ProbeError
from probe.schemas import KCAL_PER_EV


@pytest.fixture(scope="module")
def labels():
    return made_up()[0]


def at_random(labels, seed=1):
    return splits.at_random(labels.data.smiles, seed)


class TestPrepare:
    def test_errors_are_after_the_shift_of_the_fit_part(self):
        labels, error = made_up()
        split = at_random(labels)
        prepared = parts.prepare(labels, split, split, (1.0,))
        assert prepared.test.error_kcal == pytest.approx(error[split.test], abs=0.15)
        assert prepared.fit.error_kcal == pytest.approx(error[split.fit], abs=0.15)

    def test_the_test_part_moves_neither_shift_nor_boundary(self, labels):
        """Whatever is wrong with tested reference energies, the fit part's errors are the same."""
        split = at_random(labels)
        energies = labels.data.energy_ev.copy()
        energies[split.test] += 100.0
        other = replace(labels, data=replace(labels.data, energy_ev=energies))
        one, two = (parts.prepare(known, split, split, ()) for known in (labels, other))
        assert np.array_equal(one.fit.error_kcal, two.fit.error_kcal)
        assert one.tolerances == two.tolerances
        assert two.test.error_kcal == pytest.approx(one.test.error_kcal + 100 * KCAL_PER_EV)

    def test_the_boundary_comes_first_and_is_the_median_of_the_fit_part(self, labels):
        split = at_random(labels)
        prepared = parts.prepare(labels, split, split, (1.0, 3.0))
        assert prepared.tolerances[1:] == (1.0, 3.0)
        assert prepared.tolerances[0] == np.median(np.abs(prepared.fit.error_kcal))
        assert prepared.fit.exceeds(prepared.tolerances[0]).mean() == pytest.approx(0.5, abs=0.02)

    def test_what_belongs_to_a_conformer_stays_with_it(self, labels):
        split = at_random(labels)
        prepared = parts.prepare(labels, split, split, ())
        assert prepared.test_ids.tolist() == [f"c{row}" for row in split.test]
        assert prepared.test.smiles.tolist() == [f"m{row}" for row in split.test]
        assert np.array_equal(prepared.test.members_ev, labels.members_ev[split.test])
        assert prepared.test.samples[0] is labels.data.samples[split.test[0]]
        assert prepared.n_left_out == 0

    def test_a_conformer_with_an_element_without_shift_is_left_out_and_counted(self):
        labels, _ = made_up(iodine=3)
        split = at_random(labels)
        prepared = parts.prepare(labels, split, split, ())
        assert prepared.n_left_out == 3
        everything = (prepared.fit, prepared.tune, prepared.calibrate, prepared.test)
        assert sum(map(len, everything)) == 57
        assert not any((s.numbers == 53).any() for part in everything for s in part.samples)

    def test_a_part_that_is_left_empty_is_no_split(self):
        labels, _ = made_up(iodine=3)
        split = replace(at_random(labels), test=np.array([57, 58]))
        assert parts.prepare(labels, split, split, ()) is None

    def test_a_learning_curve_asks_the_same_of_the_tested(self, labels):
        whole = at_random(labels)
        small = splits.subset(whole, labels.data.smiles, 24)
        one, two = (parts.prepare(labels, split, whole, (1.0,)) for split in (whole, small))
        assert len(two.fit) < len(one.fit)
        assert one.tolerances == two.tolerances
        assert np.array_equal(one.test.error_kcal, two.test.error_kcal)


class TestSiblings:
    def test_their_errors_are_after_shifts_of_their_own(self, labels):
        """One with other energies of the elements and the same errors otherwise."""
        data = labels.data
        sizes = np.array([len(sample.numbers) for sample in data.samples])
        own = np.array([sample.energy_ev for sample in data.samples])
        known = replace(labels, members_ev=np.stack([own, own + 3.0 * sizes], axis=1))
        split = at_random(labels)
        prepared = parts.prepare(known, split, split, ())
        assert prepared.test.siblings_kcal.shape == (len(split.test), 1)
        assert prepared.fit.siblings_kcal[:, 0] == pytest.approx(prepared.fit.error_kcal, abs=0.1)

    def test_without_an_ensemble_there_are_none(self, labels):
        split = at_random(labels)
        prepared = parts.prepare(replace(labels, members_ev=None), split, split, ())
        assert prepared.test.siblings_kcal is None


class TestScale:
    def test_an_element_that_was_left_out_takes_its_level_from_the_test_part(self):
        labels, error = made_up()
        numbers = [sample.numbers for sample in labels.data.samples]
        split = splits.without_element(labels.data.smiles, numbers, "I", 1)
        shift = parts.scale(labels.data, split)
        assert shift.per_element["I"] == pytest.approx(IODINE, abs=0.01)
        prepared = parts.prepare(labels, split, split, ())
        assert len(prepared.test) == 20
        expected = error[split.test] - np.median(error[split.test])
        assert prepared.test.error_kcal == pytest.approx(expected, abs=0.15)

    def test_the_others_keep_the_fit_part_s(self, labels):
        numbers = [sample.numbers for sample in labels.data.samples]
        split = splits.without_element(labels.data.smiles, numbers, "I", 1)
        fitted = labels.data.shift(split.fit, parts.MIN_ELEMENT_MOLECULES)
        extended = parts.scale(labels.data, split)
        assert extended.per_element["C"] == fitted.per_element["C"]
        assert set(fitted.per_element) == {"C"}


class TestTogether:
    def part_of(self, labels, rows, sha256, offset=0.0):
        return Labels(
            tuple(labels.conformer_ids[i] for i in rows),
            tuple(labels.smiles[i] for i in rows),
            tuple(labels.geometries[i] for i in rows),
            labels.energy_ev[list(rows)] + offset,
            sha256,
        )

    def test_each_conformer_is_there_once_and_the_first_set_counts(self, calibration):
        one = self.part_of(calibration, range(4), "a")
        two = self.part_of(calibration, range(2, 6), "b", offset=1.0)
        both = parts._together([one, two])
        assert both.conformer_ids == calibration.conformer_ids[:6]
        offsets = both.energy_ev - calibration.energy_ev[:6]
        assert offsets == pytest.approx([0, 0, 0, 0, 1, 1])

    def test_the_digest_of_a_set_is_its_own_and_of_two_it_does_not_know_their_order(
        self, calibration
    ):
        one, two = (self.part_of(calibration, [i], name) for i, name in enumerate("ab"))
        assert parts._together([one]).sha256 == "a"
        assert parts._together([one, two]).sha256 == parts._together([two, one]).sha256
        assert len(parts._together([one, two]).sha256) == 64


def test_too_few_molecules_are_one_line(tmp_path, monkeypatch, calibration, aimnet):
    few = TestTogether().part_of(calibration, range(5), "few")
    monkeypatch.setattr(parts, "read", lambda _: few)
    monkeypatch.setattr(parts.backbones, "load", lambda *_: aimnet)
    with pytest.raises(ProbeError, match=r"few\.parquet: 5 molecules are too few"):
        parts.gather([tmp_path / "few.parquet"], "aimnet2-b973c", tmp_path, "cpu", None)
