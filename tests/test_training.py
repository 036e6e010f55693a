"""Training: what it learns from, what it must never see, and that it learns."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from probe import training
from probe.backbones import Geometry
from probe.calibration import Labelled
from probe.card import CARD, WEIGHTS
from probe.checkpoint import save_checkpoint
from probe.errors import ProbeError
from probe.labels import Labels, reserved
from probe.network import Inputs, Normalisation, Outputs, Sample
from probe.tables import KCAL_PER_EV
from probe.training import Recipe, cross_validate, fit_ensemble, fit_temperature, loss, take, train

WIDTH = 8
SHIFT = {1: 0.012, 6: -0.02, 8: 0.03}
"""eV an atom; what the reference of these tests has over the backbone."""
IDENTITY = {"name": "test", "backbone": "none", "fingerprint": "0", "labels": "made up"}
QUICK = Recipe(members=1, folds=2, max_epochs=2)
NAMES = [f"molecule-{index}" for index in range(200) if not reserved(f"molecule-{index}")]
RESERVED = next(name for name in map(str, range(100)) if reserved(name))


def dataset(n_molecules=24, n_conformers=2, seed=0):
    """Labels and samples; half of the molecules are 1 kcal/mol off, and a feature knows which."""
    rng = np.random.default_rng(seed)
    smiles, geometries, samples, energies = [], [], [], []
    for index in range(n_molecules):
        numbers = rng.choice(list(SHIFT), rng.integers(3, 9)).astype(np.uint8)
        bad = index % 2
        for _ in range(n_conformers):
            atoms = rng.normal(size=(len(numbers), WIDTH))
            atoms[:, 0] += 2.0 * (2 * bad - 1)
            backbone = float(rng.normal(-500 * len(numbers), 1))
            off = rng.choice([-1.0, 1.0]) * (1.0 if bad else 0.05) / KCAL_PER_EV
            smiles.append(NAMES[index])
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


@pytest.fixture(scope="module")
def card():
    return train(*dataset(), IDENTITY, replace(QUICK, members=2)).card


@pytest.fixture
def data(made):
    """The labels as training holds them, and as the network sees them."""
    labels, samples = made
    energies = labels.energy_ev.copy()
    held = Labelled(samples, np.array(labels.smiles), np.zeros(len(labels), int), energies)
    return held, Normalisation(WIDTH).fit(samples)(samples)


def saved(checkpoint, folder):
    save_checkpoint(checkpoint, folder)
    return (folder / WEIGHTS).read_bytes(), (folder / CARD).read_bytes()


def without(card, *keys):
    return {key: value for key, value in card.items() if key not in keys}


class TestSplits:
    @pytest.fixture
    def seen(self, data, monkeypatch):
        """The rows that each ensemble and each network of a cross-validation learnt from."""
        ensembles, networks = [], []
        fit_one, fit_all = training.fit, training.fit_ensemble

        def fit(inputs, target, fitting, checking, **options):
            networks.append((fitting, checking))
            return fit_one(inputs, target, fitting, checking, **options)

        def fit_them(held, inputs, rows, *rest):
            ensembles.append(rows)
            return fit_all(held, inputs, rows, *rest)

        monkeypatch.setattr(training, "fit", fit)
        monkeypatch.setattr(training, "fit_ensemble", fit_them)
        recipe = replace(QUICK, folds=4, members=2, max_epochs=1)
        return ensembles, networks, cross_validate(*data, recipe)

    def test_folds_share_no_molecule(self, seen, data):
        smiles = data[0].smiles
        ensembles, _, held_out = seen
        assert len(ensembles) == 4
        for number, rows in enumerate(ensembles, start=1):
            fold = held_out.fold == number
            assert fold.any()
            assert not set(smiles[rows]) & set(smiles[fold])
            assert len(rows) + fold.sum() == len(smiles)

    def test_every_conformer_is_held_out_once(self, seen):
        assert set(seen[2].fold) == {1, 2, 3, 4}
        assert np.isfinite(seen[2].logits).all()

    def test_nor_do_fitting_and_early_stopping(self, seen, data):
        smiles = data[0].smiles
        ensembles, networks, _ = seen
        assert len(networks) == 8
        for index, (fitting, checking) in enumerate(networks):
            assert not set(smiles[fitting]) & set(smiles[checking])
            assert set(fitting) | set(checking) == set(ensembles[index // 2])

    def test_members_stop_on_different_molecules(self, seen):
        (_, first), (_, second) = seen[1][:2]
        assert set(first) != set(second)


class TestWhatIsHeldOut:
    def test_changes_nothing_that_was_learnt_for_it(self, data):
        """Its references may be absurd: answers, distances and shift of its fold stay."""
        held, inputs = data
        before = cross_validate(held, inputs, QUICK)
        fold = before.fold == 1
        energies = held.energy_ev.copy()
        energies[fold] += np.linspace(-9, 9, fold.sum())
        after = cross_validate(replace(held, energy_ev=energies), inputs, QUICK)
        np.testing.assert_array_equal(after.fold, before.fold)
        np.testing.assert_array_equal(after.logits[fold], before.logits[fold])
        np.testing.assert_array_equal(after.distance[fold], before.distance[fold])
        moved = (energies - held.energy_ev)[fold] * KCAL_PER_EV
        np.testing.assert_allclose((after.error_kcal - before.error_kcal)[fold], moved, atol=1e-9)
        assert not np.allclose(after.error_kcal[~fold], before.error_kcal[~fold])

    def test_a_reserved_molecule_is_never_used(self, made, tmp_path):
        labels, samples = made
        checkpoint = train(labels, samples, IDENTITY, QUICK)
        more = labelled(
            [*labels.smiles[:5], RESERVED, *labels.smiles[5:]],
            [*labels.geometries[:5], labels.geometries[0], *labels.geometries[5:]],
            [*labels.energy_ev[:5], 1e6, *labels.energy_ev[5:]],
        )
        odd = replace(samples[0], embedding=samples[0].embedding * 100, energy_ev=1e6)
        again = train(more, [*samples[:5], odd, *samples[5:]], IDENTITY, QUICK)
        assert saved(again, tmp_path / "b")[0] == saved(checkpoint, tmp_path / "a")[0]
        assert without(again.card, "training") == without(checkpoint.card, "training")
        assert again.card["training"]["n_left_out"] == 1
        assert again.card["training"]["n_molecules"] == 24

    def test_what_the_backbone_cannot_take_is_left_out(self, made, tmp_path):
        labels, samples = made
        rows = range(2, len(labels))
        fewer = labelled(
            [labels.smiles[i] for i in rows],
            [labels.geometries[i] for i in rows],
            labels.energy_ev[2:].tolist(),
        )
        one = train(fewer, samples[2:], IDENTITY, QUICK)
        other = train(labels, [None, None, *samples[2:]], IDENTITY, QUICK)
        assert saved(one, tmp_path / "a")[0] == saved(other, tmp_path / "b")[0]
        assert other.card["training"]["n_left_out"] == 2


class TestRepeating:
    def test_the_same_seed_gives_the_same_checkpoint_bit_for_bit(self, made, tmp_path):
        recipe = replace(QUICK, members=2)
        first = saved(train(*made, IDENTITY, recipe), tmp_path / "a")
        torch.manual_seed(99)
        np.random.default_rng(99).random()
        assert saved(train(*made, IDENTITY, recipe), tmp_path / "b") == first

    def test_another_seed_gives_another(self, made, tmp_path):
        first = saved(train(*made, IDENTITY, QUICK), tmp_path / "a")[0]
        assert saved(train(*made, IDENTITY, replace(QUICK, seed=2)), tmp_path / "b")[0] != first


class TestBoundary:
    @pytest.mark.parametrize("percentile", [50.0, 80.0])
    def test_it_is_a_percentile_of_the_errors_after_the_shift_of_the_same_rows(
        self, data, percentile
    ):
        held, inputs = data
        recipe = replace(QUICK, boundary_percentile=percentile)
        rows = np.arange(10, 40)
        ensemble = fit_ensemble(held, inputs, rows, recipe, "test")
        by_hand = [
            held.energy_ev[i]
            - held.samples[i].energy_ev
            - ensemble.shift.of(held.samples[i].numbers, 0)
            for i in rows
        ]
        errors = np.abs(by_hand) * KCAL_PER_EV
        assert ensemble.boundary_kcal == pytest.approx(np.percentile(errors, percentile))

    def test_the_shift_of_each_element_is_found(self, made):
        found = train(*made, IDENTITY, QUICK).shift.per_element
        wanted = {"H": 0.012, "C": -0.02, "O": 0.03}
        assert found == pytest.approx(wanted, abs=0.01)

    def test_an_element_of_too_few_molecules_is_neither_shifted_nor_learnt_from(self, made):
        labels, samples = made
        rare = np.array([53, 1, 1], dtype=np.uint8)
        wild = Sample(np.zeros((3, WIDTH), np.float16), np.zeros(3, np.float32), rare, -10.0)
        more = labelled(
            [*labels.smiles, NAMES[30]],
            [*labels.geometries, Geometry(rare, np.zeros((3, 3)))],
            [*labels.energy_ev, 500.0],
        )
        card = train(more, [*samples, wild], IDENTITY, QUICK).card
        assert "I" not in card["shift"]["per_element"]
        assert card["elements"]["I"] == 1
        assert card["boundary_kcal"] < 2
        assert card["held_out"]["n"] == len(labels)


class TestTheCard:
    def test_says_what_it_belongs_to(self, card):
        assert {key: card[key] for key in IDENTITY} == IDENTITY
        assert (card["format_version"], card["n_members"]) == (1, 2)
        assert (card["embedding_dim"], card["charges"]) == (WIDTH, True)

    def test_counts_elements_by_molecule_and_not_by_conformer(self, card, made):
        labels, samples = made
        pairs = zip(labels.smiles, samples, strict=True)
        oxygen = len({smiles for smiles, sample in pairs if 8 in sample.numbers})
        assert card["elements"]["O"] == oxygen
        sizes = [len(sample.numbers) for sample in samples]
        assert card["n_atoms"] == {"min": min(sizes), "max": max(sizes)}

    def test_says_what_it_was_trained_on_and_how(self, card, made):
        found = card["training"]
        assert found["labels_sha256"] == made[0].sha256
        assert (found["n_conformers"], found["n_molecules"], found["n_left_out"]) == (48, 24, 0)
        assert (found["seed"], found["folds"], found["max_epochs"]) == (1, 2, 2)

    def test_says_how_good_it_is_on_what_it_has_not_seen(self, card):
        held_out = card["held_out"]
        assert held_out["n"] == 48
        assert held_out["boundary_kcal"] == card["boundary_kcal"]
        assert 0 <= held_out["auroc"] <= 1
        assert card["latent_99"] > 0


def test_too_few_molecules_are_refused_however_many_conformers():
    labels, samples = dataset(n_molecules=5, n_conformers=10)
    with pytest.raises(ProbeError, match="5 molecules are too few for 3 folds; label more"):
        train(labels, samples, IDENTITY, replace(QUICK, folds=3))


def test_it_learns_what_can_be_learnt():
    recipe = Recipe(members=2, folds=2, max_epochs=30, batch_size=16, learning_rate=1e-3)
    held_out = train(*dataset(n_molecules=60), IDENTITY, recipe).card["held_out"]
    assert held_out["auroc"] > 0.95
    assert held_out["accuracy"] > 0.85


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, 20_000)
    unreliable = rng.random(20_000) < 1 / (1 + np.exp(-true))
    assert fit_temperature(temperature * true, unreliable) == pytest.approx(temperature, rel=0.05)


def batch(sizes):
    n, width = len(sizes), max(sizes)
    padding = torch.arange(width)[None, :] >= torch.tensor(sizes)[:, None]
    rows = torch.arange(n, dtype=torch.float32)
    values = rows[:, None, None].expand(n, width, WIDTH)
    return Inputs(values, values[..., 0], rows, torch.tensor(sizes).float(), padding)


def test_the_loss_is_cross_entropy_over_the_root_of_the_atoms():
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    target = torch.tensor([1, 1, 0])
    entropy = [np.log(1 + np.exp(-1)), np.log(1 + np.exp(2)), np.log(2)]
    weight = [1 / np.sqrt(4), 1 / np.sqrt(1), 1 / np.sqrt(9)]
    found = loss(Outputs(logits, logits, logits), target, batch([4, 1, 9]))
    assert float(found) == pytest.approx(np.average(entropy, weights=weight), rel=1e-6)


def test_rows_are_taken_in_order_and_cut_to_the_largest_of_them():
    taken = take(batch([4, 1, 9, 2]), np.array([3, 0]))
    assert taken.embedding.shape == (2, 4, WIDTH)
    assert taken.energy.tolist() == [3.0, 0.0]
    assert taken.n_atoms.tolist() == [2.0, 4.0]
    assert (~taken.padding).sum(dim=1).tolist() == [2, 4]
    assert taken.charges.shape == taken.padding.shape == (2, 4)
