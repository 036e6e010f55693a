"""The sample that the page holds: who is in it, and what is known of each."""

import base64
import shutil

import numpy as np
import pytest
from report_library import library, with_cache

from probe.report import composition, details, sample, screening
from probe.report.material import Material
from probe.schemas import CONFORMERS


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    made = library()
    loaded = screening.load(with_cache(made, made.write(folder), folder))
    places = np.random.default_rng(1).normal(size=(loaded.listed.num_rows, 2))
    places[np.isnan(loaded.p)] = np.nan
    return Material(loaded, composition.elements(loaded), places)


def test_a_small_library_is_there_as_a_whole_by_falling_p(material):
    rows = sample.rows(material.screening, material.places)
    assert len(rows) == 60
    assert (np.diff(material.screening.p[rows]) <= 0).all()


def test_a_large_one_has_all_of_the_worst_and_some_of_every_degree(material, monkeypatch):
    monkeypatch.setattr(sample, "SIZE", 30)
    monkeypatch.setattr(sample, "WORST", 10)
    rows = sample.rows(material.screening, material.places)
    p = material.screening.p
    assert len(rows) == len(set(rows.tolist())) == 30
    np.testing.assert_allclose(p[rows[:10]], np.sort(p[~np.isnan(p)])[::-1][:10])
    rest = np.sort(p[~np.isnan(p)])[::-1][10:]
    counts = np.histogram(p[rows[10:]], np.quantile(rest, np.linspace(0, 1, 6)))[0]
    assert (counts > 0).all()


def test_each_column_has_a_value_for_each_conformer(material):
    rows = sample.rows(material.screening, material.places)
    found = sample.columns(material, material.places, rows)
    chlorine = next(element for element in material.elements if element.symbol == "Cl")
    assert found["elements"]["Cl"] == "".join(str(int(holds)) for holds in chlorine.holds[rows])
    lengths = {
        len(column) for key, column in found.items() if key not in {"elements", "descriptors"}
    }
    assert lengths == {60}
    benzene = found["smiles"].index("c1ccccc1")
    assert found["descriptors"]["Molecular weight"][benzene] == pytest.approx(78.11, abs=0.01)


def test_without_reference_energies_there_are_no_errors(tmp_path):
    loaded = screening.load(library(["CCO", "CC"]).write(tmp_path))
    assert sample.errors(loaded, loaded.listed["conformer_id"].to_pylist()) is None


def test_an_element_without_a_shift_has_no_error(material, monkeypatch):
    monkeypatch.delitem(material.screening.card["shift"]["per_element"], "O")
    listed = material.screening.listed
    errors = sample.errors(material.screening, listed["conformer_id"].to_pylist())
    known = dict(zip(listed["smiles"].to_pylist(), errors, strict=True))
    assert known["c1ccccc1"] is not None
    assert known["CCO"] is None


def test_a_missing_smiles_has_no_descriptors():
    found = sample._descriptors(["", "C1CC", "CO"])
    assert found["TPSA"][:2] == [None, None]
    assert found["TPSA"][2] > 0


@pytest.mark.parametrize(("n", "expected"), [(3, 3), (500, 500), (5000, 500)])
def test_details_are_of_the_worst_and_of_some_others(n, expected):
    chosen = details.chosen(np.arange(n))
    assert len(np.unique(chosen)) == expected
    assert chosen[: min(n, details.WORST)].tolist() == list(range(min(n, details.WORST)))
    assert chosen[-1] == n - 1


def test_attention_is_what_the_checkpoint_says_of_the_cached_embedding(material):
    loaded = material.screening
    rows = sample.rows(loaded, material.places)[:4]
    ids = loaded.listed["conformer_id"].take(rows).to_pylist()
    geometries = {
        name: {"numbers": table["numbers"][at].as_py(), "positions": table["positions"][at].as_py()}
        for _, table in loaded.shards(
            loaded.inputs.conformers, CONFORMERS, ["conformer_id", "numbers", "positions"]
        )
        for at, name in enumerate(table["conformer_id"].to_pylist())
    }
    for told, name in zip(details.details(loaded, ids, geometries), ids, strict=True):
        n = len(geometries[name]["numbers"])
        grey = np.frombuffer(base64.b64decode(told["attention"]), np.uint8).reshape(n, n)
        np.testing.assert_allclose((grey / 255 * told["largest"]).sum(axis=1), 1, atol=0.05)
        np.testing.assert_allclose(
            np.array(told["positions"]) / 100, geometries[name]["positions"], atol=0.0051
        )


def test_without_a_cache_there_is_geometry_alone(tmp_path):
    loaded = screening.load(library(["CCO", "CC"]).write(tmp_path))
    geometries = {"a": {"numbers": [1, 1], "positions": [0, 0, 0, 0, 0, 0.74]}}
    told = details.details(loaded, ["a"], geometries)
    assert told == [{"numbers": [1, 1], "positions": [0, 0, 0, 0, 0, 74]}]


def torn(cache):
    for part in cache.glob("*/part-*.parquet"):
        part.write_bytes(part.read_bytes()[:-50])


@pytest.mark.parametrize("lose", [shutil.rmtree, torn])
def test_without_its_part_of_the_cache_a_conformer_has_no_attention(tmp_path, lose):
    made = library()
    loaded = screening.load(with_cache(made, made.write(tmp_path), tmp_path))
    lose(loaded.inputs.cache)
    ids = loaded.listed["conformer_id"].to_pylist()[:2]
    geometries = {row["conformer_id"]: row for row in made.conformers}
    found = details.details(loaded, ids, geometries)
    assert [set(each) for each in found] == [{"numbers", "positions"}] * 2
