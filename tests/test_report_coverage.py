"""The coverage curve: how many are accepted at a confidence, and what is expected of them."""

import numpy as np
import pytest
from report_library import library

from probe.policy import Policy
from probe.report import coverage, screening


def test_curve_counts_what_reaches_the_cutoff():
    found = coverage.curve(np.array([0.1, 0.3, 0.8]), n_conformers=4)
    steps = [0, 20, 21, 70, 71, 90, 91]
    assert found.n_accepted[steps].tolist() == [3, 3, 2, 2, 1, 1, 0]
    assert found.fraction[0] == pytest.approx(0.75)


def test_expected_fraction_is_the_mean_of_the_accepted():
    found = coverage.curve(np.array([0.1, 0.3, 0.8]), n_conformers=3)
    assert found.expected[0] == pytest.approx(0.4)
    assert found.expected[50] == pytest.approx(0.2)
    assert np.isnan(found.expected[100])


def test_curve_at_the_cutoff_is_the_accept_list(tmp_path):
    loaded = screening.load(library().write(tmp_path))
    found = coverage.curve(coverage.by_confidence(loaded), loaded.listed.num_rows)
    assert found.n_accepted[60] == loaded.summary["n_accept"]
    assert found.expected[60] == pytest.approx(loaded.p[loaded.accepted].mean())


def test_other_rules_than_confidence_hold_at_any_cutoff(tmp_path):
    policy = Policy(beyond_size="recompute")
    loaded = screening.load(library().write(tmp_path, policy=policy))
    reasons = loaded.summary["reasons"]
    assert {"backbone", "element", "size"} <= set(reasons)
    found = coverage.curve(coverage.by_confidence(loaded), loaded.listed.num_rows)
    by_rule = sum(reasons[kind] for kind in ("backbone", "element", "size"))
    assert found.n_accepted[0] == loaded.listed.num_rows - by_rule
