"""Descriptors of a library and their rank correlation with p_unreliable."""

import numpy as np
import pytest
from rdkit import Chem
from report_library import library
from scipy import stats

from probe.report import descriptors, screening
from probe.report.descriptors import Molecules
from probe.report.material import Material


def test_descriptors_of_aspirin(tmp_path):
    loaded = screening.load(library(["CC(=O)Oc1ccccc1C(=O)O"]).write(tmp_path))
    values = {name: float(x[0]) for name, x in descriptors.describe(loaded).values.items()}
    assert values["Molecular weight"] == pytest.approx(180.16, abs=0.01)
    assert values["TPSA"] == pytest.approx(63.6, abs=0.01)
    assert (values["H-bond acceptors"], values["H-bond donors"], values["Rings"]) == (3, 1, 1)


@pytest.mark.parametrize(("smiles", "n"), [("FC(Cl)(Br)I", 3), ("CF", 0), ("Clc1ccccc1Cl", 2)])
def test_heavy_halogens_are_chlorine_bromine_and_iodine(smiles, n):
    assert descriptors.heavy_halogens(Chem.MolFromSmiles(smiles)) == n


def test_conformers_of_a_molecule_are_one_row_with_their_mean(tmp_path):
    made = library(["CCO", "C", "CCO"])
    made.conformers[2]["conformer_id"] = made.scores[2]["conformer_id"] = "another geometry"
    made.scores[2]["p_unreliable"] = made.scores[0]["p_unreliable"] + 0.2
    found = descriptors.describe(screening.load(made.write(tmp_path)))
    assert len(found.p) == 1
    assert found.n_conformers == 2
    assert found.p[0] == pytest.approx(made.scores[0]["p_unreliable"] + 0.1)


def test_rows_without_a_readable_smiles_are_counted_and_left_out(tmp_path):
    made = library(["CCO", "C", "CCN", "CCC"])
    made.conformers[0]["smiles"] = None
    made.conformers[2]["smiles"] = "not a SMILES"
    found = descriptors.describe(screening.load(made.write(tmp_path)))
    assert (len(found.p), found.n_left_out, found.n_conformers) == (1, 2, 1)


def test_big_libraries_are_drawn_from_at_random(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptors, "MOLECULE_LIMIT", 10)
    loaded = screening.load(library().write(tmp_path))
    found = descriptors.describe(loaded)
    assert (len(found.p), found.n_different) == (10, 60)


def test_rho_is_spearmans_and_the_interval_covers_it(tmp_path):
    found = descriptors.describe(screening.load(library().write(tmp_path)))
    for row in descriptors.correlate(found):
        assert row.rho == pytest.approx(stats.spearmanr(found.values[row.name], found.p).statistic)
        assert -1 < row.low < row.rho < row.high < 1


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    rho = 0.5
    spearman = 6 / np.pi * np.arcsin(rho / 2)  # of a bivariate normal with correlation rho
    hits = 0
    for _ in range(400):
        x, y = random.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=80).T
        (row,) = descriptors.correlate(Molecules({"x": x}, y, 80, 0, 80))
        hits += row.low < spearman < row.high
    assert 0.92 < hits / 400 < 0.98


@pytest.mark.parametrize(
    ("x", "why"), [(np.ones(20), "the same for all"), (np.arange(5.0), "fewer than 10")]
)
def test_an_undefined_correlation_says_why(x, why):
    p = np.linspace(0, 1, len(x))
    (row,) = descriptors.correlate(Molecules({"x": x}, p, len(x), 0, len(x)))
    assert row.rho is None
    assert why in row.why_not


def test_bins_hold_enough_molecules_and_equal_values_together():
    x = np.array([0] * 30 + [1] * 30 + [2] * 2 + [3] * 1, dtype=float)
    centres, mean, half = descriptors.binned(x, x / 10)
    assert centres[0] == 0
    assert mean[0] == 0
    assert half[0] == 0
    assert centres[1] == pytest.approx(37 / 33)  # the few with 2 and 3 join those with 1


@pytest.mark.parametrize("n", [1, 2, 9, 1000])
def test_bins_lose_nothing(n):
    x = np.random.default_rng(n).normal(size=n)
    centres, mean, half = descriptors.binned(x, np.full(n, 0.25))
    assert 1 <= len(centres) <= descriptors.MAX_BINS
    np.testing.assert_allclose(mean, 0.25)
    np.testing.assert_allclose(half, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "why"),
    [
        ([], "no scored conformer has a SMILES"),
        ([0.2, 0.3], "at least 10 different molecules"),
        ([0.5] * 12, "every molecule has the same p_unreliable"),
        ([0.2, *[0.5] * 11], ""),
    ],
)
def test_why_there_are_no_correlations(p, why):
    found = Molecules({"x": np.arange(len(p), dtype=float)}, np.array(p), len(p), 0, len(p))
    said = descriptors.why_not(found)
    assert why in said
    assert bool(said) == bool(why)


def test_the_section_of_a_few_molecules_says_why_it_is_empty(tmp_path):
    loaded = screening.load(library(["CCO", "CC", "CCN"]).write(tmp_path))
    content = descriptors.section(Material(loaded, [], None))
    assert "at least 10 different molecules" in content["empty"]
    assert (tmp_path / "figures/descriptors.png").is_file()
