"""Figures under weights, against scikit-learn and cases worked out on paper, and intervals."""

import numpy as np
import pytest
from sklearn import metrics as reference

from probe.classifier import metrics
from probe.comparison import evidence

P = np.array([0.05, 0.2, 0.4, 0.7, 0.9])
ERROR = np.array([0.1, -2.0, 0.3, 0.5, -5.0])
"""With the boundary at 1 kcal/mol the second and the last are unreliable."""


def answers(p, error, smiles=None, boundary=1.0, score=None):
    smiles = np.array([f"m{index}" for index in range(len(p))]) if smiles is None else smiles
    return evidence.Tested(p if score is None else score, p, error, smiles, boundary)


def plain(p, error, score=None):
    found = evidence.figures(answers(p, error, score=score), np.ones((1, len(p))))
    return {name: float(values[0]) for name, values in found.items()}


@pytest.fixture(scope="module")
def noisy():
    """Sixty answers with ties, better than chance."""
    random = np.random.default_rng(5)
    error = random.standard_t(3, 60)
    p = np.round(np.clip(0.3 * np.abs(error) + random.uniform(0, 0.5, 60), 0, 1), 1)
    return p, error


class TestFiveConformers:
    @pytest.mark.parametrize(
        ("figure", "by_hand"),
        [
            ("average_precision", 0.5 * 1 + 0.5 * 2 / 4),
            ("average_precision_reliable", (1 + 2 / 3 + 3 / 4) / 3),
            ("aurc", (0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5),
            ("augrc", (0 + 1 + 1 + 1 + 2) / 5 / 5),
            # by confidence: .95 right, .9 right, .8 wrong, .7 wrong, .6 right
            ("aurc_decision", (0 + 0 + 1 / 3 + 2 / 4 + 2 / 5) / 5),
            ("augrc_decision", (0 + 0 + 1 + 2 + 2) / 5 / 5),
            # each confidence alone in its bin, but .9 and .95 are not in one either
            ("ece_confidence", (0.05 + 0.1 + 0.8 + 0.7 + 0.4) / 5),
        ],
    )
    def test_figure(self, figure, by_hand):
        assert plain(P, ERROR)[figure] == pytest.approx(by_hand, abs=1e-12)


class TestAgainstOthers:
    @pytest.mark.parametrize(
        "figure",
        [
            *("accuracy", "majority_accuracy", "mcc", "f1_unreliable", "auroc"),
            *("average_precision", "aurc", "ece", "brier", "spearman"),
        ],
    )
    def test_a_figure_of_the_card_is_the_same(self, noisy, figure):
        card = metrics.evaluate(*noisy, 1.0)[figure]
        assert plain(*noisy)[figure] == pytest.approx(card, abs=1e-12)

    def test_average_precision_of_the_reliable(self, noisy):
        p, error = noisy
        expected = reference.average_precision_score(np.abs(error) <= 1, -p)
        assert plain(p, error)["average_precision_reliable"] == pytest.approx(expected)

    def test_a_weight_is_a_number_of_copies(self, noisy):
        p, error = noisy
        counts = np.random.default_rng(1).integers(0, 4, len(p))
        weighted = evidence.figures(answers(p, error), counts[None, :].astype(float))
        copied = plain(np.repeat(p, counts), np.repeat(error, counts))
        assert {k: v[0] for k, v in weighted.items()} == pytest.approx(copied, abs=1e-12)

    def test_the_order_of_the_rows_does_not_matter(self, noisy):
        p, error = noisy
        order = np.random.default_rng(2).permutation(len(p))
        assert plain(p[order], error[order]) == pytest.approx(plain(p, error), abs=1e-12)

    def test_the_generalised_risk_of_a_perfect_order_is_that_of_errors_last(self):
        p = np.linspace(0.1, 0.9, 10)
        error = np.where(np.arange(10) < 8, 0.0, 2.0)
        assert plain(p, error)["augrc"] == pytest.approx((1 + 2) / 10 / 10)


class TestScore:
    ORDER = ("auroc", "average_precision", "average_precision_reliable", "aurc", "augrc")

    def test_the_order_is_the_score_s_and_the_rest_the_probability_s(self, noisy):
        """A calibration that says the same of all takes nothing from the order."""
        p, error = noisy
        flat = plain(np.full(60, 0.4), error, score=10 * p - 3)
        assert {name: flat[name] for name in (*self.ORDER, "spearman")} == pytest.approx(
            {name: plain(p, error)[name] for name in (*self.ORDER, "spearman")}
        )
        assert flat["accuracy"] == (np.abs(error) <= 1).mean()


class TestOneClass:
    def test_what_needs_two_is_not_a_number(self):
        found = plain(P, np.zeros(5))
        missing = {name for name, value in found.items() if not np.isfinite(value)}
        assert missing == {*("auroc", "mcc", "average_precision", "average_precision_reliable")}

    def test_a_constant_answer_ranks_nothing(self):
        found = plain(np.full(5, 0.3), ERROR)
        assert found["spearman"] == 0.0
        assert found["auroc"] == 0.5
        assert found["average_precision"] == pytest.approx(2 / 5)


class TestBootstrap:
    def test_the_first_value_is_the_figure_itself(self, noisy):
        p, error = noisy
        smiles = np.array([f"m{index // 3}" for index in range(60)])
        boot = evidence.Bootstrap(smiles, 10, 1)
        found = boot.figures(answers(p, error, smiles))
        own = {name: values[0] for name, values in found.items()}
        assert own == pytest.approx(plain(p, error))
        assert {len(values) for values in found.values()} == {11}

    def test_conformers_of_a_molecule_are_drawn_together(self):
        """With all conformers in one molecule every resample is the set itself."""
        smiles = np.full(5, "CCO")
        found = evidence.Bootstrap(smiles, 20, 1).figures(answers(P, ERROR, smiles))
        assert np.ptp(found["brier"]) == pytest.approx(0.0)

    def test_an_interval_of_a_mean_is_its_standard_error(self):
        """Brier's score of 400 molecules: a mean of independent values."""
        random = np.random.default_rng(0)
        p, error = random.uniform(size=400), random.normal(size=400)
        smiles = np.array([f"m{index}" for index in range(400)])
        boot = evidence.Bootstrap(smiles, 2000, 1)
        found = evidence.summary([boot.figures(answers(p, error, smiles, 0.7))["brier"]])
        values = (p - (np.abs(error) > 0.7)) ** 2
        margin = 1.96 * values.std() / 20
        assert found["value"] == pytest.approx(values.mean())
        assert found["low"] == pytest.approx(values.mean() - margin, abs=0.1 * margin)
        assert found["high"] == pytest.approx(values.mean() + margin, abs=0.1 * margin)

    def test_a_seed_that_tested_only_some_molecules_uses_the_same_draws(self):
        smiles = np.array([f"m{index}" for index in range(5)])
        boot = evidence.Bootstrap(smiles, 50, 1)
        whole = boot.figures(answers(P, ERROR, smiles))["brier"]
        for index in range(5):  # the draws are those of a set that has this molecule alone
            kept = slice(index, index + 1)
            alone = answers(P[kept], ERROR[kept], smiles[kept])
            value = boot.figures(alone)["brier"]
            assert np.nanmax(value) == value[0]
        assert len(whole) == 51

    def test_a_peer_does_not_differ_from_itself(self, noisy):
        p, error = noisy
        smiles = np.array([f"m{index}" for index in range(60)])
        boot = evidence.Bootstrap(smiles, 50, 1)
        found = boot.figures(answers(p, error, smiles))["auroc"]
        same = evidence.difference({1: found}, {1: found})
        assert same == {"value": 0.0, "low": 0.0, "high": 0.0}

    def test_a_difference_is_over_the_seeds_that_both_have(self):
        one = {1: np.array([0.8, 0.7, 0.9]), 2: np.array([0.1, 0.1, 0.1])}
        other = {1: np.array([0.6, 0.5, 0.7]), 3: np.zeros(3)}
        assert evidence.difference(one, other)["value"] == pytest.approx(0.2)
        assert evidence.difference(one, {3: np.zeros(3)}) is None

    def test_the_seeds_of_a_figure_are_averaged(self):
        found = evidence.summary([np.array([0.4, 0.2, 0.4]), np.array([0.6, 0.4, 0.8])])
        assert found["value"] == pytest.approx(0.5)
        assert (found["low"], found["high"]) == pytest.approx((0.3075, 0.5925))

    def test_a_resample_without_a_class_is_left_out(self):
        found = evidence.summary([np.array([0.5, np.nan, 0.4, 0.6])])
        assert (found["low"], found["high"]) == pytest.approx((0.405, 0.595))

    def test_a_figure_that_is_not_defined_stays_open(self):
        nothing = evidence.summary([np.full(3, np.nan)])
        assert nothing == {"value": None, "low": None, "high": None}
