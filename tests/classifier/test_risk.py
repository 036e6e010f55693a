"""The promise: exact where it can be computed by hand, kept over many draws, worth its price."""

from math import comb

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit
from scipy.stats import binom

from probe import schemas, tables
from probe.classifier import card, risk
from probe.classifier.exceedance import exceedance
from probe.classifier.risk import Promise, one_a_molecule, promise


def lower_tail(k, n, share):
    """P(at most k of n) by hand."""
    return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


@pytest.fixture(scope="module")
def shipped_held_out():
    """One conformer a molecule of what no fitting of the shipped checkpoint saw."""
    path = card.resolve("aimnet2-b973c") / card.HELD_OUT
    return one_a_molecule(tables.frame(path, schemas.HELD_OUT))


def ladder(n):
    """p_unreliable of n molecules, each with a cutoff of the grid to itself."""
    return expit((np.arange(n) - n / 2) / 10 + 0.02)


def marked(n, *places):
    """Which of n molecules are unreliable."""
    found = np.zeros(n, dtype=bool)
    found[list(places)] = True
    return found


class TestByHand:
    def test_without_an_unreliable_one_it_takes_22_for_one_in_ten(self):
        """0.9^22 is 0.098, 0.9^21 is 0.109."""
        enough = promise(ladder(22), marked(22), 0.1, 0.9)
        assert (enough.n_accepted, enough.n_unreliable, enough.n_needed) == (22, 0, 22)
        assert enough.bound == pytest.approx(1 - 0.1 ** (1 / 22))
        few = promise(ladder(21), marked(21), 0.1, 0.9)
        assert (few.cutoff, few.n_accepted, few.n_needed) == (None, 0, 22)

    def test_it_stops_at_the_first_cutoff_that_fails(self):
        """With two unreliable of 52 the tail is 0.0983; the third and every later one is too many
        until 78 are accepted, where the tail would be small enough again, and is not asked."""
        assert lower_tail(2, 52, 0.1) <= 0.1 < lower_tail(3, 53, 0.1)
        assert lower_tail(4, 78, 0.1) <= 0.1
        unreliable = marked(120, 3, 40, 53, 54)
        found = promise(ladder(120), unreliable, 0.1, 0.9)
        assert (found.n_accepted, found.n_unreliable) == (53, 2)
        assert found.cutoff == pytest.approx(ladder(120)[52], rel=0.1)
        assert ladder(120)[52] < found.cutoff < ladder(120)[53]

    def test_the_bound_is_where_the_tail_is_what_is_left_of_the_confidence(self):
        found = promise(ladder(120), marked(120, 3, 40, 53, 54), 0.1, 0.9)
        assert lower_tail(2, 53, found.bound) == pytest.approx(0.1)
        assert found.bound <= 0.1

    def test_what_is_less_sure_than_all_that_was_tested_is_not_accepted(self):
        p = ladder(100)
        assert promise(p, marked(100), 0.1, 0.9).cutoff == p.max()

    @pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
    def test_equal_probabilities_are_accepted_all_or_none(self, p):
        """One test, and its line is exactly where the binomial puts it."""
        most = max(k for k in range(100) if lower_tail(k, 100, 0.1) <= 0.1)
        same = np.full(100, p)
        found = promise(same, marked(100, *range(most)), 0.1, 0.9)
        assert (found.cutoff, found.n_accepted, found.n_unreliable) == (p, 100, most)
        assert promise(same, marked(100, *range(most + 1)), 0.1, 0.9).cutoff is None


class TestNothingToPromise:
    @pytest.mark.parametrize("n", [0, 1, 21])
    def test_a_small_set_is_called_small_with_what_it_takes(self, n):
        found = promise(ladder(n), marked(n), 0.1, 0.9)
        assert (found.cutoff, found.bound) == (None, None)
        assert found.why_not == (
            f"the calibration set is too small: it holds {n} molecules that may be accepted, and "
            "even without one unreliable it takes 22"
        )

    def test_a_high_risk_is_called_high(self):
        found = promise(ladder(200), marked(200, *range(0, 200, 3)), 0.1, 0.9)
        assert found.cutoff is None
        assert found.why_not == (
            "the risk is too high: of the 52 calibration molecules with the lowest p_unreliable, "
            "18 are unreliable; even without one it takes 22"
        )
        assert found.bound > 0.1

    def test_where_something_is_promised_nothing_is_in_the_way(self):
        assert promise(ladder(30), marked(30), 0.1, 0.9).why_not == ""


