"""Selecting conformers: by list, element, text, probability and place on the map."""

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from rdkit import Chem
from report_library import FORMULA, HOSTILE, library

from probe import schemas, tables
from probe.cli import main
from probe.errors import ProbeError
from probe.library import plan
from probe.triage import select
from probe.triage.select import Query


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A triaged library of 61 molecules with a map: the row number is the place."""
    folder = tmp_path_factory.mktemp("select") / "triage"
    made = library()
    inputs = made.write(folder.parent, n_shards=2)
    (folder / "conformers").mkdir()
    for index, path in enumerate(inputs.conformers):
        path.rename(folder / "conformers" / f"{index:05d}.parquet")
    source = folder / "demo.smi"
    source.write_text("\n".join(row["smiles"] for row in made.conformers))
    plan.current("demo", source, 31, folder / "plan.json")
    ids = listed(folder)["conformer_id"]
    places = [{"conformer_id": i, "x": float(n), "y": -float(n)} for n, i in enumerate(ids)]
    tables.write(folder / "map.parquet", places[:-1], schemas.MAP, {})
    return folder


def listed(folder):
    lists = [
        tables.frame(folder / f"{n}.parquet", schemas.TRIAGED) for n in ("accept", "recompute")
    ]
    return pl.concat(lists)


def test_no_condition_selects_all(results):
    found = select.select(results, Query())
    assert found["conformer_id"].to_list() == listed(results)["conformer_id"].to_list()
    assert found.columns == schemas.SELECTED.names


@pytest.mark.parametrize("verdict", ["accept", "recompute"])
def test_a_verdict_selects_its_list(results, verdict):
    found = select.select(results, Query(verdict=verdict))
    assert found.height == tables.frame(results / f"{verdict}.parquet", schemas.TRIAGED).height
    assert set(found["verdict"]) == {verdict}


def test_every_element_must_be_held(results):
    found = select.select(results, Query(elements=("cl", "Br")))
    assert found["smiles"].to_list() == [Chem.CanonSmiles("O=C(c1ccc(Cl)cc1)c1ccc(Br)cc1")]


def test_text_is_literal_and_of_any_case(results):
    found = select.select(results, Query(text="SRC=X ONERROR=ALERT(1)"))
    assert found["molecule_id"].to_list() == [HOSTILE]
    assert select.select(results, Query(text=".*")).is_empty()


def test_bounds_of_p_are_included_and_leave_out_what_has_none(results):
    p = select.select(results, Query())["p_unreliable"]
    middle = float(p.drop_nulls().sort()[30])
    above = select.select(results, Query(p_min=middle))
    below = select.select(results, Query(p_max=middle))
    assert above["p_unreliable"].min() == below["p_unreliable"].max() == middle
    assert above.height == (p >= middle).sum()
    assert below.height == (p <= middle).sum()
    assert p.null_count() == 1


def test_a_box_selects_by_place(results):
    found = select.select(results, Query(box=(7.0, 3.0, -5.0, -100.0)))
    assert found["x"].to_list() == [5.0, 6.0, 7.0]
    np.testing.assert_array_equal(found["y"], -found["x"].to_numpy())


def test_without_a_map_a_box_is_an_error_and_nothing_else_is(results, tmp_path):
    for name in ("accept", "recompute"):
        (tmp_path / f"{name}.parquet").symlink_to(results / f"{name}.parquet")
    assert select.select(tmp_path, Query(verdict="accept"))["x"].null_count() > 0
    with pytest.raises(ProbeError, match="make the report"):
        select.select(tmp_path, Query(box=(0, 1, 0, 1)))


def test_an_unknown_element_names_the_nearest(results):
    with pytest.raises(ProbeError, match="Clx: no such element; did you mean Cl"):
        select.select(results, Query(elements=("Clx",)))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".sdf"])
def test_each_format_holds_the_same_conformers(results, tmp_path, suffix):
    out = tmp_path / f"ids{suffix}"
    rows = select.select(results, Query(elements=("I",)))
    select.write(rows, results, out)
    if suffix == ".csv":
        found = pl.read_csv(out)["conformer_id"].to_list()
    elif suffix == ".parquet":
        found = tables.frame(out, schemas.SELECTED)["conformer_id"].to_list()
    else:
        found = [mol.GetProp("conformer_id") for mol in Chem.SDMolSupplier(str(out))]
    assert found == rows["conformer_id"].to_list()
    assert len(found) == 4


def test_a_name_is_no_formula_in_a_spreadsheet(results, tmp_path):
    rows = select.select(results, Query())
    assert FORMULA in rows["molecule_id"].to_list()
    select.write(rows, results, tmp_path / "ids.csv")
    found = pl.read_csv(tmp_path / "ids.csv")
    same = [name.removeprefix("'") for name in found["molecule_id"]]
    assert same == rows["molecule_id"].to_list()
    assert f"'{FORMULA}" in found["molecule_id"].to_list()
    for column in ("smiles", "energy_ev", "p_unreliable", "x"):
        assert found[column].to_list() == rows[column].to_list()


def test_an_unknown_suffix_names_the_known(results, tmp_path):
    with pytest.raises(ProbeError, match=r"unknown suffix \.txt; known are \.csv \.parquet"):
        select.write(select.select(results, Query()), results, tmp_path / "ids.txt")


def test_the_command_writes_or_prints(results, tmp_path):
    out = tmp_path / "ids.csv"
    said = run("select", results, "--element", "I", "--verdict", "recompute", "--out", out)
    n = len(run("select", results, "--element", "I", "--verdict", "recompute").split())
    assert said == f"{out}: {n} conformers\n"
    assert pl.read_csv(out).height == n > 0


def test_a_broken_box_is_one_line(results):
    ended = CliRunner().invoke(main, ["select", str(results), "--box", "1,2,3"])
    assert ended.exit_code == 2
    assert "'1,2,3' is not four numbers, as in 1.5,3,-2,0.5" in ended.output
    assert len(ended.output.splitlines()) == 1


def run(*arguments):
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_a_box_may_begin_with_a_minus(results):
    assert len(run("select", results, "--box", "-1,2,-2,0").split()) == 3
