"""PROBE as a peer: which part it learns from, how tolerances differ, what is said together."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from peer_cases import Contract, made_up, part, sample

from probe.classifier.training import PAPER, Recipe
from probe.comparison.peers import PEERS, NotApplicable, networks, tuning
from probe.comparison.peers.networks import NETWORKS, Network, Together
from probe.comparison.peers.spread import Spread

OURS = Network("ours", replace(Recipe(), members=2, max_epochs=2))
PAPERS = Network("paper's", replace(PAPER, max_epochs=2))


@pytest.fixture(scope="module")
def parts():
    return made_up(80, 1), made_up(40, 2), made_up(30, 3)


@dataclass(frozen=True)
class Says:
    """Takes from the first atom's feature ``column`` what it says, whatever it was fitted to."""

    column: int
    name: str = "says"
    dear: bool = False

    def fit(self, fit, tune, tolerances, seed):  # noqa: ARG002
        def said(some):
            return np.array([s.embedding[0, self.column] for s in some.samples], dtype=float)

        return tuning.same_for_all(said, tolerances)


@dataclass(frozen=True)
class Declines:
    """Has no answer for any set."""

    name: str = "declines"
    dear: bool = False

    def fit(self, fit, tune, tolerances, seed):  # noqa: ARG002
        raise NotApplicable("not for this set")


