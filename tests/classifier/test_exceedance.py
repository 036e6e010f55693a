"""P(|error| > t): what a mixture of logistic distributions puts beyond a tolerance."""

import numpy as np
import pytest
from scipy import stats

from probe.classifier.exceedance import (
    SMALLEST,
    TOLERANCES,
    exceedance,
    fit_scale_factor,
    fit_temperature,
    log_loss,
)

TOLERATED = np.concatenate([np.linspace(0, 20, 81), [1e2, 1e4, 1e6]])


def mixtures(n=400, k=5, seed=0):
    """Locations of either sign and scales over ten orders of magnitude, [n, k]."""
    rng = np.random.default_rng(seed)
    location = rng.normal(size=(n, k)) * 10.0 ** rng.uniform(-4, 4, (n, 1))
    return location, 10.0 ** rng.uniform(-5, 5, (n, k))


def at_every_tolerance(location, scale):
    return np.stack([exceedance(location, scale, t) for t in TOLERATED], axis=1)


class TestExceedance:
    @pytest.mark.parametrize(
        ("location", "scale", "tolerance", "p"),
        [
            (0.0, 1.0, np.log(3), 0.5),  # a quarter beyond either side
            (0.0, 2.0, 2 * np.log(3), 0.5),
            (1.0, 1.0, 1.0, 0.5 + 1 / (1 + np.exp(2))),
            (-1.0, 1.0, 1.0, 0.5 + 1 / (1 + np.exp(2))),
            (5.0, 0.01, 1.0, 1.0),
            (0.5, 0.01, 1.0, 0.0),
            (1.0, 1e-6, 1.0, 0.5),
        ],
    )
    def test_by_hand(self, location, scale, tolerance, p):
        assert exceedance([[location]], [[scale]], tolerance) == pytest.approx([p], abs=1e-12)

    def test_it_is_what_a_logistic_distribution_has_in_its_tails(self):
        location, scale = mixtures(k=1)
        for tolerance in (0.1, 1.0, 30.0):
            tails = stats.logistic.sf(tolerance, location, scale) + stats.logistic.cdf(
                -tolerance, location, scale
            )
            found = exceedance(location, scale, tolerance)
            np.testing.assert_allclose(found, tails[:, 0], rtol=1e-12, atol=1e-300)

    def test_a_mixture_is_the_mean_of_its_parts(self):
        location, scale = mixtures(k=3)
        parts = [exceedance(location[:, [k]], scale[:, [k]], 0.7) for k in range(3)]
        np.testing.assert_allclose(exceedance(location, scale, 0.7), np.mean(parts, axis=0))

    def test_it_falls_as_the_tolerance_grows_whatever_the_numbers_are(self):
        p = at_every_tolerance(*mixtures())
        assert (np.diff(p, axis=1) <= 1e-15).all()
        assert ((p >= 0) & (p <= 1 + 1e-15)).all()

    def test_it_falls_on_a_fine_grid_of_tolerances_too(self):
        location, scale = mixtures(n=20)
        for tolerance in (0.01, 1.0, 50.0):
            near = tolerance * (1 + np.arange(50) * 1e-9)
            p = np.stack([exceedance(location, scale, t) for t in near], axis=1)
            assert (np.diff(p, axis=1) <= 1e-15).all()

    def test_beyond_nothing_lies_everything(self):
        np.testing.assert_allclose(exceedance(*mixtures(), 0.0), 1.0, rtol=0, atol=1e-15)

    def test_beyond_all_lies_nothing(self):
        location, scale = mixtures()
        assert exceedance(location, scale, 1e12).max() < 1e-12

    def test_the_sign_of_the_location_does_not_matter(self):
        location, scale = mixtures()
        np.testing.assert_array_equal(
            exceedance(location, scale, 1.3), exceedance(-location, scale, 1.3)
        )

    def test_only_the_ratio_of_the_units_matters(self):
        location, scale = mixtures()
        scaled = exceedance(8 * location, 8 * scale, 8 * 1.3)
        np.testing.assert_array_equal(scaled, exceedance(location, scale, 1.3))

    def test_lists_of_a_table_are_taken_as_they_are(self):
        assert exceedance([0.0, 2.0], [1.0, 1.0], 1.0) == pytest.approx(
            np.mean([exceedance([0.0], [1.0], 1.0), exceedance([2.0], [1.0], 1.0)])
        )


class TestLogLoss:
    def test_by_hand(self):
        p, happened = np.array([[0.25, 0.5], [0.9, 1.0]]), np.array([[True, False], [False, True]])
        by_hand = -(np.log(0.25) + np.log(0.5) + np.log(0.1) + np.log(1)) / 4
        assert log_loss(p, happened) == pytest.approx(by_hand)

    def test_what_could_not_be_costs_much_and_not_everything(self):
        wrong = log_loss(np.array([0.0, 1.0]), np.array([True, False]))
        assert wrong == pytest.approx(-np.log(SMALLEST))


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_a_known_factor_on_the_scale_is_found(factor):
    """Errors drawn from the distribution itself; the scales said are ``factor`` too small."""
    rng = np.random.default_rng(2)
    location, scale = rng.normal(0, 1, 4000), np.exp(rng.normal(-0.5, 0.5, 4000))
    error = rng.logistic(location, scale)
    assert fit_scale_factor(location[:, None], (scale / factor)[:, None], error) == pytest.approx(
        factor, rel=0.05
    )


def test_the_factor_is_the_one_with_the_least_loss_over_all_tolerances():
    rng = np.random.default_rng(3)
    location, scale, error = rng.normal(size=(300, 1)), np.ones((300, 1)), rng.normal(size=300)
    beyond = np.abs(error)[:, None] > np.array(TOLERANCES)

    def loss(factor):
        p = [exceedance(location, factor * scale, tolerance) for tolerance in TOLERANCES]
        return log_loss(np.stack(p, axis=1), beyond)

    best = fit_scale_factor(location, scale, error)
    assert loss(best) <= min(loss(factor * best) for factor in (0.8, 0.95, 1.05, 1.25)) + 1e-9


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, 20_000)
    unreliable = rng.random(20_000) < 1 / (1 + np.exp(-true))
    assert fit_temperature(temperature * true, unreliable) == pytest.approx(temperature, rel=0.05)


def test_a_network_that_is_far_too_sure_is_cooled():
    """Logits of 120 that are wrong one time in ten: at no small temperature is there a slope."""
    unreliable = np.arange(1000) % 2 == 0
    logits = np.where(unreliable, 120.0, -120.0)
    logits[::10] *= -1
    assert fit_temperature(logits, unreliable) > 15
