"""The measurement with kills sees what a kill could spoil."""

import importlib.util
import subprocess
import sys

import polars as pl
import pytest
from repository import ROOT


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", ROOT / "bench/kills.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def screened(tmp_path, kills):
    """Two conformers, one in each list; writes the second list anew with what is given."""
    folder = tmp_path / "results/lib"
    folder.mkdir(parents=True)

    def write(name="recompute", **changed):
        row = dict.fromkeys(kills.SAID, name) | {"energy_ev": -1000.0, "p_unreliable": 0.25}
        pl.DataFrame([row | changed]).write_parquet(folder / f"{name}.parquet")

    write("accept")
    write()
    return write


def test_the_same_is_the_same_within_tolerance(kills, screened, tmp_path):
    expected = kills.answers(tmp_path)
    assert kills.differences(tmp_path, expected) == []
    screened(energy_ev=-1000.00005, p_unreliable=0.25005)
    assert kills.differences(tmp_path, expected) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"verdict": "accept"}, "verdict"),
        ({"reason": "another"}, "reason"),
        ({"conformer_id": "zzz"}, "conformer_id"),
        ({"energy_ev": -1000.001}, "energy_ev by"),
        ({"p_unreliable": 0.2502}, "p_unreliable by"),
    ],
)
def test_another_answer_is_seen(kills, screened, tmp_path, changed, said):
    expected = kills.answers(tmp_path)
    screened(**changed)
    assert kills.differences(tmp_path, expected)[0].startswith(said)


@pytest.mark.parametrize(
    "left", ["cache/ab/.part-1.parquet.x.tmp", "results/lib/.a.parts/x", ".snakemake/locks/0.lock"]
)
def test_what_is_left_is_seen(kills, screened, tmp_path, left):
    del screened
    (tmp_path / left).parent.mkdir(parents=True)
    (tmp_path / left).touch()
    (said,) = kills.differences(tmp_path, kills.answers(tmp_path))
    assert said.startswith("left: ")
    assert said.removeprefix("left: ") in left


def test_who_survives_is_seen(kills, tmp_path):
    words = (sys.executable, "-c", "input()")
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE) as other:
        found = kills.survivors(tmp_path)
        other.communicate(b"\n")
    (said,) = found
    assert "input()" in said
    assert kills.survivors(tmp_path) == []
