"""Files of the LoQI release of ChEMBL3D as libraries.

data/loqi_h.pt was written by PyTorch-Geometric 2.8.1 as the release's own scripts do it (graphs
collated, data and slices saved by torch.save, RDKit molecules within), from three small molecules.
"""

import os

import numpy as np
import pytest
import torch
from repository import ROOT

from probe import schemas, tables
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import graph_rows, plan

RELEASE = ROOT / "tests/data/loqi_h.pt"


def planned(path, tmp_path, pickles="trust"):
    return plan.current("lib", path, 2, tmp_path / "plan.json", pickles=pickles)


def resaved(changes):
    """The release's file with other contents, which graph_rows' own containers hold."""
    with torch.serialization.safe_globals(graph_rows.ALLOWED):
        data, slices = torch.load(RELEASE, weights_only=True)
    held = data.state["_store"].state["_mapping"]
    changes(held, slices)
    return held, slices


def test_it_is_refused_unless_it_is_trusted(tmp_path):
    with pytest.raises(ProbeError, match="is a pickle, which could run code") as caught:
        planned(RELEASE, tmp_path, "refuse")
    assert "\n" not in str(caught.value)
    made = planned(RELEASE, tmp_path)
    with pytest.raises(ProbeError, match="--pickles trust"):
        ingest.ingest_shard(made, 0, tmp_path / "c.parquet", tmp_path / "r.parquet", Options())


def test_the_molecules_of_the_release_are_read(tmp_path):
    made = planned(RELEASE, tmp_path)
    assert made.n_records == 3
    found = []
    for index in range(len(made.shards)):
        outs = tmp_path / "c.parquet", tmp_path / "r.parquet"
        ingest.ingest_shard(made, index, *outs, Options(pickles="trust"))
        assert tables.read(outs[1], schemas.REJECTED).num_rows == 0
        found += tables.read(outs[0], schemas.CONFORMERS).to_pylist()
    said = [(row["molecule_id"], row["smiles"], row["charge"], row["n_atoms"]) for row in found]
    assert said == [
        ("CHEMBL17564", "CO", 0, 6),
        ("CHEMBL43280", "CC(=O)[O-]", -1, 7),
        ("CHEMBL14688_1", "C[NH3+]", 1, 8),
    ]
    positions = np.array(found[0]["positions"]).reshape(-1, 3)
    assert np.linalg.norm(positions[1] - positions[0]) == pytest.approx(1.4, abs=0.05)


def test_a_file_that_asks_for_code_is_refused_even_when_trusted(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    path = tmp_path / "evil.pt"
    torch.save((Evil(), {}), path)
    with pytest.raises(ProbeError, match=r"it asks for posix\.system") as caught:
        planned(path, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .pt file of the LoQI release"),
        (b"CCO ethanol\n", "not a .pt file of the LoQI release"),
        (RELEASE.read_bytes()[:4000], "not a .pt file of the LoQI release"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "lib.pt"
    path.write_bytes(content)
    with pytest.raises(ProbeError, match=message) as caught:
        planned(path, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [torch.zeros(3), {"x": 1}, (1, 2), [torch.zeros(1)] * 2])
def test_a_file_of_another_layout_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "lib.pt")
    with pytest.raises(ProbeError, match="not laid out as the LoQI release"):
        planned(tmp_path / "lib.pt", tmp_path)


def test_atoms_that_are_not_those_of_the_smiles_are_rejects(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_rows, "ELEMENTS", np.array([1, 6, 7, 8, 9]))
    made = planned(RELEASE, tmp_path)
    outs = tmp_path / "c.parquet", tmp_path / "r.parquet"
    assert ingest.ingest_shard(made, 0, *outs, Options(pickles="trust")) == (0, 2)
    reasons = tables.read(outs[1], schemas.REJECTED)["reason"].to_pylist()
    assert all(reason.startswith("its SMILES is not of its atoms") for reason in reasons)


@pytest.mark.parametrize("key", ["x", "pos", "charges", "smiles"])
def test_slices_that_do_not_fit_are_one_line(tmp_path, monkeypatch, key):
    def loaded(*_, **__):
        def cut(held, _):
            held[key] = held[key][:-1]

        held, slices = resaved(cut)
        store, data = graph_rows._Store(), graph_rows._Container()
        store.state, data.state = {"_mapping": held}, {"_store": store}
        return data, slices

    monkeypatch.setattr(graph_rows, "_unpickled", loaded)
    with pytest.raises(ProbeError, match="its atoms and its slices do not agree"):
        planned(RELEASE, tmp_path)
