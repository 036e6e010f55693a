"""Training: what it learns from, what it must never see, and that it learns."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from probe import tables
from probe.backbones import Geometry
from probe.classifier import training
from probe.classifier.calibration import Labelled
from probe.classifier.card import CARD, FORMAT_VERSION, HELD_OUT, WEIGHTS
from probe.classifier.checkpoint import save_checkpoint
from probe.classifier.exceedance import TOLERANCES, fit_scale_factor, fit_temperature
from probe.classifier.labels import Labels, in_share, reserved
from probe.classifier.network import Inputs, Normalisation, Probe, Sample, parameters
from probe.classifier.training import (
    LARGEST_ERROR,
    PAPER,
    RECIPES,
    Recipe,
    Task,
    answer,
    classes_loss,
    distribution_loss,
    fit,
    fit_members,
    in_units,
    split,
    take,
    temperature,
    train,
)
from probe.errors import ProbeError
from probe.schemas import KCAL_PER_EV

WIDTH = 8
SHIFT = {1: 0.012, 6: -0.02, 8: 0.03}
"""eV an atom; what the reference of these tests has over the backbone."""
IDENTITY = {"name": "test", "backbone": "none", "fingerprint": "0", "labels": "made up"}
QUICK = Recipe(members=2, max_epochs=2)
QUICK_PAPER = replace(PAPER, max_epochs=2)
NAMES = [f"molecule-{index}" for index in range(400) if not reserved(f"molecule-{index}")]
RESERVED = next(name for name in map(str, range(100)) if reserved(name))
ASIDE = [name for name in NAMES if in_share(name, "held out", QUICK.held_out)]
CALIBRATING = [
    name for name in NAMES if in_share(name, "calibration", QUICK.calibration) and name not in ASIDE
]
REST = [name for name in NAMES if name not in (*ASIDE, *CALIBRATING)]


def dataset(names=NAMES[:24], n_conformers=2, seed=0):
    """Labels and samples; half of the molecules are 1 kcal/mol off, and a feature knows which."""
    rng = np.random.default_rng(seed)
    smiles, geometries, samples, energies = [], [], [], []
    for index, name in enumerate(names):
        numbers = rng.choice(list(SHIFT), rng.integers(3, 9)).astype(np.uint8)
        bad = index % 2
        for _ in range(n_conformers):
            atoms = rng.normal(size=(len(numbers), WIDTH))
            atoms[:, 0] += 2.0 * (2 * bad - 1)
            backbone = float(rng.normal(-500 * len(numbers), 1))
            off = rng.choice([-1.0, 1.0]) * (1.0 if bad else 0.05) / KCAL_PER_EV
            smiles.append(name)
            geometries.append(Geometry(numbers, rng.normal(size=(len(numbers), 3))))
            charges = rng.normal(0, 0.3, len(numbers)).astype(np.float32)
            samples.append(Sample(atoms.astype(np.float16), charges, numbers, backbone))
            energies.append(backbone + sum(SHIFT[z] for z in numbers.tolist()) + off)
    return labelled(smiles, geometries, energies), samples


def labelled(smiles, geometries, energies):
    text = repr((smiles, energies)).encode()
    ids = tuple(f"id{index}" for index in range(len(smiles)))
    digest = hashlib.sha256(text).hexdigest()
    return Labels(ids, tuple(smiles), tuple(geometries), np.array(energies), digest)


def selected(made, rows):
    labels, samples = made
    chosen = labelled(
        [labels.smiles[i] for i in rows],
        [labels.geometries[i] for i in rows],
        labels.energy_ev[list(rows)].tolist(),
    )
    return chosen, [samples[i] for i in rows]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On matrices as small as these, threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made():
    return dataset()


@pytest.fixture(scope="module", params=[QUICK, QUICK_PAPER], ids=["default", "paper"])
def recipe(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(made, recipe):
    return train(*made, IDENTITY, recipe)


@pytest.fixture(scope="module")
def data(made):
    """The labels as training holds them."""
    labels, samples = made
    smiles, charges = np.array(labels.smiles), np.zeros(len(labels), int)
    return Labelled(samples, smiles, charges, labels.energy_ev)


@pytest.fixture(scope="module")
def task(data):
    """Errors of -2 to 2 boundaries, large where the first feature of the atoms is."""
    bad = np.array([sample.embedding[:, 0].mean() > 0 for sample in data.samples])
    sizes = np.where(bad, 1.5, 0.4) * np.linspace(0.7, 1.3, len(bad))
    signs = np.where(np.arange(len(bad)) % 3 == 0, -1, 1)
    inputs = Normalisation(WIDTH).fit(data.samples)(data.samples)
    return Task(inputs, data.smiles, torch.from_numpy(signs * sizes).float())


def saved(checkpoint, folder):
    save_checkpoint(checkpoint, folder)
    return tuple((folder / name).read_bytes() for name in (WEIGHTS, HELD_OUT, CARD))


def without(card, *keys):
    return {key: value for key, value in card.items() if key not in keys}


def same_networks(one, other):
    return all(
        torch.equal(a, b)
        for network, again in zip(one, other, strict=True)
        for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )


class TestWhatIsHeldOut:
    def test_what_a_molecule_is_for_is_what_the_hash_says(self, data):
        sides = split(data, QUICK)
        for rows, names in (
            (sides.fitting, REST),
            (sides.calibration, CALIBRATING),
            (sides.held_out, ASIDE),
        ):
            assert len(rows)
            assert set(data.smiles[rows]) == set(NAMES[:24]) & set(names)
        assert sorted(np.concatenate(list(vars(sides).values()))) == list(range(len(data)))

    def test_a_molecule_stays_on_its_side_while_the_set_grows(self, data):
        labels, samples = dataset(NAMES[::-1])
        larger = Labelled.of(labels, samples)
        sides, grown = (
            [{str(s) for s in some.smiles[rows]} for rows in vars(split(some, QUICK)).values()]
            for some in (data, larger)
        )
        assert all(before < after for before, after in zip(sides, grown, strict=True))
        assert not grown[0] & grown[1] | grown[0] & grown[2] | grown[1] & grown[2]

    def test_its_references_change_nothing_but_the_figures_on_it(
        self, made, recipe, checkpoint, tmp_path
    ):
        labels, samples = made
        aside = np.isin(labels.smiles, ASIDE)
        energies = labels.energy_ev.copy()
        energies[aside] += np.linspace(-900, 1e6, aside.sum())
        absurd = replace(labels, energy_ev=energies)
        again = train(absurd, samples, IDENTITY, recipe)
        assert saved(again, tmp_path / "b")[0] == saved(checkpoint, tmp_path / "a")[0]
        assert without(again.card, "held_out") == without(checkpoint.card, "held_out")
        assert again.card["held_out"] != checkpoint.card["held_out"]
        for row, before in zip(again.held_out, checkpoint.held_out, strict=True):
            assert without(row, "error_kcal") == without(before, "error_kcal")
            assert row["error_kcal"] != before["error_kcal"]

    def test_nor_do_its_conformers(self, made, recipe, checkpoint, tmp_path):
        """All but one of its molecules gone, all that was learnt is the same bit for bit."""
        labels, _ = made
        last = [name for name in labels.smiles if name in ASIDE][-1]
        rows = [i for i, name in enumerate(labels.smiles) if name not in ASIDE or name == last]
        assert len(rows) < len(labels) - 2
        again = train(*selected(made, rows), IDENTITY, recipe)
        assert saved(again, tmp_path / "b")[0] == saved(checkpoint, tmp_path / "a")[0]
        judged = ("held_out", "importance", "latent_99", "promises", "training")
        assert without(again.card, *judged) == without(checkpoint.card, *judged)
        assert {row["smiles"] for row in again.held_out} == {last}

    def test_every_conformer_of_it_has_a_row(self, made, checkpoint):
        labels, samples = made
        aside = [i for i, name in enumerate(labels.smiles) if name in ASIDE]
        assert [row["conformer_id"] for row in checkpoint.held_out] == [f"id{i}" for i in aside]
        for index, row in zip(aside, checkpoint.held_out, strict=True):
            sample = samples[index]
            shift = checkpoint.shift.of(sample.numbers, 0)
            error = (labels.energy_ev[index] - sample.energy_ev - shift) * KCAL_PER_EV
            (alone,) = checkpoint.score([sample])
            assert row["error_kcal"] == pytest.approx(error, abs=1e-6)
            assert row["p_unreliable"] == pytest.approx(alone.p_unreliable, abs=1e-5)
            assert row["latent_distance"] == pytest.approx(alone.latent_distance, rel=1e-4)
            assert (row["smiles"], row["n_atoms"]) == (labels.smiles[index], len(sample.numbers))
            assert row["numbers"] == sample.numbers.tolist()
            for name in ("location_kcal", "scale_kcal"):
                said = getattr(alone, name)
                assert row[name] == (None if said is None else pytest.approx(said, rel=1e-4))

    def test_the_figures_of_the_card_are_of_these_rows(self, checkpoint):
        rows, figures = checkpoint.held_out, checkpoint.card["held_out"]
        unreliable = [abs(row["error_kcal"]) > checkpoint.boundary_kcal for row in rows]
        called = [row["p_unreliable"] > 0.5 for row in rows]
        assert figures["n"] == len(rows)
        assert figures["boundary_kcal"] == checkpoint.boundary_kcal
        assert figures["accuracy"] == pytest.approx(np.mean(np.equal(unreliable, called)))
        distances = [row["latent_distance"] for row in rows]
        assert checkpoint.card["latent_99"] == pytest.approx(np.percentile(distances, 99))


class TestWhatIsNeverUsed:
    def test_a_reserved_molecule(self, made, recipe, checkpoint, tmp_path):
        labels, samples = made
        more = labelled(
            [*labels.smiles, RESERVED],
            [*labels.geometries, labels.geometries[0]],
            [*labels.energy_ev, 1e6],
        )
        odd = replace(samples[0], embedding=samples[0].embedding * 100, energy_ev=1e6)
        again = train(more, [*samples, odd], IDENTITY, recipe)
        assert saved(again, tmp_path / "b")[:2] == saved(checkpoint, tmp_path / "a")[:2]
        assert without(again.card, "training") == without(checkpoint.card, "training")
        assert again.card["training"]["n_left_out"] == 1
        assert again.card["training"]["n_molecules"] == 24

    def test_what_the_backbone_cannot_take(self, made, tmp_path):
        labels, samples = made
        one = train(*selected(made, range(2, len(labels))), IDENTITY, QUICK)
        other = train(labels, [None, None, *samples[2:]], IDENTITY, QUICK)
        assert saved(one, tmp_path / "a")[0] == saved(other, tmp_path / "b")[0]
        assert other.card["training"]["n_left_out"] == 2
        ids = {row["conformer_id"] for row in other.held_out}
        assert ids == {f"id{i}" for i in range(2, len(labels)) if labels.smiles[i] in ASIDE}

    @pytest.mark.parametrize("name", [REST[30], ASIDE[10]], ids=["to learn from", "held out"])
    def test_an_element_of_too_few_molecules(self, made, name):
        labels, samples = made
        rare = np.array([53, 1, 1], dtype=np.uint8)
        wild = Sample(np.zeros((3, WIDTH), np.float16), np.zeros(3, np.float32), rare, -10.0)
        more = labelled(
            [*labels.smiles, name],
            [*labels.geometries, Geometry(rare, np.zeros((3, 3)))],
            [*labels.energy_ev, 500.0],
        )
        checkpoint = train(more, [*samples, wild], IDENTITY, QUICK)
        assert "I" not in checkpoint.card["shift"]["per_element"]
        assert "I" not in checkpoint.card["elements"]
        assert checkpoint.boundary_kcal < 2
        assert len(checkpoint.held_out) == checkpoint.card["held_out"]["n"] == 6


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


class TestRepeating:
    def test_the_same_seed_gives_the_same_checkpoint_bit_for_bit(
        self, made, recipe, checkpoint, tmp_path
    ):
        torch.manual_seed(99)
        again = train(*made, IDENTITY, recipe)
        assert saved(again, tmp_path / "b") == saved(checkpoint, tmp_path / "a")

    def test_another_seed_gives_another(self, made, recipe, checkpoint, tmp_path):
        other = train(*made, IDENTITY, replace(recipe, seed=2))
        assert saved(other, tmp_path / "b")[0] != saved(checkpoint, tmp_path / "a")[0]

    def test_another_seed_holds_out_the_same_molecules(self, made, checkpoint, recipe):
        other = train(*made, IDENTITY, replace(recipe, seed=2))
        assert [row["conformer_id"] for row in other.held_out] == [
            row["conformer_id"] for row in checkpoint.held_out
        ]


class TestBoundary:
    @pytest.mark.parametrize("percentile", [50.0, 80.0])
    def test_it_is_a_percentile_of_the_errors_that_are_learnt_from(self, made, percentile):
        labels, samples = made
        recipe = replace(QUICK_PAPER, boundary_percentile=percentile, max_epochs=1)
        checkpoint = train(*made, IDENTITY, recipe)
        errors = [
            labels.energy_ev[i] - samples[i].energy_ev - checkpoint.shift.of(samples[i].numbers, 0)
            for i in range(len(labels))
            if labels.smiles[i] in REST
        ]
        by_hand = np.percentile(np.abs(errors) * KCAL_PER_EV, percentile)
        assert checkpoint.boundary_kcal == pytest.approx(by_hand)

    def test_the_shift_is_that_of_what_is_learnt_from(self, made, checkpoint):
        labels, samples = made
        data = Labelled.of(labels, samples)
        rest = np.flatnonzero(np.isin(labels.smiles, REST))
        assert checkpoint.card["shift"] == asdict(data.shift(rest, QUICK.min_element_molecules))

    def test_the_shift_of_each_element_is_found(self, checkpoint):
        wanted = {"H": 0.012, "C": -0.02, "O": 0.03}
        assert checkpoint.shift.per_element == pytest.approx(wanted, abs=0.01)


class TestTheCard:
    def test_says_what_it_belongs_to(self, checkpoint, recipe):
        card = checkpoint.card
        assert {key: card[key] for key in IDENTITY} == IDENTITY
        assert (card["format_version"], card["head"]) == (FORMAT_VERSION, recipe.head)
        assert (card["embedding_dim"], card["charges"]) == (WIDTH, True)
        assert card["n_members"] == recipe.members == len(checkpoint.members)

    def test_its_domain_is_what_was_learnt_from(self, checkpoint, made):
        """Elements are counted by molecule and not by conformer; the held-out are no part of it."""
        rows = [
            (name, sample.numbers) for name, sample in zip(made[0].smiles, made[1], strict=True)
        ]
        learnt = [(name, numbers) for name, numbers in rows if name in REST]
        oxygen = {name for name, numbers in learnt if 8 in numbers}
        assert checkpoint.card["elements"]["O"] == len(oxygen)
        sizes = [len(numbers) for _, numbers in learnt]
        assert checkpoint.card["n_atoms"] == {"min": min(sizes), "max": max(sizes)}

    def test_says_what_it_was_trained_on_and_how(self, checkpoint, made, recipe):
        found = checkpoint.card["training"]
        assert found["labels_sha256"] == made[0].sha256
        assert (found["n_conformers"], found["n_molecules"], found["n_left_out"]) == (48, 24, 0)
        assert {key: found[key] for key in asdict(recipe)} == asdict(recipe)

    def test_it_can_be_written_as_strict_json(self, checkpoint, tmp_path):
        saved(checkpoint, tmp_path)
        assert tables.read_json(tmp_path / CARD) == checkpoint.card


class TestTooFewMolecules:
    def refused(self, made, recipe, said):
        with pytest.raises(ProbeError, match=said) as raised:
            train(*made, IDENTITY, recipe)
        assert "\n" not in str(raised.value)

    def test_to_learn_from_however_many_conformers(self):
        made = dataset([*REST[:3], CALIBRATING[0], ASIDE[0]], n_conformers=10)
        self.refused(made, QUICK, r"^3 molecules to learn from, 1 to calibrate on and 1 held out")

    def test_to_hold_out(self):
        made = dataset([*REST[:20], CALIBRATING[0]])
        self.refused(
            made, QUICK, r"1 to calibrate on and 0 held out are too few \(.*\); label more$"
        )

    def test_to_calibrate_on(self):
        made = dataset([*REST[:20], ASIDE[0]])
        self.refused(made, QUICK, "0 to calibrate on and 1 held out are too few")

    def test_at_all(self, made):
        nothing = [None] * len(made[1])
        self.refused(
            (made[0], nothing),
            QUICK,
            "^0 molecules to learn from, 0 to calibrate on and 0 held out",
        )

    @pytest.mark.parametrize("side", ["rest", "held out"])
    def test_when_those_with_rare_elements_are_gone(self, side):
        """Molecules of one side, each with a metal of its own."""
        labels, samples = dataset([*REST[:12], *CALIBRATING[:2], *ASIDE[:5]])
        metals = {name: 21 + i for i, name in enumerate([*REST[3:12], *ASIDE[:5]])}
        own = {"rest": set(REST[3:12]), "held out": set(ASIDE[:5])}[side]
        changed = [
            replace(sample, numbers=np.array([metals[name], *sample.numbers[1:]], np.uint8))
            if name in own
            else sample
            for name, sample in zip(labels.smiles, samples, strict=True)
        ]
        recipe = replace(QUICK, min_element_molecules=2)
        n_rest, n_held_out = (3, 5) if side == "rest" else (12, 0)
        said = f"^{n_rest} molecules to learn from, 2 to calibrate on and {n_held_out} held out are"
        self.refused((labels, changed), recipe, said)

    def test_the_fewest_that_are_enough_are_trained_on(self):
        made = dataset([*REST[:4], CALIBRATING[0], ASIDE[0]], n_conformers=1)
        checkpoint = train(*made, IDENTITY, replace(QUICK, min_element_molecules=1))
        assert checkpoint.card["held_out"]["n"] == 1


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


LEARNING = Recipe(
    members=1,
    held_out=0.3,
    boundary_percentile=45.0,  # half of the errors are large: the median would part those
    learning_rate=1e-3,
    batch_size=16,
    max_epochs=25,
    patience=25,
)


@pytest.mark.parametrize("head", ["distribution", "classes"])
def test_it_learns_what_can_be_learnt(head):
    made = dataset(NAMES[:100])
    held_out = train(*made, IDENTITY, replace(LEARNING, head=head)).card["held_out"]
    assert held_out["n"] > 40
    assert held_out["auroc"] > 0.95
    assert held_out["accuracy"] > 0.75


def test_it_learns_where_the_signed_error_lies():
    """The error is 0.2 kcal/mol times a feature, summed over atoms, and some noise."""
    labels, samples = dataset(NAMES[:60], n_conformers=4)
    rng = np.random.default_rng(7)
    energies = [
        sample.energy_ev
        + sum(SHIFT[z] for z in sample.numbers.tolist())
        + (0.2 * float(sample.embedding[:, 1].sum()) + rng.normal(0, 0.05)) / KCAL_PER_EV
        for sample in samples
    ]
    named = replace(labels, energy_ev=np.array(energies))
    rows = train(named, samples, IDENTITY, replace(LEARNING, max_epochs=15)).held_out
    said = [np.mean(row["location_kcal"]) for row in rows]
    assert np.corrcoef(said, [row["error_kcal"] for row in rows])[0, 1] > 0.8


def batch(sizes):
    n, width = len(sizes), max(sizes)
    padding = torch.arange(width)[None, :] >= torch.tensor(sizes)[:, None]
    rows = torch.arange(n, dtype=torch.float32)
    values = rows[:, None, None].expand(n, width, WIDTH)
    return Inputs(values, values[..., 0], rows, torch.tensor(sizes).float(), padding)


class TestLosses:
    def test_of_classes_it_is_cross_entropy_over_the_root_of_the_atoms(self):
        logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
        error = torch.tensor([-1.2, 7.0, 0.4, 1.0])  # what is at the boundary is reliable
        entropy = np.log(1 + np.exp([-1.0, 2.0, 0.0, 3.0]))
        by_hand = np.mean(entropy / np.sqrt([4, 1, 9, 2]))
        found = classes_loss(logits, error, batch([4, 1, 9, 2]))
        assert float(found) == pytest.approx(by_hand, rel=1e-6)

    def test_of_a_distribution_it_is_its_likelihood_and_the_entropy_of_each_tolerance(self):
        location, log_scale = np.array([0.5, -2.0]), np.array([0.0, -1.0])
        scale, error = np.exp(log_scale), np.array([-1.0, -1.5])
        z = (error - location) / scale
        likelihood = np.log(scale) + z + 2 * np.log1p(np.exp(-z))
        entropy = 0.0
        for t in TOLERANCES:
            inside = 1 / (1 + np.exp(-(t - location) / scale)) - 1 / (
                1 + np.exp((t + location) / scale)
            )
            entropy = entropy - np.log(np.where(np.abs(error) > t, 1 - inside, inside))
        answers = torch.tensor(np.stack([location, log_scale], axis=1)).float()
        found = distribution_loss(answers, torch.tensor(error).float(), batch([4, 1]))
        assert float(found) == pytest.approx(np.mean(likelihood + entropy / 3), rel=1e-5)

    def test_of_a_distribution_it_is_least_for_the_distribution_itself(self):
        rng = np.random.default_rng(0)
        error = torch.from_numpy(rng.logistic(0.3, 0.5, 20_000)).float()
        sizes = batch([1] * len(error))

        def loss(location, scale):
            answers = torch.tensor([[location, np.log(scale)]]).float().expand(len(error), 2)
            return float(distribution_loss(answers, error, sizes))

        others = [(0.2, 0.5), (0.4, 0.5), (0.3, 0.4), (0.3, 0.6), (-0.3, 0.5)]
        assert all(loss(0.3, 0.5) < loss(*other) for other in others)

    def test_the_surest_of_wrong_answers_has_a_finite_loss_and_slope(self):
        answers = torch.tensor([[LARGEST_ERROR, -5.0], [0.0, 4.0]], requires_grad=True)
        loss = distribution_loss(answers, torch.tensor([-LARGEST_ERROR, 0.0]), batch([3, 3]))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(answers.grad).all()
        assert answers.grad[0].abs().min() > 0


def test_errors_are_learnt_in_units_of_the_boundary_and_wild_ones_are_cut():
    found = in_units(np.array([-0.3, 0.6, 1e9, -1e9]), 0.3)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([-1.0, 2.0, LARGEST_ERROR, -LARGEST_ERROR])


def test_rows_are_taken_in_order_and_cut_to_the_largest_of_them():
    taken = take(batch([4, 1, 9, 2]), np.array([3, 0]))
    assert taken.embedding.shape == (2, 4, WIDTH)
    assert taken.energy.tolist() == [3.0, 0.0]
    assert taken.n_atoms.tolist() == [2.0, 4.0]
    assert (~taken.padding).sum(dim=1).tolist() == [2, 4]
    assert taken.charges.shape == taken.padding.shape == (2, 4)
