"""`probe label` and `probe train`: what they are given, and what they refuse in a line."""

import dataclasses

import polars as pl
import pytest

from probe import cli, schemas, tables
from probe.classifier import card as cards
from probe.classifier import training
from probe.dft import scf
from probe.triage import sdf


class TestLabel:
    @pytest.fixture
    def words(self, tmp_path):
        """`probe label` on one nitrogen molecule, with no time to compute it."""
        (tmp_path / "a.smi").write_text("N#N nitrogen\n")
        out = tmp_path / "labels.parquet"
        return "label", "--in", tmp_path / "a.smi", "--out", out, "--budget-hours", 0

    def test_a_run_with_no_time_says_what_is_left(self, probe, words, tmp_path):
        result = probe(*words)
        assert result.exit_code == 0
        assert result.stdout == (
            f"{tmp_path / 'labels.parquet'}: 0 labelled, 0 not converged, 1 left\n"
        )
        assert result.stderr.startswith("label: 1 conformers to compute, 0 done before; about ")

    def test_labels_of_other_settings_are_not_mixed(self, probe, fails, words, tmp_path):
        assert probe(*words, "--tight").exit_code == 0
        assert tables.provenance(tmp_path / "labels.parquet")["grid_level"] == scf.TIGHT.grid_level
        assert "not made by this command with these settings" in fails(*words)

    def test_options_of_ingest_reach_the_conformers(self, probe, words, tmp_path):
        (tmp_path / "a.smi").write_text("N#N.O mixture\n")
        result = probe(*words, "--mixtures", "reject")
        assert "label: a.smi:1: mixture of 2 molecules" in result.stderr
        assert "holds no conformer that can be labelled" in result.stderr

    def test_a_recompute_list_says_its_own_multiplicity(self, probe, words, tmp_path):
        numbers = {"charge": 0, "numbers": [8, 8], "positions": [0.0, 0.0, 0.0, 0.0, 0.0, 1.21]}
        row = dict.fromkeys(sdf.PROPERTIES, "x") | {"molecule_id": "oxygen", "smiles": "O=O"}
        frame = pl.DataFrame([row | numbers | {"multiplicity": 3}])
        sdf.write(frame, tmp_path / "recompute.sdf")
        result = probe(*words, "--in", tmp_path / "recompute.sdf")
        assert "label: recompute.sdf:1: its multiplicity is 3, and labels" in result.stderr

    def test_an_input_that_is_none(self, fails, words, tmp_path):
        assert f"{tmp_path / 'none.smi'}: no such file" in fails(
            *words, "--in", tmp_path / "none.smi"
        )
        assert "unknown suffix .pdb" in fails(*words, "--in", tmp_path / "a.pdb")


class TestTrain:
    @pytest.fixture
    def train(self, probe, calibration, aimnet_file, tmp_path):
        """Trains on thirty molecules of the calibration set; returns what the card says of it."""
        assert aimnet_file.is_file()
        rows = [
            {
                **{"smiles": smiles, "source": "", "geometry": "", "charge": geometry.charge},
                **{"numbers": geometry.numbers.tolist(), "energy_ev": energy},
                "positions": geometry.positions.ravel().tolist(),
            }
            for smiles, geometry, energy in zip(
                calibration.smiles, calibration.geometries, calibration.energy_ev, strict=True
            )
            if set(geometry.numbers.tolist()) <= {1, 6, 7, 8}
        ]
        labels = tmp_path / "labels.parquet"
        tables.write(labels, rows[:30], schemas.LABELS, {})

        def run(*options):
            out = tmp_path / "trained"
            result = probe(
                *("train", "--labels", labels, "--backbone", "aimnet2-b973c", "--device", "cpu"),
                *("--cache", tmp_path / "cache", "--out", out, *options),
            )
            assert result.exit_code == 0, result.output
            assert result.stdout.startswith(f"{out}: n ")
            return cards.read(str(out))["training"]

        return run

    def test_the_recipes_are_those_that_there_are(self):
        (option,) = [o for o in cli.main.commands["train"].params if o.name == "recipe"]
        assert list(option.type.choices) == list(training.RECIPES)
        assert option.default == "default"

    def test_a_setting_changes_a_recipe_and_all_else_of_it_stays(self, train):
        changed = {"seed": 3, "max_epochs": 1, "boundary_percentile": 80.0}
        words = [(f"--{key.replace('_', '-')}", value) for key, value in changed.items()]
        found = train("--recipe", "paper", *[word for pair in words for word in pair])
        recipe = dataclasses.asdict(training.PAPER) | changed
        assert {key: found[key] for key in recipe} == recipe

    def test_without_a_name_it_is_the_default_recipe(self, train):
        found = train("--members", 1, "--max-epochs", 1)
        recipe = dataclasses.asdict(training.Recipe(members=1, max_epochs=1))
        assert {key: found[key] for key in recipe} == recipe

    def test_an_unknown_recipe(self, fails, tmp_path):
        line = fails(
            *("train", "--labels", tmp_path / "l", "--backbone", "aimnet2-b973c"),
            *("--cache", tmp_path, "--out", tmp_path / "out", "--recipe", "best"),
        )
        assert "'best' is not one of 'default', 'paper'" in line

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--seed", -1), ("--members", 0), ("--boundary-percentile", 100)],
    )
    def test_a_setting_that_is_none(self, fails, tmp_path, option, value):
        line = fails(
            *("train", "--labels", tmp_path / "l", "--backbone", "aimnet2-b973c"),
            *("--cache", tmp_path, "--out", tmp_path / "out", option, value),
        )
        assert f"Invalid value for '{option}'" in line