def heard(n, seed):
    """The first feature goes with the size of the error, the second with nothing."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, 2))
    return part([sample(row) for row in values], random.normal(size=n) * np.exp(values[:, 0]))


@pytest.mark.parametrize("peer", [PAPERS, OURS, Together(base=OURS)], ids=lambda p: p.name)
class TestEveryNetwork(Contract):
    """With recipes of two epochs."""


@pytest.fixture
def calls(monkeypatch):
    """The arguments of every fit of a network."""
    made = []
    fit = networks.fit

    def recording(task, fitting, checking, *, recipe, seed):
        made.append((task, fitting, checking, seed))
        return fit(task, fitting, checking, recipe=recipe, seed=seed)

    monkeypatch.setattr(networks, "fit", recording)
    return made


class TestNetwork:
    def test_two_classes_are_fitted_anew_for_each_tolerance(self, parts):
        fit, tune, test = parts
        both = PAPERS.fit(fit, tune, (0.5, 1.5), 1)(test)
        each = [PAPERS.fit(fit, tune, (tolerance,), 1)(test)[:, 0] for tolerance in (0.5, 1.5)]
        assert np.array_equal(both, np.column_stack(each))
        assert not np.array_equal(*each)

    def test_a_distribution_answers_every_tolerance_from_one_fit(self, parts, calls):
        fit, tune, test = parts
        both = OURS.fit(fit, tune, (0.5, 1.5), 1)(test)
        assert len(calls) == OURS.recipe.members
        assert np.array_equal(both[:, [1]], OURS.fit(fit, tune, (1.5,), 1)(test))

    def test_a_distribution_is_less_likely_beyond_a_larger_tolerance(self, parts):
        fit, tune, test = parts
        score = OURS.fit(fit, tune, (0.1, 0.2, 0.5, 1.0), 1)(test)
        assert (np.diff(score, axis=1) < 0).all()

    def test_the_unit_of_the_errors_does_not_matter(self, parts):
        """Errors and tolerances ten times as large are the same task."""
        fit, tune, test = parts
        larger = [replace(some, error_kcal=10 * some.error_kcal) for some in (fit, tune)]
        assert OURS.fit(*larger, (5.0, 15.0), 1)(test) == pytest.approx(
            OURS.fit(fit, tune, (0.5, 1.5), 1)(test), rel=1e-3, abs=1e-3
        )

    @pytest.mark.parametrize("head", ["distribution", "classes"])
    def test_what_is_less_reliable_has_the_larger_score(self, head):
        recipe = replace(Recipe(), head=head, members=1, max_epochs=8)
        fit, tune, test = (heard(n, seed) for seed, n in enumerate((300, 60, 200)))
        score = Network("some", recipe).fit(fit, tune, (1.0,), 1)(test)[:, 0]
        assert tuning.ranking(score, test, (1.0,)) > 0.75

    def test_it_learns_from_one_part_and_stops_by_the_other(self, parts, calls):
        fit, tune, _ = parts
        OURS.fit(fit, tune, (1.0,), 1)
        task, fitting, checking, _ = calls[0]
        boundary = np.median(np.abs(fit.error_kcal))
        for rows, some in ((fitting, fit), (checking, tune)):
            assert task.smiles[rows].tolist() == some.smiles.tolist()
            assert task.error[rows].tolist() == pytest.approx(
                np.clip(some.error_kcal / boundary, -12, 12), rel=1e-5
            )

    def test_errors_of_siblings_are_in_the_same_unit(self, parts, calls):
        fit, tune, _ = (replace(some, siblings_kcal=3 * some.error_kcal[:, None]) for some in parts)
        OURS.fit(fit, tune, (1.0,), 1)
        PAPERS.fit(fit, tune, (1.0,), 1)
        task, plain = calls[0][0], calls[-1][0]
        assert task.siblings[:, 0] == pytest.approx((3 * task.error).clip(-12, 12), rel=1e-4)
        assert plain.siblings is None

    def test_inputs_are_standardised_by_what_it_learns_from(self, parts, calls):
        fit, tune, _ = parts
        OURS.fit(fit, tune, (1.0,), 1)
        task, fitting, checking, _ = calls[0]
        mean, other = (
            task.inputs.embedding[rows][~task.inputs.padding[rows]].mean(dim=0)
            for rows in (fitting, checking)
        )
        assert mean == pytest.approx(torch.zeros(6), abs=1e-5)
        assert other != pytest.approx(torch.zeros(6), abs=1e-2)

    def test_the_published_recipe_leaves_inputs_as_they_are(self, parts, calls):
        fit, tune, _ = parts
        PAPERS.fit(fit, tune, (1.0,), 1)
        first = fit.samples[0].embedding
        assert np.array_equal(calls[0][0].inputs.embedding[0, : len(first)], first)

    def test_no_two_members_share_a_seed(self, parts, calls):
        fit, tune, _ = parts
        for seed in (1, 2):
            OURS.fit(fit, tune, (1.0,), seed)
        assert len({seed for *_, seed in calls}) == 4

    def test_more_conformers_than_a_batch_are_answered_in_order(self, parts):
        fit, tune, test = parts
        scorer = OURS.fit(fit, tune, (1.0,), 1)
        rows = np.arange(300) % 30
        assert scorer(test.take(rows)) == pytest.approx(scorer(test)[rows], rel=1e-4, abs=1e-4)


class TestTogether:
    def test_a_peer_that_declines_is_left_out(self, parts):
        fit, tune, test = parts
        with_it, without = (
            Together(base=OURS, others=others).fit(fit, tune, (0.5, 1.5), 1)(test)
            for others in ((Declines(), Says(0)), (Says(0),))
        )
        assert np.array_equal(with_it, without)

    def test_each_counts_the_same_in_units_of_the_tune_part(self):
        """What two say of the tune part is 0 and 2, and 0 and 20: both are at one deviation."""
        tune = part([sample([0, 0]), sample([2, 20])], [0.1, 0.2])
        test = part([sample([3, 0]), sample([0, 30]), sample([1, 10])], [0.1, 0.2, 0.3])
        peer = Together(base=Says(0), others=(Says(1),))
        score = peer.fit(test, tune, (1.0,), 1)(test)[:, 0]
        assert score == pytest.approx([(2 - 1) / 2, (-1 + 2) / 2, 0])

    def test_without_the_other_members_the_spread_is_left_out(self, parts):
        fit, tune, test = (replace(some, members_ev=None) for some in parts)
        others = (Spread("spread", 0.0),)
        alone, together = (
            Together(base=OURS, others=o).fit(fit, tune, (1.0,), 1)(test) for o in ((), others)
        )
        assert np.allclose(together, alone)

    def test_what_others_say_counts(self):
        fit, tune, test = (heard(n, seed) for seed, n in enumerate((100, 100, 200)))
        deaf, hearing = (
            Together(base=Says(1), others=others).fit(fit, tune, (1.0,), 1)(test)[:, 0]
            for others in ((), (Says(0),))
        )
        assert tuning.ranking(deaf, test, (1.0,)) < 0.6
        assert tuning.ranking(hearing, test, (1.0,)) > 0.7

    def test_errors_have_no_way_in_but_through_the_peers(self):
        fit, tune, test = (heard(100, seed) for seed in range(3))
        peer = Together(base=Says(1), others=(Says(0),))
        score, other = (
            peer.fit(replace(fit, error_kcal=e), tune, (1.0,), 1)(test)
            for e in (fit.error_kcal, fit.error_kcal[::-1])
        )
        assert np.array_equal(score, other)

    def test_each_tolerance_is_judged_by_what_is_said_of_it(self, parts):
        """With nothing to add, the base's own log-odds on another scale, column by column."""
        fit, tune, test = parts
        said, together = (
            peer.fit(fit, tune, (0.5, 1.5), 1)(test)
            for peer in (OURS, Together(base=OURS, others=()))
        )
        agreement = np.abs(np.corrcoef(said.T, together.T))[:2, 2:]
        assert agreement.diagonal() == pytest.approx([1, 1])
        assert agreement[0, 1] < 0.999

    def test_the_seed_reaches_the_base(self, parts):
        fit, tune, test = parts
        peer = Together(base=OURS, others=())
        one, other = (peer.fit(fit, tune, (1.0,), seed)(test) for seed in (1, 2))
        assert not np.array_equal(one, other)


class TestRegistry:
    def test_the_recipes_that_are_compared(self):
        by_name = {peer.name: peer for peer in PEERS}
        assert by_name["probe-paper"].recipe == PAPER
        assert by_name["probe"].recipe == Recipe()
        assert by_name["probe-one"].recipe == replace(Recipe(), members=1)
        assert by_name["probe-wide"].recipe == replace(Recipe(), width=256, learning_rate=2e-4)
        assert by_name["probe+"].base == by_name["probe"]

    def test_all_of_them_are_dear(self):
        assert {peer.name for peer in PEERS if peer.dear} == {p.name for p in NETWORKS}
