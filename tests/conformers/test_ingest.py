import gzip
import json
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from molfiles import METHANOL

from probe import progress, schemas, tables
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import plan

SMILES = """smiles name
OCC ethanol
CN(C)(C)(C)C pentamethylamine
[Na+].CC(=O)[O-] acetate
CC(O)F open
CCO "ethyl alcohol"
C* dummy
C(C cut
C[NH3+] methylammonium
"""

XYZ = """2
name=hydrogen
H 0 0 0
H 0 0 0.74
2
charge=1 name=parity
H 0 0 0
H 0 0 0.74
two
name=damaged
H 0 0 0
2
name=hydrogen-again
H 0 0 0
H -0.0 0 0.740001
5
name=short
H 0 0 0
"""

LIBRARIES = {
    "lib.smi": (SMILES, 8, 3),
    "lib.csv": ('smiles,name\nCCO,"a\nb"\n"open,c\n,d\nCC,e\nC(C,f\n', 5, 3),
    "lib.sdf": (
        f"{METHANOL}$$$$\nnothing\n\n\n$$$$\n$$$$\n{METHANOL.replace(' O ', ' H ')}"
        f"$$$$\n{METHANOL}$$$$\n{METHANOL[:200]}",
        6,
        4,
    ),
    "lib.xyz": (XYZ, 5, 3),
}


@pytest.fixture(params=sorted(LIBRARIES))
def library(request, tmp_path):
    """A library file with records of every kind, how many, and how many to be rejected."""
    content, n_records, n_rejected = LIBRARIES[request.param]
    path = tmp_path / request.param
    path.write_text(content)
    return path, n_records, n_rejected


def ingested(path, folder, shard_size=100, options=Options(), jobs=1):  # noqa: B008
    """Conformers and rejects of all shards of ``path``, in order."""
    folder.mkdir(exist_ok=True)
    made = plan.current("lib", path, shard_size, folder / "plan.json")
    parts = []
    for shard in range(len(made.shards)):
        outputs = folder / f"c{shard}.parquet", folder / f"r{shard}.parquet"
        counts = ingest.ingest_shard(made, shard, *outputs, options, jobs=jobs)
        record = tables.provenance(outputs[0])
        assert counts == (record["n_ingested"], record["n_rejected"])
        assert sum(counts) == record["n_records"] == made.shards[shard].count
        parts.append(outputs)
    conformers = pa.concat_tables([tables.read(path, schemas.CONFORMERS) for path, _ in parts])
    rejected = pa.concat_tables([tables.read(path, schemas.REJECTED) for _, path in parts])
    return conformers.to_pylist(), rejected.to_pylist()


def merged(rows):
    frame = pl.DataFrame(pa.Table.from_pylist(rows, schema=schemas.CONFORMERS))
    return ingest.merge_duplicates(frame).to_dicts()


def test_nothing_is_lost(library, tmp_path):
    path, n_records, n_rejected = library
    conformers, rejected = ingested(path, tmp_path / "out")
    sources = [source for row in conformers for source in row["source"].split("; ")]
    assert len(rejected) == n_rejected
    assert sorted(sources + [row["source"] for row in rejected]) == [
        f"{path.name}:{number}" for number in range(1, n_records + 1)
    ]
    assert all(row["reason"] and row["molecule_id"] for row in rejected)


@pytest.mark.parametrize("shard_size", [1, 2, 3])
def test_sharding_changes_nothing(library, tmp_path, shard_size):
    path, *_ = library
    whole, rejected = ingested(path, tmp_path / "whole")
    parts, rejected_parts = ingested(path, tmp_path / "parts", shard_size)
    assert merged(parts) == whole
    assert rejected_parts == rejected


def test_compression_changes_only_the_file_name(library, tmp_path):
    path, *_ = library
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain = ingested(path, tmp_path / "plain", 2)
    found = ingested(packed, tmp_path / "packed", 2)
    assert json.loads(json.dumps(found).replace(packed.name, path.name)) == [*plain]


def test_crlf_changes_nothing(library, tmp_path):
    path, *_ = library
    unix = ingested(path, tmp_path / "unix", 2)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert ingested(path, tmp_path / "windows", 2) == unix


def test_the_order_of_records_changes_no_conformer(tmp_path):
    forward, backward = tmp_path / "lib.smi", tmp_path / "back.smi"
    header, *lines = SMILES.splitlines()
    forward.write_text(SMILES)
    backward.write_text("\n".join([header, *lines[::-1]]))
    one, _ = ingested(forward, tmp_path / "one")
    two, _ = ingested(backward, tmp_path / "two")
    ids = [row["conformer_id"] for row in one]
    assert sorted(ids) == sorted(row["conformer_id"] for row in two)
    assert len(ids) == 4