class Population:
    """Molecules with a known probability of being unreliable, and a score that tells of it."""

    def __init__(self, a, b, score):
        self.a, self.b, self.score = a, b, score
        chances = np.sort(np.random.default_rng(0).beta(a, b, 200_000))
        self.p = score(chances)
        self.risk = np.cumsum(chances) / np.arange(1, len(chances) + 1)

    def accepted(self, found: Promise):
        """Share of the population that the cutoff accepts, and its true risk."""
        if found.cutoff is None:
            return 0.0, 0.0
        n = int(np.searchsorted(self.p, found.cutoff, side="right"))
        return n / len(self.p), float(self.risk[n - 1]) if n else 0.0

    def most(self, max_unreliable):
        """The share that a cutoff could accept at no more than that risk, were it known."""
        return float((self.risk <= max_unreliable).mean())

    def draws(self, n, m, max_unreliable, confidence):
        """Accepted share and true risk [m, 2] over calibration sets of ``n`` molecules."""
        random = np.random.default_rng(1)
        outcomes = []
        for _ in range(m):
            chances = random.beta(self.a, self.b, n)
            unreliable = random.random(n) < chances
            found = promise(self.score(chances), unreliable, max_unreliable, confidence)
            outcomes.append(self.accepted(found))
        return np.array(outcomes)


def calibrated(chances):
    return chances


def overconfident(chances):
    return expit(1.6 * logit(np.clip(chances, 1e-9, 1 - 1e-9)))


def underconfident(chances):
    return expit(0.7 * logit(np.clip(chances, 1e-9, 1 - 1e-9)) + 0.3)


def coarse(chances):
    return np.round(20 * chances) / 20


class TestOverManyDraws:
    @pytest.mark.parametrize(
        ("population", "n", "max_unreliable", "confidence"),
        [
            (Population(0.37, 0.37, calibrated), 600, 0.1, 0.9),
            (Population(0.37, 0.37, overconfident), 300, 0.2, 0.95),
            (Population(0.37, 0.37, underconfident), 600, 0.2, 0.9),
            (Population(0.5, 3.6, calibrated), 1500, 0.1, 0.9),
            (Population(0.5, 3.6, coarse), 300, 0.1, 0.8),
            (Population(1.2, 1.2, calibrated), 600, 0.2, 0.9),
        ],
    )
    def test_the_risk_is_above_what_was_promised_no_more_often_than_allowed(
        self, population, n, max_unreliable, confidence
    ):
        m = 600
        true_risk = population.draws(n, m, max_unreliable, confidence)[:, 1]
        allowed = binom.ppf(0.999, m, 1 - confidence)
        assert (true_risk > max_unreliable).sum() <= allowed

    @pytest.mark.parametrize(
        ("population", "n", "max_unreliable", "share"),
        [
            (Population(0.37, 0.37, calibrated), 600, 0.2, 0.8),
            (Population(0.37, 0.37, overconfident), 1500, 0.1, 0.8),
            (Population(0.5, 3.6, calibrated), 1500, 0.1, 0.85),
        ],
    )
    def test_most_of_what_could_be_accepted_is(self, population, n, max_unreliable, share):
        accepted = population.draws(n, 60, max_unreliable, 0.9)[:, 0]
        assert accepted.mean() >= share * population.most(max_unreliable)

    def test_it_is_not_cautious_where_the_risk_is_just_too_high(self):
        """All alike and a risk a trifle above: it errs as often as the binomial says, near 0.1."""
        random = np.random.default_rng(2)
        drawn = random.binomial(400, 0.1001, size=400)
        kept = [promise(np.full(400, 0.2), np.arange(400) < k, 0.1, 0.9).cutoff for k in drawn]
        rate = np.mean([cutoff is not None for cutoff in kept])
        assert 0.05 < rate < 0.15

    def test_a_score_that_tells_nothing_is_not_trusted(self):
        random = np.random.default_rng(3)
        kept = [
            promise(random.random(500), random.random(500) < 0.3, 0.1, 0.9).cutoff
            for _ in range(200)
        ]
        assert sum(cutoff is not None for cutoff in kept) == 0


