"""The library by molecule: each once, whatever its number of conformers."""

import numpy as np
import polars as pl
import pytest
from report_library import library, refused

from probe.report import population, screening


def loaded(made, folder):
    return screening.load(made.write(folder))


def test_conformers_of_a_molecule_are_one_row_with_their_mean_and_the_worst(tmp_path):
    made = library(["CCO", "C", "CCO"])
    made.conformers[2]["conformer_id"] = made.scores[2]["conformer_id"] = "another geometry"
    made.scores[2]["p_unreliable"] = made.scores[0]["p_unreliable"] + 0.2
    (row,) = population.molecules(loaded(made, tmp_path)).to_dicts()
    assert (row["molecule"], row["smiles"], row["n"]) == ("CCO", "CCO", 2)
    assert row["p"] == pytest.approx(made.scores[0]["p_unreliable"] + 0.1)
    assert row["conformer_id"] == "another geometry"


def test_without_a_smiles_the_name_makes_the_molecule_and_else_the_conformer(tmp_path):
    made = library(["CCO", "CCC", "CCN", "CCF", "CCCl"])
    for row, name in zip(made.conformers[1:], ("a", "a", None, None), strict=True):
        row |= {"smiles": None, "molecule_id": name}
    made.scores[1]["p_unreliable"] = 0.5
    made.scores[1] |= {"energy_ev": -1.0, "refusal": None, "latent_distance": 1.0}
    found = population.molecules(loaded(made, tmp_path))
    assert sorted(found["n"]) == [1, 1, 1, 2]
    assert found.filter(pl.col("molecule") == "a")["n"].to_list() == [2]
    assert found["smiles"].drop_nulls().to_list() == ["CCO"]


def test_what_the_backbone_refused_is_no_molecule_of_the_scored(tmp_path):
    made = library(["CCO", "CC"])
    made.scores = [refused(row) for row in made.scores]
    assert population.molecules(loaded(made, tmp_path)).is_empty()


@pytest.mark.parametrize("size", [1, 10, 50])
def test_a_drawn_sample_has_every_decile_of_p_in_equal_parts(size):
    p = np.random.default_rng(3).random(1000) ** 2
    found = pl.DataFrame({"p": p})
    drawn = population.drawn(found, size, seed=1)
    assert drawn.height == size
    if size >= 10:
        deciles = np.searchsorted(np.quantile(p, np.linspace(0.1, 0.9, 9)), drawn["p"].to_numpy())
        assert set(np.bincount(deciles, minlength=10)) <= {size // 10}
    assert drawn.equals(population.drawn(found, size, seed=1))


def test_a_small_library_is_drawn_whole():
    found = pl.DataFrame({"p": [0.3, 0.1]})
    assert population.drawn(found, 2, seed=1).equals(found)