def test_the_number_of_processes_changes_nothing(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text(SMILES * 3)
    assert ingested(path, tmp_path / "two", jobs=2) == ingested(path, tmp_path / "one", jobs=1)


def test_duplicates_keep_the_first_name_and_all_sources(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text(SMILES)
    conformers, _ = ingested(path, tmp_path / "out")
    assert conformers[0]["molecule_id"] == "ethanol"
    assert conformers[0]["source"] == "lib.smi:1; lib.smi:5"
    counts = tables.provenance(tmp_path / "out" / "c0.parquet")
    assert (counts["n_ingested"], counts["n_conformers"]) == (5, 4)
    assert (counts["library"], counts["shard"], counts["options"]["seed"]) == ("lib", 0, 42)


def test_merging_keeps_order_of_first_appearance_and_columns():
    frame = pl.DataFrame(
        {
            "source": ["a:1", "a:2", "b:1", "b:2; b:3"],
            "conformer_id": ["z", "y", "z", "z"],
            "molecule_id": ["aspirin", "water", "aspirin", "ASA"],
            "synonyms": [None, None, ["acetylsalicylic acid", "aspirin"], None],
            "p_unreliable": [0.1, 0.2, 0.3, 0.4],
        }
    )
    assert ingest.merge_duplicates(frame).rows() == [
        ("a:1; b:1; b:2; b:3", "z", "aspirin", ["ASA", "acetylsalicylic acid"], 0.1),
        ("a:2", "y", "water", None, 0.2),
    ]


def test_a_repeated_conformer_keeps_every_name(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text("CCO first\nOCC second\nC\nCCO first\nC(O)C third\nC second\n")
    ethanol, methane = ingested(path, tmp_path / "out")[0]
    assert (ethanol["molecule_id"], ethanol["synonyms"]) == ("first", ["second", "third"])
    assert methane["synonyms"] == ["second"]


def test_what_was_ingested_is_a_library_of_the_same_conformers(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text(SMILES)
    first, _ = ingested(path, tmp_path / "out")
    again, rejected = ingested(tmp_path / "out" / "c0.parquet", tmp_path / "again")
    assert rejected == []
    same = [name for name in schemas.CONFORMERS.names if name not in ("source", "synonyms")]
    assert [[row[name] for name in same] for row in again] == [
        [row[name] for name in same] for row in first
    ]
    assert again[0]["source"] == "c0.parquet:1"


def test_labelled_conformers_are_a_library(tmp_path):
    path = tmp_path / "labels.parquet"
    label = {"smiles": "[H][H]", "source": "here", "geometry": "relaxed", "numbers": [1, 1]}
    numbers = {"positions": [0.0, 0.0, 0.0, 0.0, 0.0, 0.74], "charge": 0, "energy_ev": -31.8}
    pq.write_table(pa.Table.from_pylist([{**label, **numbers}], schema=schemas.LABELS), path)
    (row,), _ = ingested(path, tmp_path / "out")
    assert (row["smiles"], row["charge"], row["multiplicity"]) == ("[H][H]", 0, 1)
    assert row["molecule_id"] == "labels-1"


def test_an_empty_library_ends_in_empty_tables(tmp_path):
    path = tmp_path / "lib.csv"
    path.write_text("")
    assert ingested(path, tmp_path / "out") == ([], [])


def test_options_reach_the_conformers(tmp_path):
    path = tmp_path / "lib.csv"
    path.write_text("structure,id,q\nCCO.O,a,0\nC[NH3+],b,0\n")
    options = Options(
        mixtures="reject", smiles_column="structure", name_column="id", charge_tag="q"
    )
    _, rejected = ingested(path, tmp_path / "out", options=options)
    assert [(row["molecule_id"], row["reason"].split(",")[0]) for row in rejected] == [
        ("a", "mixture of 2 molecules"),
        ("b", "tag says 0"),
    ]


def test_a_library_that_changed_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text(SMILES)
    made = plan.current("lib", path, 100, tmp_path / "plan.json")
    path.write_text(SMILES + "CC ethane\n")
    outputs = tmp_path / "c.parquet", tmp_path / "r.parquet"
    with pytest.raises(ProbeError, match="changed after it was counted"):
        ingest.ingest_shard(made, 0, *outputs, Options())
    assert not any(output.exists() for output in outputs)


def test_a_shard_with_fewer_records_than_planned_stops_the_run(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text("C a\nCC b\n")
    made = plan.current("lib", path, 100, tmp_path / "plan.json")
    sources = (replace(made.sources[0], n_records=3),)
    wrong = replace(made, shards=(plan.Shard(0, 3, None),), sources=sources)
    with pytest.raises(ProbeError, match="should hold 3 records, but 2 were ingested and 0"):
        ingest.ingest_shard(wrong, 0, tmp_path / "c.parquet", tmp_path / "r.parquet", Options())


def test_names_by_number_are_said(tmp_path, capfd):
    path = tmp_path / "lib.csv"
    path.write_text("smiles,id\nCCO,a\n")
    (row,), _ = ingested(path, tmp_path / "out")
    assert row["molecule_id"] == "lib-1"
    assert "no column name, so records are named by their number" in capfd.readouterr().err


def test_progress_goes_to_stderr_in_plain_lines(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    path = tmp_path / "lib.smi"
    path.write_text(SMILES)
    ingested(path, tmp_path / "out")
    out, err = capfd.readouterr()
    assert out == ""
    assert "\nlib shard 0: 8 of 8 records, " in err
    assert err.count("\n") == 8


@pytest.mark.parametrize("held", [1, 2, 3])
def test_what_comes_out_does_not_depend_on_how_many_rows_are_held(tmp_path, monkeypatch, held):
    path = tmp_path / "lib.xyz"
    hydrogen = "2\nname={}\nH 0 0 0\nH 0 0 {}\n"
    lengths = (0.74, 0.75, 0.74, 0.76, 0.75, 0.74)
    path.write_text("".join(hydrogen.format(f"h{n}", d) for n, d in enumerate(lengths)))
    expected = ingested(path, tmp_path / "whole")
    assert [row["source"] for row in expected[0]] == [
        "lib.xyz:1; lib.xyz:3; lib.xyz:6",
        "lib.xyz:2; lib.xyz:5",
        "lib.xyz:4",
    ]
    monkeypatch.setattr(ingest, "HELD", held)
    assert ingested(path, tmp_path / "pieces") == expected