class TestOneAMolecule:
    FRAME = pl.DataFrame(
        {
            "conformer_id": [f"id{index}" for index in range(300)],
            "smiles": [f"C{index // 3}" for index in range(300)],
        }
    )

    def test_each_molecule_is_there_once(self):
        drawn = one_a_molecule(self.FRAME)
        assert sorted(drawn["smiles"]) == sorted(set(self.FRAME["smiles"]))
        assert drawn.columns == self.FRAME.columns

    def test_the_order_of_the_rows_does_not_matter(self):
        again = one_a_molecule(self.FRAME.sample(fraction=1.0, shuffle=True, seed=4))
        assert one_a_molecule(self.FRAME).equals(again)

    def test_another_seed_draws_others_and_each_conformer_has_its_turn(self):
        places = [
            int(name[2:]) % 3
            for seed in range(3)
            for name in one_a_molecule(self.FRAME, seed)["conformer_id"]
        ]
        assert all(70 < places.count(place) < 130 for place in range(3))
        assert not one_a_molecule(self.FRAME, 1).equals(one_a_molecule(self.FRAME, 2))

    def test_of_none_there_is_none(self):
        assert one_a_molecule(self.FRAME.head(0)).height == 0


def test_the_cutoffs_were_fixed_in_advance_from_strict_to_lax():
    assert (np.diff(risk.GRID) > 0).all()
    assert 0.5 in risk.GRID
    assert risk.GRID[-1] == 1


class TestRehearsal:
    def test_the_truth_of_a_promise_is_that_of_the_molecules_drawn_from(self):
        """Draws of 60 reliable molecules promise all of them; of 60 unreliable ones nothing."""
        p = np.linspace(0.1, 0.9, 60)
        sure = risk.rehearse(p, marked(60), 0.1, 0.9, draws=20)
        assert (sure.made, sure.broken) == (1.0, 0.0)
        assert sure.accepted > 0.9
        wrong = risk.rehearse(p, ~marked(60), 0.1, 0.9, draws=20)
        assert (wrong.made, wrong.broken, wrong.accepted) == (0.0, 0.0, 0.0)

    def test_a_promise_that_a_lucky_draw_makes_is_seen_to_be_broken(self):
        """One molecule in eight is unreliable, whatever p says: every promise of 10 % is wrong."""
        found = risk.rehearse(np.full(80, 0.2), marked(80, *range(0, 80, 8)), 0.1, 0.9)
        assert found.made == found.broken > 0

    @pytest.mark.parametrize("max_unreliable", [0.05, 0.1, 0.15, 0.2, 0.3])
    @pytest.mark.parametrize("tolerance", [0.4, 0.7, 1.0, 1.5])
    def test_on_real_errors_the_promise_is_broken_no_more_often_than_stated(
        self, shipped_held_out, tolerance, max_unreliable
    ):
        """The shipped checkpoint's held-out conformers, a thousand calibration sets of each."""
        location, scale = (
            np.array(shipped_held_out[name].to_list()) for name in ("location_kcal", "scale_kcal")
        )
        p = exceedance(location, scale, tolerance)
        unreliable = (shipped_held_out["error_kcal"].abs() > tolerance).to_numpy()
        found = risk.rehearse(p, unreliable, max_unreliable, 0.9)
        noise = 3 * np.sqrt(0.1 * 0.9 / 1000)
        assert found.broken <= 0.1 + noise

    def test_something_real_can_be_promised(self, shipped_held_out):
        """At most one energy in five beyond 1 kcal/mol: a good part of the set is accepted."""
        looser = risk.rehearsals(shipped_held_out)[-1]
        assert looser["max_unreliable"] == 0.2
        assert looser["made"] > 0.5
        assert looser["accepted"] > 0.3

    def test_two_classes_know_no_other_tolerance(self, shipped_held_out):
        nothing = pl.lit(None, pl.List(pl.Float32))
        classes = shipped_held_out.with_columns(location_kcal=nothing, scale_kcal=nothing)
        assert risk.rehearsals(classes) == []
