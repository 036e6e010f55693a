"""The map: which points it is fitted on, where all points go, and when there is none."""

import numpy as np
import pytest
from report_library import library, refused

from probe import figures, schemas, tables
from probe.report import composition, embedding_map, map_figures, screening


def test_few_points_are_all_taken():
    p = np.array([0.1, np.nan, 0.9])
    assert embedding_map.stratified(p, 10, seed=1).tolist() == [0, 2]


def test_every_decile_is_drawn_from_alike():
    p = np.random.default_rng(3).beta(0.5, 3, size=5000)
    chosen = embedding_map.stratified(p, 500, seed=1)
    assert len(np.unique(chosen)) == 500
    counts = np.histogram(p[chosen], np.quantile(p, np.linspace(0, 1, 11)))[0]
    assert counts.min() == counts.max() == 50


def test_the_draw_follows_the_seed():
    p = np.random.default_rng(3).random(1000)
    first, again, other = (embedding_map.stratified(p, 100, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_points_beyond_the_fit_are_placed_near_their_likes(tmp_path):
    made = library()
    inputs = made.write(tmp_path, umap_points=40)
    places = embedding_map.locate(screening.load(inputs))
    again = embedding_map.locate(screening.load(inputs))
    np.testing.assert_array_equal(places, again)
    assert np.isfinite(places).all(axis=1).sum() == len(made.scores) - 1  # one is refused


def test_refused_conformers_have_no_place(tmp_path):
    loaded = screening.load(library().write(tmp_path))
    places = embedding_map.locate(loaded)
    np.testing.assert_array_equal(np.isnan(places[:, 0]), np.isnan(loaded.p))


@pytest.mark.parametrize("smiles", [[], ["C"], ["C", "CC"], ["C", "CC", "CO", "CN", "CF"]])
def test_a_tiny_library_has_no_map(tmp_path, smiles):
    assert embedding_map.locate(screening.load(library(smiles).write(tmp_path))) is None


def test_identical_embeddings_have_no_map(tmp_path):
    made = library()
    for row in made.scores:
        row["embedding"] = made.scores[0]["embedding"]
    assert embedding_map.locate(screening.load(made.write(tmp_path))) is None


def test_a_library_that_the_backbone_refused_has_no_map(tmp_path):
    made = library()
    made.scores = [refused(row) for row in made.scores]
    assert embedding_map.locate(screening.load(made.write(tmp_path))) is None


def places_of(loaded):
    return np.random.default_rng(1).normal(size=(loaded.listed.num_rows, 2))


def test_points_over_the_map_lie_where_the_figure_has_them(tmp_path):
    loaded = screening.load(library().write(tmp_path))
    places = places_of(loaded)
    with figures.style():
        drawn = map_figures.library_map(places, loaded)
    pixels = drawn.axes[0].transData.transform(places)
    expected = pixels / drawn.canvas.get_width_height() * [1, -1] + [0, 1]
    found = map_figures.in_page(places, np.arange(len(places)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_big_library_is_drawn_as_mean_values_per_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(map_figures, "SCATTER_LIMIT", 1)
    loaded = screening.load(library(["CCO", "C", "ClC(Cl)Cl"]).write(tmp_path))
    places = np.where(np.isnan(loaded.p), np.nan, 0.0)[:, None].repeat(2, axis=1)
    with figures.style():
        drawn = map_figures.library_map(places, loaded)
    cells = drawn.axes[0].images[0].get_array()
    assert cells.compressed().tolist() == pytest.approx([np.nanmean(loaded.p)])


def test_elements_are_counted_over_all_shards(tmp_path):
    made = library(["CCO", "C", "CCl", "ClC(Cl)Cl"])
    loaded = screening.load(made.write(tmp_path, n_shards=3))
    found = {element.symbol: element for element in composition.elements(loaded)}
    assert list(found) == ["H", "C", "O", "Cl"]
    assert {symbol: element.n for symbol, element in found.items()} == {
        "H": 4, "C": 4, "O": 1, "Cl": 2,
    }  # fmt: skip
    chlorinated = [row["p_unreliable"] for row in made.scores[2:]]
    assert found["Cl"].mean_p == pytest.approx(np.mean(chlorinated))
    assert found["Cl"].n_calibration == 40


def test_an_element_that_is_only_refused_has_no_mean(tmp_path):
    made = library(["CCO", "C[Se]C"])
    found = {e.symbol: e for e in composition.elements(screening.load(made.write(tmp_path)))}
    assert found["Se"].mean_p is None
    assert found["Se"].n_calibration == 0


def test_every_element_has_its_panel(tmp_path):
    loaded = screening.load(library().write(tmp_path))
    elements = composition.elements(loaded)
    with figures.style():
        sheet = map_figures.element_sheet(places_of(loaded), elements, loaded)
    titles = [axes.get_title(loc="left") for axes in sheet.axes if axes.get_title(loc="left")]
    assert [title.split(":")[0] for title in titles] == [e.symbol for e in elements]


def test_every_listed_conformer_is_written_with_its_place(tmp_path):
    loaded = screening.load(library().write(tmp_path))
    places = embedding_map.locate(loaded)
    embedding_map.save(places, loaded)
    found = tables.frame(loaded.inputs.triage / "map.parquet", schemas.MAP)
    assert found["conformer_id"].to_list() == loaded.listed["conformer_id"].to_pylist()
    np.testing.assert_array_equal(found.select("x", "y").fill_null(np.nan).to_numpy(), places)
    assert found["x"].null_count() == 1  # the refused one


def test_without_a_map_every_place_is_null(tmp_path):
    loaded = screening.load(library(["C", "CC"]).write(tmp_path))
    embedding_map.save(None, loaded)
    found = tables.frame(loaded.inputs.triage / "map.parquet", schemas.MAP)
    assert found["x"].to_list() == found["y"].to_list() == [None, None]
