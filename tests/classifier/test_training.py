"""Training: what it learns from, what it must never see, and that it learns."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from learnable import (
    ASIDE,
    CALIBRATING,
    IDENTITY,
    NAMES,
    QUICK,
    QUICK_PAPER,
    REST,
    SHIFT,
    WIDTH,
    dataset,
    labelled,
    without,
)

from probe import tables
from probe.backbones import Geometry
from probe.classifier.calibration import Labelled
from probe.classifier.card import CARD, FORMAT_VERSION, HELD_OUT, WEIGHTS
from probe.classifier.checkpoint import save_checkpoint
from probe.classifier.labels import reserved
from probe.classifier.network import Sample
from probe.classifier.training import Recipe, split, train
from probe.errors import ProbeError
from probe.schemas import KCAL_PER_EV

pytestmark = pytest.mark.usefixtures("one_thread")

RESERVED = next(name for name in map(str, range(100)) if reserved(name))


def selected(made, rows):
    labels, samples = made
    chosen = labelled(
        [labels.smiles[i] for i in rows],
        [labels.geometries[i] for i in rows],
        labels.energy_ev[list(rows)].tolist(),
    )
    return chosen, [samples[i] for i in rows]


def saved(checkpoint, folder):
    save_checkpoint(checkpoint, folder)
    return tuple((folder / name).read_bytes() for name in (WEIGHTS, HELD_OUT, CARD))


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
