"""The paired bootstrap and its verdict, worked out on paper."""

from dataclasses import replace

import numpy as np
import pytest

from probe.comparison import evidence
from probe.recalibration import promotion

ERROR = np.array([2.0, 0.0])
"""With the boundary at 1 kcal/mol the first of two molecules is unreliable."""


def answers(*p, error=ERROR, smiles=("C", "N")):
    p = np.array(p)
    return evidence.Tested(p, p, np.asarray(error), np.array(smiles), 1.0)


def gain(value, low, high):
    return {"value": value, "low": low, "high": high}


class TestGains:
    def test_of_two_molecules_by_hand(self):
        """Squared errors 0.25 and 0.25 become 0.01 and 0.36.

        A resample is one molecule twice (a quarter each) or both (a half), so the gain in the
        Brier score is 0.24, -0.11 or their mean 0.065, and the interval reaches both ends.
        """
        _, gained = promotion.gains(answers(0.9, 0.6), answers(0.5, 0.5))
        assert gained["brier"] == pytest.approx(gain(0.065, -0.11, 0.24))

    def test_of_order(self):
        """The pair tied before (0.5), right now (1); a resample without both classes has none."""
        figures, gained = promotion.gains(answers(0.9, 0.6), answers(0.5, 0.5))
        assert gained["auroc"] == pytest.approx(gain(0.5, 0.5, 0.5))
        assert figures["auroc"]["in_use"]["value"] == 0.5
        assert figures["auroc"]["candidate"]["value"] == 1.0

    def test_are_paired(self):
        """What both get equally wrong is no difference, however wide the interval of each is."""
        random = np.random.default_rng(3)
        error, old = random.normal(0, 1.5, 60), random.uniform(0.1, 0.9, 60)
        smiles = [f"m{number}" for number in range(60)]
        one = answers(*old, error=error, smiles=smiles)
        figures, gained = promotion.gains(one, one)
        assert figures["brier"]["in_use"]["high"] - figures["brier"]["in_use"]["low"] > 0.05
        assert gained == {"auroc": gain(0, 0, 0), "brier": gain(0, 0, 0)}

    def test_draw_molecules_not_conformers(self):
        """Two conformers of one molecule are drawn together: there is nothing to vary."""
        new, old = answers(0.9, 0.6, smiles=("C", "C")), answers(0.5, 0.5, smiles=("C", "C"))
        assert promotion.gains(new, old)[1]["brier"] == pytest.approx(gain(0.065, 0.065, 0.065))


class TestVerdict:
    @pytest.mark.parametrize(
        ("auroc", "brier", "verdict"),
        [
            (gain(0.02, 0.01, 0.03), gain(0.001, -0.01, 0.01), "better"),
            (gain(0.0, -0.01, 0.01), gain(0.0, -0.01, 0.01), "undecided"),
            (gain(-0.02, -0.03, -0.01), gain(0.0, -0.01, 0.01), "worse"),
            (gain(0.02, 0.01, 0.03), gain(-0.02, -0.03, -0.01), "worse"),
            (gain(-0.02, -0.04, 0.0), gain(0.0, 0.0, 0.0), "undecided"),
            (gain(None, None, None), gain(0.02, 0.01, 0.03), "untold"),
        ],
    )
    def test_by_the_ends_of_the_intervals(self, auroc, brier, verdict):
        assert promotion.verdict({"auroc": auroc, "brier": brier}) == verdict

    def test_of_one_class_only_nothing_is_told(self):
        one = answers(0.5, 0.4, error=[0.0, 0.1])
        assert promotion.verdict(promotion.gains(one, one)[1]) == "untold"

    def test_a_far_better_one_is_better_and_the_reverse_is_worse(self):
        error = np.tile([2.0, 0.0], 20)
        smiles = [f"m{number}" for number in range(40)]
        good = answers(*np.tile([0.8, 0.2], 20), error=error, smiles=smiles)
        bad = replace(good, score=1 - good.score, p_unreliable=1 - good.p_unreliable)
        assert promotion.verdict(promotion.gains(good, bad)[1]) == "better"
        assert promotion.verdict(promotion.gains(bad, good)[1]) == "worse"
