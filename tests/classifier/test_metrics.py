"""Every figure of metrics.json against a case small enough to work out on paper."""

import numpy as np
import pytest

from probe.classifier import metrics

P = np.array([0.05, 0.2, 0.4, 0.7, 0.9])
ERROR = np.array([0.1, -2.0, 0.3, 0.5, -5.0])
"""With the boundary at 1 kcal/mol the second and the last are unreliable."""


@pytest.fixture(scope="module")
def five():
    return metrics.evaluate(P, ERROR, 1.0)


def leaves(value):
    """What a nested record holds, flat."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]


class TestFiveConformers:
    @pytest.mark.parametrize(
        ("figure", "by_hand"),
        [
            ("n", 5),
            ("boundary_kcal", 1.0),
            ("accuracy", 3 / 5),  # 1 true positive, 2 true negatives
            ("majority_accuracy", 3 / 5),
            ("mcc", 1 / 6),  # (1*2 - 1*1) / sqrt(2*2*3*3)
            ("f1_unreliable", 2 / 4),
            ("auroc", 4 / 6),  # pairs in the right order
            ("average_precision", 0.5 * 1 + 0.5 * 2 / 4),
            ("aurc", (0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5),
            ("ece", (0.05 + 0.8 + 0.4 + 0.7 + 0.1) / 5),  # each in a bin of its own
            ("brier", (0.05**2 + 0.8**2 + 0.4**2 + 0.7**2 + 0.1**2) / 5),
            ("spearman", 0.7),  # 1 - 6 * (0 + 4 + 1 + 1 + 0) / (5 * 24)
        ],
    )
    def test_figure(self, five, figure, by_hand):
        assert five[figure] == pytest.approx(by_hand, abs=1e-12)

    @pytest.mark.parametrize(
        ("cutoff", "n", "coverage", "accuracy", "accepted", "accepted_unreliable"),
        [
            (0.5, 5, 1.0, 3 / 5, 3 / 5, 1 / 3),
            (0.6, 5, 1.0, 3 / 5, 3 / 5, 1 / 3),
            (0.7, 4, 4 / 5, 2 / 4, 2 / 5, 1 / 2),
            (0.8, 3, 3 / 5, 2 / 3, 2 / 5, 1 / 2),
            (0.9, 2, 2 / 5, 1.0, 1 / 5, 0.0),
            (0.95, 1, 1 / 5, 1.0, 1 / 5, 0.0),
            (0.98, 0, 0.0, None, 0.0, None),
        ],
    )
    def test_row_of_the_coverage_table(
        self, five, cutoff, n, coverage, accuracy, accepted, accepted_unreliable
    ):
        row = next(row for row in five["coverage"] if row["cutoff"] == cutoff)
        assert row == {
            "cutoff": cutoff,
            "n": n,
            "coverage": pytest.approx(coverage),
            "accuracy": accuracy if accuracy is None else pytest.approx(accuracy),
            "accepted": pytest.approx(accepted),
            "accepted_unreliable": (
                accepted_unreliable
                if accepted_unreliable is None
                else pytest.approx(accepted_unreliable)
            ),
        }

    def test_the_coverage_table_has_the_seven_cutoffs(self, five):
        assert [row["cutoff"] for row in five["coverage"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98]

    def test_the_sign_of_an_error_does_not_matter(self, five):
        assert metrics.evaluate(P, -ERROR, 1.0) == five

    def test_the_order_of_the_rows_does_not_matter(self, five):
        order = np.array([3, 0, 4, 2, 1])
        shuffled = metrics.evaluate(P[order], ERROR[order], 1.0)
        assert leaves(shuffled) == pytest.approx(leaves(five))

    def test_an_error_at_the_boundary_is_reliable(self):
        assert metrics.evaluate(P, np.full(5, 1.0), 1.0)["brier"] == pytest.approx((P**2).mean())


class TestReliability:
    def test_a_bin_compares_the_mean_with_the_frequency(self):
        p = np.array([0.01, 0.05, 0.03, 0.99])
        unreliable = np.array([False, True, False, True])
        assert metrics.calibration_error(p, unreliable) == pytest.approx(
            3 / 4 * (1 / 3 - 0.03) + 1 / 4 * 0.01
        )
        assert metrics.reliability(p, unreliable) == [
            {"low": 0.0, "high": 1 / 15, "n": 3, "mean_p": pytest.approx(0.03), "frequency": 1 / 3},
            {"low": 14 / 15, "high": 1.0, "n": 1, "mean_p": 0.99, "frequency": 1.0},
        ]

    def test_the_ends_of_the_scale_are_in_the_outermost_bins(self):
        rows = metrics.reliability(np.array([0.0, 1.0]), np.array([False, True]))
        assert [(row["low"], row["high"]) for row in rows] == [(0.0, 1 / 15), (14 / 15, 1.0)]
        assert metrics.calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0

    def test_no_conformer_is_lost_between_bins(self):
        p = np.linspace(0, 1, 997)
        rows = metrics.reliability(p, p > 0.5)
        assert sum(row["n"] for row in rows) == 997
        assert len(rows) == metrics.ECE_BINS


class TestSelectiveRisk:
    def test_a_perfect_order_has_the_least_and_its_reverse_the_most(self):
        unreliable = np.array([False, False, True, True])
        p = np.array([0.1, 0.2, 0.8, 0.9])
        best = metrics.risk_coverage_area(p, unreliable)
        worst = metrics.risk_coverage_area(1 - p, unreliable)
        assert best == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
        assert worst == pytest.approx((1 + 1 + 2 / 3 + 2 / 4) / 4)

    def test_of_equals_none_is_trusted_before_the_other(self):
        p = np.array([0.3, 0.3, 0.3, 0.1])
        some = metrics.risk_coverage_area(p, np.array([True, False, False, False]))
        other = metrics.risk_coverage_area(p, np.array([False, False, True, False]))
        assert some == other == pytest.approx((0 + (1 / 3) / 2 + (2 / 3) / 3 + 1 / 4) / 4)


class TestNothingToTellApart:
    @pytest.mark.parametrize("error", [0.2, 9.0])
    def test_with_one_class_what_needs_two_is_left_open(self, error):
        found = metrics.evaluate(P, np.full(5, error), 1.0)
        assert [found[name] for name in ("mcc", "auroc", "average_precision")] == [None] * 3
        assert found["majority_accuracy"] == 1.0
        assert found["aurc"] == float(error > 1)
        assert found["accuracy"] == pytest.approx(2 / 5 if error > 1 else 3 / 5)

    def test_with_one_class_the_ranking_of_errors_still_counts(self):
        assert metrics.evaluate(P, P * 0.1, 1.0)["spearman"] == pytest.approx(1.0)

    def test_a_constant_answer_ranks_nothing(self):
        found = metrics.evaluate(np.full(5, 0.3), ERROR, 1.0)
        assert found["spearman"] is None
        assert found["auroc"] == 0.5
        assert found["mcc"] == 0.0
        assert found["aurc"] == found["average_precision"] == pytest.approx(2 / 5)
        assert found["ece"] == pytest.approx(0.4 - 0.3)
        assert found["f1_unreliable"] == 0.0

    def test_a_single_conformer_is_enough(self):
        found = metrics.evaluate(np.array([0.2]), np.array([3.0]), 1.0)
        assert (found["n"], found["accuracy"], found["spearman"]) == (1, 0.0, None)

    def test_figures_are_plain_numbers(self, five):
        assert {type(leaf) for leaf in leaves(five)} <= {int, float, type(None)}


class TestRefusals:
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_missing_error_is_not_a_reliable_conformer(self, bad):
        with pytest.raises(ValueError, match="finite"):
            metrics.evaluate(P, np.where(ERROR == -2.0, bad, ERROR), 1.0)

    def test_a_missing_probability_is_not_a_figure(self):
        with pytest.raises(ValueError, match="finite"):
            metrics.evaluate(np.where(P == 0.4, np.nan, P), ERROR, 1.0)

    def test_nothing_is_not_a_set(self):
        with pytest.raises(ValueError, match="at least one"):
            metrics.evaluate(np.array([]), np.array([]), 1.0)


class TestSides:
    def test_the_errors_on_either_side_of_a_cutoff(self):
        by_cutoff = {row["cutoff"]: row for row in metrics.sides(P, ERROR)}
        assert by_cutoff[0.7] == {
            **{"cutoff": 0.7, "n_reliable": 2, "n_unreliable": 2},
            "error_reliable_kcal": pytest.approx((0.1 + 2.0) / 2),
            "error_unreliable_kcal": pytest.approx((0.5 + 5.0) / 2),
        }

    def test_a_side_with_nothing_on_it_has_no_error(self):
        row = metrics.sides(P, ERROR, [0.95])[0]
        assert (row["n_unreliable"], row["error_unreliable_kcal"]) == (0, None)


class TestByMagnitude:
    def test_each_error_is_in_one_bin_and_right_or_wrong(self):
        rows = metrics.by_magnitude(P, ERROR, 1.0)
        assert {(row["low"], row["high"]): (row["n"], row["accuracy"]) for row in rows} == {
            (0.0, 0.25): (1, 1.0),
            (0.25, 0.5): (2, 0.5),  # 0.3 is called reliable, 0.5 is not
            (0.5, 0.75): (0, None),
            (0.75, 1.0): (0, None),
            (1.0, 1.25): (0, None),
            (1.25, 1.5): (0, None),
            (1.5, 2.0): (1, 0.0),
            (2.0, 3.0): (0, None),
            (3.0, None): (1, 1.0),
        }

    def test_an_error_of_nothing_is_in_the_first_bin(self):
        assert metrics.by_magnitude(P, ERROR * 0, 1.0)[0]["n"] == 5


class TestExtremes:
    def test_the_ends_hold_the_share(self):
        p, error = np.linspace(0.01, 0.9, 100), np.arange(100.0)
        ends = metrics.extremes(p, error, 0.03)
        assert ends["most_trusted"][2] == 1.0  # the median of 0, 1, 2
        assert ends["least_trusted"][2] == 98.0
        assert ends["most_confident"][2] == 1.0
        assert ends["least_confident"][2] == pytest.approx(np.median([54, 55, 53]), abs=1)

    def test_an_end_has_one_conformer_at_least(self):
        assert metrics.extremes(P, ERROR)["least_trusted"] == [5.0] * 5


class TestChanceCalibration:
    def test_it_is_what_right_probabilities_show(self):
        """300 answers of 0.5: |binomial - 150| / 300, on average sqrt(2 / pi) of its deviation."""
        found = metrics.chance_calibration_error(np.full(300, 0.5), draws=4000)
        expected = np.sqrt(2 / np.pi) * np.sqrt(0.25 / 300)
        assert found["frequency"] == pytest.approx(expected, rel=0.05)
        assert found["confidence"] == pytest.approx(expected, rel=0.05)

    def test_it_falls_with_the_number_of_conformers(self):
        p = np.random.default_rng(0).uniform(size=4000)
        few, many = (metrics.chance_calibration_error(p[:n])["frequency"] for n in (200, 4000))
        assert many < few / 3

    def test_certain_answers_are_never_off(self):
        certain = metrics.chance_calibration_error(np.array([0.0, 1.0, 0.0]))
        assert certain == {"frequency": 0.0, "confidence": 0.0}
