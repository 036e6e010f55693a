"""Fitting networks: what each of them sees, when it stops, the published recipe, and losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learnable import CALIBRATING, IDENTITY, QUICK, QUICK_PAPER, WIDTH, padded, without

from probe.classifier import training
from probe.classifier.exceedance import fit_scale_factor, fit_temperature
from probe.classifier.losses import distribution_loss
from probe.classifier.network import Normalisation, Probe, Sample, parameters
from probe.classifier.training import (
    LARGEST_ERROR,
    PAPER,
    RECIPES,
    Recipe,
    Task,
    answer,
    fit,
    fit_members,
    in_units,
    sibling_errors,
    take,
    temperature,
    train,
)
from probe.errors import ProbeError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def task(data):
    """Errors of -2 to 2 boundaries, large where the first feature of the atoms is."""
    bad = np.array([sample.embedding[:, 0].mean() > 0 for sample in data.samples])
    sizes = np.where(bad, 1.5, 0.4) * np.linspace(0.7, 1.3, len(bad))
    signs = np.where(np.arange(len(bad)) % 3 == 0, -1, 1)
    inputs = Normalisation(WIDTH).fit(data.samples)(data.samples)
    return Task(inputs, data.smiles, torch.from_numpy(signs * sizes).float())


def same_networks(one, other):
    return all(
        torch.equal(a, b)
        for network, again in zip(one, other, strict=True)
        for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )


class TestMembers:
    @pytest.fixture
    def fitted(self, task, monkeypatch):
        """Five networks, and the rows that each fitted to and stopped on."""
        used = []
        fit_one = training.fit

        def recorded(task, fitting, checking, **options):
            used.append((fitting, checking))
            return fit_one(task, fitting, checking, **options)

        monkeypatch.setattr(training, "fit", recorded)
        rows = np.arange(4, len(task.smiles))
        return rows, used, fit_members(task, rows, replace(QUICK, members=5, max_epochs=1))

    def test_none_has_a_molecule_on_two_sides(self, fitted, task):
        rows, used, _ = fitted
        for fitting, checking in used:
            sides = [set(task.smiles[part]) for part in (fitting, checking)]
            assert all(sides)
            assert not sides[0] & sides[1]
            assert sorted([*fitting, *checking]) == rows.tolist()

    def test_they_stop_on_different_molecules(self, fitted):
        assert len({tuple(checking) for _, checking in fitted[1]}) == 5

    def test_they_are_different_networks(self, fitted):
        networks = fitted[2]
        assert not any(same_networks([networks[0]], [other]) for other in networks[1:])


class TestTemperature:
    ROWS = np.array([3, 5, 8, 9, 0, 1, 20, 21, 22, 23, 30])

    @pytest.fixture(params=["classes", "distribution"])
    def head(self, request):
        return request.param

    @pytest.fixture
    def networks(self, head):
        torch.manual_seed(5)
        return [Probe(WIDTH, charges=True, head=head) for _ in range(3)]

    def test_it_is_fitted_to_the_calibrating_rows(self, task, networks, head):
        found = temperature(task, networks, self.ROWS, head)
        other = task.error.clone()
        other[np.setdiff1d(np.arange(len(other)), self.ROWS)] = 7.0
        assert temperature(replace(task, error=other), networks, self.ROWS, head) == found
        moved = other.clone()
        moved[self.ROWS] = moved[self.ROWS].flip(0)
        assert temperature(replace(task, error=moved), networks, self.ROWS, head) != found

    def test_it_is_that_of_all_networks_together(self, task, networks, head):
        """A factor on every scale of the mixture; what divides the mean difference of logits."""
        each = [answer(n, task.inputs, self.ROWS).answer.double().numpy() for n in networks]
        error = task.error[self.ROWS].double().numpy()
        if head == "distribution":
            location, scale = (np.stack([one[:, i] for one in each], axis=1) for i in (0, 1))
            by_hand = fit_scale_factor(location, np.exp(scale), error)
        else:
            logits = np.mean([one[:, 1] - one[:, 0] for one in each], axis=0)
            by_hand = fit_temperature(logits, np.abs(error) > 1)
        assert temperature(task, networks, self.ROWS, head) == pytest.approx(by_hand, rel=1e-6)

    def test_nothing_else_is_learnt_from_them(self, made, recipe, checkpoint):
        """References of the calibrating molecules reach the temperature and nothing else."""
        labels, samples = made
        energies = labels.energy_ev.copy()
        calibrating = np.isin(labels.smiles, CALIBRATING)
        energies[calibrating] += np.linspace(-0.2, 0.3, calibrating.sum())
        again = train(replace(labels, energy_ev=energies), samples, IDENTITY, recipe)
        assert same_networks(again.members, checkpoint.members)
        assert again.card["temperature"] != checkpoint.card["temperature"]
        changed = ("temperature", "held_out", "importance", "promises")
        assert without(again.card, *changed) == without(checkpoint.card, *changed)


class TestPaper:
    def test_it_has_the_published_hyperparameters(self):
        recipe = RECIPES["paper"]
        assert recipe is PAPER
        assert (recipe.learning_rate, recipe.weight_decay, recipe.dropout) == (5e-5, 1e-4, 0.1)
        assert (recipe.patience, recipe.validation, recipe.boundary_percentile) == (25, 0.1, 50.0)
        assert (recipe.head, recipe.standardise, recipe.members) == ("classes", False, 1)

    def test_its_network_has_the_published_size(self):
        """At 256 features an atom, with charges."""
        rng = np.random.default_rng(0)
        samples = [
            Sample(rng.normal(size=(2, 256)), np.zeros(2), np.array([1, 1]), -30.0)
            for _ in range(4)
        ]
        task = Task(Normalisation(256)(samples), np.array(list("abcd")), torch.zeros(4))
        once = replace(PAPER, max_epochs=1)
        network, _ = fit(task, np.array([0, 1]), np.array([2, 3]), recipe=once, seed=1)
        assert parameters(network) == 567_458
        assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}

    def test_its_inputs_are_as_the_backbone_gave_them(self, made):
        checkpoint = train(*made, IDENTITY, QUICK_PAPER)
        sample = made[1][0]
        inputs = checkpoint.normalisation([sample])
        np.testing.assert_array_equal(inputs.embedding[0], sample.embedding.astype(np.float32))
        np.testing.assert_array_equal(inputs.charges[0], sample.charges)
        assert inputs.energy.item() == np.float32(sample.energy_ev)
        assert inputs.n_atoms.item() == len(sample.numbers)

    def test_it_learns_nothing_from_an_error_but_its_class(self, task):
        """Errors of other sizes and signs on the same side of the boundary: the same network."""
        other = replace(task, error=-torch.where(task.error.abs() > 1, 3 * task.error, 0.1))
        assert ((other.error.abs() > 1) == (task.error.abs() > 1)).all()
        rows = np.arange(len(task.smiles))
        one, two = (fit_members(t, rows, QUICK_PAPER) for t in (task, other))
        assert same_networks(one, two)
        assert temperature(task, one, rows, "classes") == temperature(other, two, rows, "classes")

    def test_the_default_learns_from_size_and_sign(self, task):
        rows = np.arange(len(task.smiles))
        one = fit_members(task, rows, QUICK)
        for error in (-task.error, torch.where(task.error.abs() > 1, 3 * task.error, task.error)):
            two = fit_members(replace(task, error=error), rows, QUICK)
            assert not same_networks(one, two)


class TestFit:
    def test_the_network_with_the_least_loss_on_the_checked_is_returned(self, task):
        """A longer run begins as a shorter one does, so its best is at least as good."""
        fitting, checking = np.arange(30), np.arange(30, 48)
        found = []
        for epochs in range(1, 9):
            recipe = Recipe(learning_rate=3e-3, max_epochs=epochs, patience=100)
            network, taken = fit(task, fitting, checking, recipe=recipe, seed=4)
            assert taken == epochs
            said = answer(network, task.inputs, checking).answer
            checked = distribution_loss(said, task.error[checking], take(task.inputs, checking))
            found.append(float(checked))
        assert (np.diff(found) <= 1e-6).all()
        assert (np.diff(found) == 0).any()  # an epoch that made it worse
        assert found[-1] < found[0]

    def test_it_stops_when_nothing_has_improved_for_as_long_as_its_patience(self, task):
        recipe = Recipe(learning_rate=0.0, max_epochs=50, patience=4)
        _, epochs = fit(task, np.arange(30), np.arange(30, 48), recipe=recipe, seed=4)
        assert epochs == 5

    def test_nothing_but_the_fitted_and_the_checked_is_looked_at(self, task):
        fitting, checking = np.arange(20), np.arange(20, 40)
        error = task.error.clone()
        error[40:] = torch.nan
        blind = Task(
            task.inputs._replace(embedding=task.inputs.embedding.clone()), task.smiles, error
        )
        blind.inputs.embedding[40:] = torch.nan
        one, _ = fit(task, fitting, checking, recipe=QUICK, seed=1)
        other, _ = fit(blind, fitting, checking, recipe=QUICK, seed=1)
        assert same_networks([one], [other])


class TestSiblings:
    """Errors of other networks of the backbone's ensemble."""

    ROWS = np.arange(40)

    def fitted(self, task):
        return fit(task, self.ROWS[:30], self.ROWS[30:], recipe=QUICK, seed=1)[0]

    def test_they_are_learnt_from(self, task):
        one, other = (
            self.fitted(replace(task, siblings=factor * task.error[:, None].repeat(1, 3)))
            for factor in (1.0, 3.0)
        )
        assert not same_networks([one], [other])

    def test_what_is_fitted_answers_for_its_own_backbone_alone(self, task):
        network = self.fitted(replace(task, siblings=task.error[:, None]))
        assert network.siblings is None
        assert answer(network, task.inputs, self.ROWS).siblings.shape == (40, 0, 2)

    def test_it_stops_by_its_own_errors(self, task):
        """Those of siblings that nothing is fitted to are not looked at."""
        siblings = task.error[:, None].clone()
        one = self.fitted(replace(task, siblings=siblings))
        siblings = siblings.clone()
        siblings[30:] = torch.nan
        assert same_networks([one], [self.fitted(replace(task, siblings=siblings))])

    def test_each_has_a_shift_of_its_own(self, data):
        """One that is off by an eV an atom is not wrong: its errors are the backbone's."""
        rows = np.arange(len(data))
        sizes = np.array([len(sample.numbers) for sample in data.samples])
        own = np.array([sample.energy_ev for sample in data.samples])
        errors = sibling_errors(data, np.stack([own + sizes, own], axis=1), rows, QUICK)
        by_hand = data.error_kcal(rows, data.shift(rows, QUICK.min_element_molecules))
        assert errors[:, 1] == pytest.approx(by_hand)
        assert errors[:, 0] == pytest.approx(by_hand, abs=0.1)

    def test_the_published_recipe_knows_none(self, made):
        labels, samples = made
        siblings = np.array([[one.energy_ev] for one in samples])
        one, other = (
            train(labels, samples, IDENTITY, QUICK_PAPER, known) for known in (siblings, None)
        )
        assert same_networks(one.members, other.members)

    def test_two_classes_cannot_learn_from_any(self, made):
        labels, samples = made
        siblings = np.array([[one.energy_ev] for one in samples])
        with pytest.raises(ProbeError, match="own errors; use --no-siblings"):
            train(labels, samples, IDENTITY, replace(QUICK_PAPER, siblings=True), siblings)

    def test_the_default_takes_those_that_it_is_given(self, made):
        labels, samples = made
        siblings = np.array([[one.energy_ev + 0.1 * (i % 3)] for i, one in enumerate(samples)])
        given, none, refused = (
            train(labels, samples, IDENTITY, recipe, siblings)
            for recipe, siblings in (
                (QUICK, siblings),
                (QUICK, None),
                (replace(QUICK, siblings=False), siblings),
            )
        )
        assert not same_networks(given.members, none.members)
        assert same_networks(refused.members, none.members)


def test_errors_are_learnt_in_units_of_the_boundary_and_wild_ones_are_cut():
    found = in_units(np.array([-0.3, 0.6, 1e9, -1e9]), 0.3)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([-1.0, 2.0, LARGEST_ERROR, -LARGEST_ERROR])


def test_rows_are_taken_in_order_and_cut_to_the_largest_of_them():
    taken = take(padded([4, 1, 9, 2]), np.array([3, 0]))
    assert taken.embedding.shape == (2, 4, WIDTH)
    assert taken.energy.tolist() == [3.0, 0.0]
    assert taken.n_atoms.tolist() == [2.0, 4.0]
    assert (~taken.padding).sum(dim=1).tolist() == [2, 4]
    assert taken.charges.shape == taken.padding.shape == (2, 4)
