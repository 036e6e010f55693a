"""The scripts that merge and describe the calibration set, on sets small enough to see through."""

import importlib.util
import json
import sys

import numpy as np
import polars as pl
import pytest
from repository import ROOT

from probe import schemas, tables
from probe.classifier.calibration import Labelled
from probe.classifier.network import Sample
from probe.comparison.parts import LabelledSet
from probe.conformers.conformer import conformer_id, rounded
from probe.errors import ProbeError

SCRIPTS = ROOT / "resources" / "calibration"


def script(name):
    spec = importlib.util.spec_from_file_location(f"calibration_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def merge():
    return script("merge")


@pytest.fixture(scope="module")
def figures():
    return script("figures")


def water(merge, bond=0.96, **changes):
    """A labelled conformer of water; the energies are invented."""
    numbers, charge = [8, 1, 1], changes.get("charge", 0)
    positions = [0.0, 0.0, 0.0, bond, 0.0, 0.0, 0.0, bond, 0.0]
    parts = {"e_scf_hartree": -76.0, "e_d3_hartree": -0.25, "e_srb_hartree": -0.125}
    name = conformer_id(np.array(numbers, np.uint8), rounded(positions).reshape(-1, 3), charge, 1)
    row = {
        "conformer_id": name,
        "smiles": "O",
        "source": "freesolv",
        "geometry": "mmff94",
        "numbers": numbers,
        "positions": positions,
        "charge": charge,
        "energy_ev": sum(parts.values()) * merge.scf.EV_PER_HARTREE,
        **parts,
        "gap_ev": 7.0,
        "nao": 30,
        "dft_seconds": 1.0,
        "converged": True,
        "remedy": "",
    }
    return row | changes


def old_set(path, rows):
    """A set that was kept before conformer_id, converged and remedy were."""
    kept = [name for name in schemas.REFERENCES.names if name not in ADDED]
    schema = tables.pa.schema([schemas.REFERENCES.field(name) for name in kept])
    tables.write(path, rows, schema, {})
    return path


ADDED = ("conformer_id", "converged", "remedy")


def test_a_merged_set_has_the_old_rows_as_they_were_and_the_new_ones(merge, tmp_path):
    old = old_set(tmp_path / "old.parquet", [water(merge)])
    new, out = tmp_path / "new.parquet", tmp_path / "out.parquet"
    rows = [water(merge, gap_ev=1.0), water(merge, bond=1.1, geometry="aimnet2-md-600K")]
    tables.write(new, rows, schemas.REFERENCES, merge.ORIGIN)
    merge.main(old, new, out)
    found = tables.read(out, schemas.REFERENCES).to_pylist()
    assert [row["geometry"] for row in found] == ["aimnet2-md-600K", "mmff94"]
    assert found[1] == water(merge, remedy=None)
    assert found[0]["remedy"] == ""
    merge.main(out, new, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == out.read_bytes()


def test_a_set_that_is_still_labelled_is_merged_as_far_as_its_journal_goes(merge, tmp_path):
    old = old_set(tmp_path / "old.parquet", [water(merge)])
    lines = [json.dumps(merge.ORIGIN), json.dumps(water(merge, bond=1.3)), '{"conformer_id": "ab']
    journal = tmp_path / "new.parquet.journal"
    journal.write_text("\n".join(lines))
    merge.main(old, tmp_path / "new.parquet", tmp_path / "out.parquet")
    assert tables.read(tmp_path / "out.parquet", schemas.REFERENCES).num_rows == 2
    assert journal.read_text() == "\n".join(lines)


def test_conformers_without_an_energy_and_of_reserved_molecules_are_not_merged(merge):
    reserved = next(s for n in range(1, 99) if merge.reserved(s := "C" * n))
    rows = [water(merge, converged=False), water(merge, 1.1, smiles=reserved), water(merge, 1.2)]
    kept, left_out = merge.merged(rows)
    assert kept == [rows[2]]
    assert left_out == {"not converged": 1, "reserved": 1}


def test_a_conformer_is_merged_once_even_if_its_geometry_was_made_twice(merge):
    first, moved = water(merge), water(merge, 1.0)
    other_kind = water(merge, 1.05, geometry="uff")
    stretched = water(merge, 1.2)
    rows = [first, water(merge, gap_ev=1.0), moved, other_kind, stretched]
    kept, left_out = merge.merged(rows)
    assert sorted(kept, key=rows.index) == [first, other_kind, stretched]
    assert left_out == {"there before": 1, "nearly there before": 1}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"smiles": "[H]O[H]"}, "not canonical"),
        ({"smiles": "CO"}, "atoms are not those"),
        ({"charge": 1}, "odd"),
        ({"charge": 2}, "charge is not that"),
        ({"energy_ev": -2000.0}, "sum of its parts"),
        ({"positions": [0.0] * 6}, "three finite numbers"),
        ({"positions": [float("nan")] * 9}, "three finite numbers"),
        ({"bond": 0.5}, "two atoms are within"),
    ],
)
def test_a_row_that_cannot_be_right_is_named_with_the_reason(merge, changes, why):
    assert not list(merge.problems(water(merge)))
    assert any(why in problem for problem in merge.problems(water(merge, **changes)))


