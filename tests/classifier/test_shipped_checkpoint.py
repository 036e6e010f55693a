"""The shipped checkpoint: what it is of, what it learnt from, and what it says of itself."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols
from safetensors.torch import load_file

from probe import schemas, weights
from probe.classifier import card as cards
from probe.classifier import labels
from probe.classifier.checkpoint import load
from probe.classifier.training import Recipe

SHIPPED = "aimnet2-b973c"


@pytest.fixture(scope="module")
def shipped():
    return load(SHIPPED)


@pytest.fixture(scope="module")
def known(calibration):
    """Rows of the calibration set that a checkpoint may be trained on."""
    rows = range(len(calibration))
    return [i for i in rows if not labels.reserved(calibration.smiles[i])]


@pytest.fixture(scope="module")
def sides(shipped, calibration, known):
    """Of these, what it learnt from and what it held out; both with a reference shift."""
    shares = shipped.card["training"]
    covered = [i for i in known if shipped.shift.covers(calibration.geometries[i].numbers)]
    aside, calibrating = (
        {i for i in covered if labels.in_share(calibration.smiles[i], purpose, shares[key])}
        for purpose, key in (("held out", "held_out"), ("calibration", "calibration"))
    )
    return [i for i in covered if i not in aside | calibrating], sorted(aside)


class TestTheShippedOne:
    def test_it_is_of_the_default_recipe(self, shipped):
        recipe = asdict(Recipe())
        assert {key: shipped.card["training"][key] for key in recipe} == recipe
        assert {key: shipped.card[key] for key in ("head", "width")} == {
            key: recipe[key] for key in ("head", "width")
        }
        assert shipped.card["n_members"] == recipe["members"] == len(shipped.members)

    def test_it_belongs_to_the_default_backbone(self, shipped):
        backbone = weights.entry(SHIPPED)
        cards.require(shipped.card, backbone.fingerprint, backbone.name)

    def test_it_was_trained_on_the_set_beside_it(self, shipped, calibration, known):
        training = shipped.card["training"]
        assert training["labels_sha256"] == calibration.sha256
        assert training["n_conformers"] == len(known)
        assert training["n_molecules"] == len({calibration.smiles[i] for i in known})
        assert training["n_left_out"] == len(calibration) - len(known)

    def test_its_domain_is_what_it_learnt_from(self, shipped, calibration, sides):
        numbers = [calibration.geometries[i].numbers for i in sides[0]]
        smiles = [calibration.smiles[i] for i in sides[0]]
        pairs = {(s, z) for s, atoms in zip(smiles, numbers, strict=True) for z in atoms.tolist()}
        counted = Counter(chemical_symbols[z] for _, z in pairs)
        assert shipped.card["elements"] == counted
        sizes = [len(atoms) for atoms in numbers]
        assert shipped.card["n_atoms"] == {"min": min(sizes), "max": max(sizes)}

    def test_its_boundary_is_the_median_error_of_that(
        self, shipped, calibration, sides, calibration_samples
    ):
        errors = [
            calibration.energy_ev[i]
            - calibration_samples[i].energy_ev
            - shipped.shift.of(calibration.geometries[i].numbers, calibration.geometries[i].charge)
            for i in sides[0]
        ]
        median = np.median(np.abs(errors)) * schemas.KCAL_PER_EV
        assert shipped.boundary_kcal == pytest.approx(median, abs=2e-4)

    def test_it_says_how_good_it_is_on_molecules_it_has_not_seen(self, shipped):
        held_out = shipped.card["held_out"]
        assert held_out["n"] == len(shipped.held_out) > 50
        assert held_out["boundary_kcal"] == shipped.boundary_kcal
        assert 0.5 < held_out["auroc"] < 1
        assert held_out["accuracy"] > held_out["majority_accuracy"]
        assert 0 < held_out["ece"] < 0.5

    def test_its_held_out_rows_are_what_it_says_of_them(
        self, shipped, calibration, sides, calibration_samples
    ):
        rows = shipped.held_out
        ids = [calibration.conformer_ids[i] for i in sides[1]]
        assert [row["conformer_id"] for row in rows] == ids
        scored = shipped.score([calibration_samples[i] for i in sides[1]])
        p = [answer.p_unreliable for answer in scored]
        np.testing.assert_allclose([row["p_unreliable"] for row in rows], p, atol=2e-3)

    def test_its_numbers_are_finite(self, shipped):
        tensors = load_file(cards.resolve(SHIPPED) / cards.WEIGHTS)
        assert all(torch.isfinite(values).all() for values in tensors.values())
        assert shipped.card["temperature"] > 0
        assert shipped.card["latent_99"] > 0
