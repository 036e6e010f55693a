"""AIMNet's training files as libraries."""

import h5py
import numpy as np
import polars as pl
import pytest
from aimnet.data import SizeGroupedDataset

from probe import schemas, tables
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import hdf5_rows, plan
from probe.triage import exports

WATER = [[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]


def groups(**changes):
    """A hydroxide and two hydrogens of two atoms, and a water of three, as AIMNet keeps them."""
    two = {
        "coord": np.array([[[0, 0, 0], [0, 0, z]] for z in (0.97, 0.74, 0.8)], dtype=np.float32),
        "numbers": np.array([[8, 1], [1, 1], [1, 1]]),
        "charge": np.array([-1.0, 0.0, 0.0], dtype=np.float32),
        "energy": np.zeros(3),
    }
    three = {"coord": np.array([WATER]), "numbers": np.array([[8, 1, 1]]), "charge": np.zeros(1)}
    return {"002": two | changes, "003": three}


def write(path, content):
    with h5py.File(path, "w") as file:
        for group, arrays in content.items():
            for name, values in arrays.items():
                file.create_dataset(f"{group}/{name}", data=values)
    return path


def ingested(path, folder, shard_size=10, **options):
    made = plan.current("lib", path, shard_size, folder / "plan.json")
    kept, rejected = [], []
    for index, shard in enumerate(made.shards):
        outs = folder / "c.parquet", folder / "r.parquet"
        assert sum(ingest.ingest_shard(made, index, *outs, Options(**options))) == shard.count
        kept += tables.read(outs[0], schemas.CONFORMERS).to_pylist()
        rejected += tables.read(outs[1], schemas.REJECTED).to_pylist()
    return kept, rejected


@pytest.mark.parametrize("shard_size", [1, 3, 10])
def test_conformers_are_counted_through_the_groups(tmp_path, shard_size):
    path = write(tmp_path / "lib.h5", groups())
    kept, rejected = ingested(path, tmp_path, shard_size)
    assert rejected == []
    assert [row["source"] for row in kept] == [f"lib.h5:{n}" for n in (1, 2, 3, 4)]
    assert [row["molecule_id"] for row in kept] == [f"lib-{n}" for n in (1, 2, 3, 4)]
    assert [row["charge"] for row in kept] == [-1, 0, 0, 0]
    assert [row["smiles"] for row in kept] == ["[OH-]", "[H][H]", "[H][H]", "O"]
    assert kept[3]["positions"] == np.ravel(WATER).tolist()


def test_a_group_may_hold_names_smiles_and_multiplicities(tmp_path):
    given = groups(
        mol_id=np.array([b"hydroxide", "Wässer".encode(), b""], dtype="S12"),
        smiles=np.array([b"[OH-]", b"[H][H]", b"[H][H]"]),
        mult=np.array([1.0, 3.0, 1.0]),
    )
    kept, _ = ingested(write(tmp_path / "lib.hdf5", given), tmp_path)
    assert [row["molecule_id"] for row in kept] == ["hydroxide", "Wässer", "lib-3", "lib-4"]
    assert [row["multiplicity"] for row in kept] == [1, 3, 1, 1]


def test_what_is_exported_for_aimnet_comes_back(tmp_path):
    path = write(tmp_path / "lib.h5", groups())
    kept, _ = ingested(path, tmp_path)
    exports.write_aimnet(pl.DataFrame(kept).with_columns(p_unreliable=0.5), tmp_path / "out.h5")
    again, _ = ingested(tmp_path / "out.h5", tmp_path)
    assert [row["conformer_id"] for row in again] == [row["conformer_id"] for row in kept]
    assert [row["molecule_id"] for row in again] == [row["molecule_id"] for row in kept]


def test_what_aimnet_writes_is_read(tmp_path):
    content = {2: groups()["002"], 3: groups()["003"] | {"energy": np.zeros(1)}}
    SizeGroupedDataset(content).save_h5(str(tmp_path / "lib.h5"))
    assert hdf5_rows.n_rows(tmp_path / "lib.h5") == 4


def test_a_damaged_conformer_is_a_reject_of_its_own(tmp_path):
    given = groups()
    given["002"]["coord"][1] = np.nan
    given["002"]["charge"][0] = 0.5
    given["002"]["numbers"][2] = 0
    kept, rejected = ingested(write(tmp_path / "lib.h5", given), tmp_path)
    assert [row["source"] for row in kept] == ["lib.h5:4"]
    assert [row["reason"] for row in rejected] == [
        "charge is '0.5', not a whole number",
        "atom 1 has impossible coordinates (nan, nan, nan)",
        "atom 1 has atomic number 0: not an element",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"002": {"numbers": [[1, 1]], "charge": [0]}}, "/002 has no dataset coord"),
        (groups(numbers=[[1, 1]]), r"/002 has numbers of shape \(1, 2\) beside coord"),
        (groups(charge=[0.0]), r"/002 has charge of shape \(1,\) for 3 conformers"),
        (groups(coord=np.zeros((3, 6))), r"/002 has coord of shape \(3, 6\), not"),
    ],
)
def test_a_file_of_another_layout_is_one_line(tmp_path, content, message):
    path = write(tmp_path / "lib.h5", content)
    with pytest.raises(ProbeError, match=message) as caught:
        plan.current("lib", path, 10, tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_a_dataset_outside_of_a_group_is_one_line(tmp_path):
    with h5py.File(tmp_path / "lib.h5", "w") as file:
        file.create_dataset("coord", data=np.zeros((1, 2, 3)))
    with pytest.raises(ProbeError, match="/coord is a dataset outside of a group"):
        plan.current("lib", tmp_path / "lib.h5", 10, tmp_path / "plan.json")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda _: b"CCO"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = write(tmp_path / "lib.h5", groups())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ProbeError, match="not a readable HDF5 file") as caught:
        plan.current("lib", path, 10, tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_a_file_of_no_groups_is_an_empty_library(tmp_path):
    assert ingested(write(tmp_path / "lib.h5", {}), tmp_path) == ([], [])