def test_nothing_is_merged_where_a_row_cannot_be_right(merge, tmp_path):
    old = old_set(tmp_path / "old.parquet", [water(merge)])
    new, out = tmp_path / "new.parquet", tmp_path / "out.parquet"
    tables.write(new, [water(merge, bond=0.5)], schemas.REFERENCES, merge.ORIGIN)
    with pytest.raises(ProbeError, match="O, mmff94: two atoms are within"):
        merge.main(old, new, out)
    assert not out.exists()


def test_labels_of_other_settings_are_not_merged(merge, tmp_path):
    new = tmp_path / "new.parquet"
    tables.write(new, [water(merge)], schemas.REFERENCES, merge.ORIGIN | {"grid_level": 5})
    with pytest.raises(ProbeError, match="not made by this command with these settings"):
        merge.new_rows(new)
    with pytest.raises(ProbeError, match="not labelled with the default settings"):
        merge.old_rows(new)
    with pytest.raises(ProbeError, match="no journal of it"):
        merge.new_rows(tmp_path / "elsewhere.parquet")


@pytest.fixture
def describe(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield script("describe")
    for name in ("figures", "inventory"):  # so that no other test finds these names taken
        sys.modules.pop(name)


def cells(text, first):
    """The cells of the table row that begins with ``first``."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_noise_is_what_tighter_settings_change_in_total_and_per_atom(describe, merge, tmp_path):
    rows = [water(merge), water(merge, bond=1.1), water(merge, bond=1.2)]
    frame = pl.DataFrame(rows).with_columns(n_atoms=pl.lit(3))
    changes = np.array([0.3, -0.6]) / schemas.KCAL_PER_EV
    pairs = zip(rows, changes.tolist(), strict=False)
    again = [row | {"energy_ev": row["energy_ev"] - change} for row, change in pairs]
    settings = {"grid_level": 5, "conv_tol": 1e-9, "conv_tol_grad": 1e-5}
    tables.write(tmp_path / "tight.parquet", again, schemas.REFERENCES, settings)
    text = describe.noise(tmp_path / "tight.parquet", frame, np.array([[0.9, -0.9, 0.9]]))
    assert cells(text, "total") == ["-0.1500", "0.4500", "0.5700", "0.6000"]
    assert cells(text, "per atom") == ["-0.0500", "0.1500", "0.1900", "0.2000"]
    assert "2 conformers of 1 molecules" in text
    assert "grid level 5" in text
    assert "50.0% of the median" in text


def test_noise_of_a_file_without_a_conformer_of_the_set_is_refused(describe, merge, tmp_path):
    path = tmp_path / "tight.parquet"
    tables.write(path, [water(merge, bond=1.3)], schemas.REFERENCES, {})
    with pytest.raises(ProbeError, match="no conformer of the set"):
        describe.noise(path, pl.DataFrame([water(merge)]), np.ones((1, 1)))


def test_relative_energies_are_compared_within_a_molecule_and_by_geometry(describe):
    smiles = np.array([name for n in range(20) for name in ["C" * (n + 1)] * 2])
    reference = np.array([energy for n in range(20) for energy in (n, n + 1 + n / 10)])
    reference = reference / schemas.KCAL_PER_EV
    backbone = reference + np.tile([0.0, 0.5], 20) / schemas.KCAL_PER_EV + 7.0
    none = np.zeros((1, 1))
    samples = [Sample(none, None, np.array([6]), energy) for energy in backbone.tolist()]
    data = Labelled(samples, smiles, np.zeros(40, dtype=np.int64), reference)
    frame = pl.DataFrame({"geometry": ["aimnet2-relaxed", "mmff94"] * 20})
    text = describe.relative(LabelledSet(data, smiles, None, {}), frame)
    assert "20 pairs of conformers of 20 molecules" in text
    expected = ["20", "1.95", "0.50", "0.50", "–", "–", "1.000", "100.0%"]
    assert cells(text, "`aimnet2-b973c`") == expected
    assert cells(text, "mmff94 / aimnet2-relaxed") == expected


HYDROGEN_EV, CARBON_EV = 0.5, -2.0


@pytest.fixture
def alkanes():
    """Forty chains with an exact shift per element and random features, [N, 4]."""
    random = np.random.default_rng(0)
    samples, energies, smiles = [], [], []
    for length in range(1, 41):
        numbers = np.array([6] * length + [1] * (2 * length + 2), np.uint8)
        embedding = random.normal(size=(len(numbers), 4))
        backbone = float(random.normal())
        samples.append(Sample(embedding, None, numbers, backbone))
        shift = CARBON_EV * length + HYDROGEN_EV * (2 * length + 2)
        energies.append(backbone + shift)
        smiles.append("C" * length)
    charges = np.zeros(len(samples), dtype=np.int64)
    return Labelled(samples, np.array(smiles), charges, np.array(energies))


def test_held_out_errors_are_those_that_the_shift_does_not_explain(figures, alkanes):
    assert np.abs(figures.held_out_errors(alkanes)).max() < 0.05
    off = alkanes.energy_ev.copy()
    off[7] += 10 / schemas.KCAL_PER_EV
    one_off = Labelled(alkanes.samples, alkanes.smiles, alkanes.charges, off)
    errors = figures.held_out_errors(one_off)
    assert errors.shape == (len(figures.SEEDS), 40)
    np.testing.assert_allclose(errors[:, 7], 10, atol=0.1)
    assert np.abs(np.delete(errors, 7, axis=1)).max() < 0.1
    np.testing.assert_allclose(figures.fitted_errors(one_off)[0, 7], 10, atol=0.1)


def test_the_energies_of_another_network_take_the_place_of_the_backbones(alkanes):
    energies = np.arange(40.0)
    other = alkanes.by_another(energies)
    rows = np.arange(40)
    np.testing.assert_array_equal(other.differences(rows), alkanes.energy_ev - energies)


def test_no_molecule_is_fitted_to_and_held_out_and_each_is_held_out_once(figures):
    smiles = np.array(["C" * (1 + n // 3) for n in range(30)])
    folds = list(figures.cut(smiles, 1))
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(30))
    for fit, held in folds:
        assert not set(smiles[fit]) & set(smiles[held])


def test_magnitudes_are_means_over_seeds_of_what_is_known(figures):
    errors = np.array([[1.0, -2.0, 3.0, np.nan], [1.0, -4.0, 9.0, np.nan]])
    found = figures.Magnitudes.of(errors)
    assert (found.n, found.median) == (3, 3.0)
    assert found.mean == pytest.approx((2 + 14 / 3) / 2)
    assert found.p90 is None
    many = figures.Magnitudes.of(np.arange(301.0)[None])
    assert (many.p90, many.p99) == (270.0, 297.0)


def test_a_correction_is_judged_by_what_it_leaves(figures):
    error = np.array([1.0, -2.0, 3.0])
    perfect = figures.correction(error, error, error)
    assert (perfect.r2, perfect.before, perfect.after) == (1.0, 2.0, 0.0)
    nothing = figures.correction(error, error, np.full(3, error.mean()))
    assert nothing.r2 == pytest.approx(0.0)


def test_ridge_and_process_find_an_error_that_the_embeddings_hold(figures, alkanes):
    summed = np.array([sample.embedding[:, 0].sum() for sample in alkanes.samples])
    energy = alkanes.energy_ev + summed / schemas.KCAL_PER_EV
    told = Labelled(alkanes.samples, alkanes.smiles, alkanes.charges, energy)
    found = figures.corrections(told)
    assert set(found) == {"ridge", "process"}
    assert all(len(seeds) == len(figures.SEEDS) for seeds in found.values())
    assert min(seed.r2 for seed in found["ridge"]) > 0.9
    assert min(seed.r2 for seed in found["process"]) > 0.3
    assert all(seed.after < seed.before for seeds in found.values() for seed in seeds)


def test_pairs_are_conformers_of_one_molecule_from_the_lower_to_the_higher(figures):
    reference = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    pair = figures.pairs(["C", "C", "C", "N", "O"], reference)
    assert pair.tolist() == [[1, 2], [1, 0], [2, 0]]
    energies = np.array([30.0, 10.0, 20.0, 0.0, 0.0])
    np.testing.assert_allclose(
        figures.between(pair, energies), np.array([10, 20, 10]) * schemas.KCAL_PER_EV
    )
    assert figures.pairs(["C", "N"], reference[:2]).shape == (0, 2)
