import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probe.errors import ProbeError
from probe.library import plan, records

WATER = """3
charge=0
O 0.0 0.0 0.1173
H 0.0 0.7572 -0.4692
H 0.0 -0.7572 -0.4692
"""

COMPRESS = {
    ".gz": gzip.compress,
    ".zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}

LIBRARIES = {
    "a.smi": "\ufeffsmiles name\n# comment\nCCO ethanol\n\nCC ethane\r\nbroken(\nC methane\nN",
    "a.csv": 'name,smiles\n"two\nlines",CCO\r\n\nethane,CC\n"quote, never closed,C\nx,N\ny,O\n',
    "a.tsv": "smiles\tname\nCCO\ta\nCC\tb, c\nC\td\nN\te\nO\tf\n",
    "a.sdf": "one\n\n\nrest\n$$$$\n\n\n\n$$$$\r\n$$$$\nfour\n$$$$ \nfive, unfinished\n",
    "a.xyz": f"{WATER}\n{WATER}2\nshort\nH 0 0 0\n2 atoms\nfoo\nH 0 0 0\n{WATER}",
}


def texts(path, shard):
    return list(records.shard(path, shard.first, shard.count, shard.offset))


@pytest.fixture(params=sorted(LIBRARIES))
def library(request, tmp_path):
    path = tmp_path / request.param
    path.write_bytes(LIBRARIES[request.param].encode())
    return path


def test_every_format_counts_its_five_records(library, tmp_path):
    made = plan.current("lib", library, 100, tmp_path / "plan.json")
    assert made.n_records == 5
    assert [(shard.first, shard.count) for shard in made.shards] == [(0, 5)]


@pytest.mark.parametrize("shard_size", [1, 2, 3, 5])
def test_reading_shards_by_offset_equals_reading_the_whole_file(library, tmp_path, shard_size):
    made = plan.current("lib", library, shard_size, tmp_path / "plan.json")
    whole = list(records.shard(library, 0, made.n_records, None))
    assert [number for number, _ in whole] == [1, 2, 3, 4, 5]
    assert [item for shard in made.shards for item in texts(library, shard)] == whole
    assert all(shard.offset is not None for shard in made.shards)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_library_holds_the_same_records(library, tmp_path, suffix):
    packed = tmp_path / f"{library.name}{suffix}"
    packed.write_bytes(COMPRESS[suffix](library.read_bytes()))
    made = plan.current("lib", packed, 2, tmp_path / "plan.json")
    assert [shard.offset for shard in made.shards] == [None, None, None]
    whole = list(records.shard(library, 0, 5, None))
    assert [item for shard in made.shards for item in texts(packed, shard)] == whole


def test_an_offset_spares_what_comes_before(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("CCO a\nCC b\nC c\n")
    shard = plan.current("lib", path, 2, tmp_path / "plan.json").shards[1]
    path.write_text("\0" * shard.offset + "C c\n")
    assert texts(path, shard) == [(3, "C c\n")]


def test_the_header_of_a_smiles_file_is_no_record_but_a_later_one_is(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("SMILES id\nC a\nsmiles name\n")
    made = plan.current("lib", path, 1, tmp_path / "plan.json")
    assert [texts(path, shard) for shard in made.shards] == [[(1, "C a\n")], [(2, "smiles name\n")]]


def test_parquet_shards_cross_row_groups(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"numbers": [2], "positions": [0.0, 0.0, float(z)], "charge": 0} for z in range(7)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    made = plan.current("lib", path, 3, tmp_path / "plan.json")
    read = [texts(path, shard) for shard in made.shards]
    assert [[number for number, _ in shard] for shard in read] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [row for shard in read for _, row in shard] == rows


@pytest.mark.parametrize("name", ["e.smi", "e.csv", "e.sdf", "e.xyz", "e.smi.gz"])
def test_an_empty_library_has_one_shard_of_no_records(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\n\n") if name.endswith(".gz") else b"\n\n")
    made = plan.current("lib", path, 10, tmp_path / "plan.json")
    assert (made.n_records, made.shards) == (0, (plan.Shard(0, 0, None),))
    assert texts(path, made.shards[0]) == []


def test_files_without_records_are_named(tmp_path):
    folder = tmp_path / "lib"
    folder.mkdir()
    for name, text in (("a.smi", "C\n"), ("b.smi", ""), ("c.csv", "smiles,name\n")):
        (folder / name).write_text(text)
    warning = plan.current("lib", folder, 10, tmp_path / "plan.json").warning()
    assert warning.startswith(f"{folder}/b.smi, {folder}/c.csv: no records there; if there should")
    assert plan.current("a", folder / "a.smi", 10, tmp_path / "a.json").warning() is None


def test_of_many_files_without_records_a_few_are_named(tmp_path):
    for n in range(12):
        (tmp_path / f"{n:02}.smi").touch()
    warning = plan.current("lib", tmp_path, 10, tmp_path / "plan.json").warning()
    assert "/09.smi, …: no records" in warning
    assert "10.smi" not in warning


def test_a_current_plan_is_returned_without_counting_or_writing(library, tmp_path, monkeypatch):
    out = tmp_path / "plan.json"
    made = plan.current("lib", library, 2, out)
    written = out.stat()
    monkeypatch.setattr(records, "count", None)
    assert plan.current("lib", library, 2, out) == made == plan.load(out)
    assert (out.stat().st_mtime_ns, out.stat().st_ino) == (written.st_mtime_ns, written.st_ino)


def test_a_plan_is_made_again_when_the_file_or_the_shard_size_changed(library, tmp_path):
    out = tmp_path / "plan.json"
    plan.current("lib", library, 5, out)
    assert len(plan.current("lib", library, 2, out).shards) == 3
    os.utime(library, ns=(0, 0))
    assert plan.current("lib", library, 2, out).sources[0].mtime_ns == 0
    out.write_text('{"shards": []}')
    assert plan.current("lib", library, 2, out).n_records == 5


def test_a_library_that_changed_after_counting_is_refused(library, tmp_path):
    made = plan.current("lib", library, 5, tmp_path / "plan.json")
    plan.check(made.sources)
    with library.open("a") as handle:
        handle.write("\n")
    with pytest.raises(ProbeError, match="changed after it was counted"):
        plan.check(made.sources)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.smil", b"C", "did you mean .smi"),
        ("a", b"C", "unknown suffix .none."),
        ("a.parquet.gz", b"", "unpack it and give the .parquet"),
        ("a.parquet", b"no", "not a readable Parquet file"),
        ("a.smi.gz", gzip.compress(b"CCO ethanol\n" * 500)[:-12], "gzip file is truncated"),
        ("a.smi.gz", b"CCO ethanol\n", "not a readable gzip file"),
        ("a.smi.zst", COMPRESS[".zst"](b"CCO ethanol\n" * 500)[:-12], "not a readable zstd file"),
        ("a.smi.zst", b"CCO ethanol\n", "not a readable zstd file"),
        ("a.smi", gzip.compress(b"CCO ethanol\n"), "add .gz to its name"),
        ("a.smi.gz", COMPRESS[".zst"](b"CCO ethanol\n"), "not a readable gzip file"),
        ("a.smi", COMPRESS[".zst"](b"CCO ethanol\n"), "add .zst to its name"),
        ("a.h5.gz", b"", "unpack it and give the .h5"),
        ("a.csv", b"smiles," + b"x" * 200_000 + b"\nC,a\n", "first row cannot be read"),
        ("missing.smi.zst", None, "no such file"),
        ("a.smi", "CCO ethanol\n".encode("utf-16"), "save it as UTF-8"),
        ("missing.smi", None, "no such file"),
    ],
)
def test_an_unreadable_library_is_one_line_and_leaves_no_plan(tmp_path, name, content, message):
    path, out = tmp_path / name, tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProbeError, match=message) as caught:
        plan.current("lib", path, 10, out)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_parquet_library_names_the_column_it_lacks(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"numbers": [[2]], "charge": [0]}), path)
    with pytest.raises(ProbeError, match="no column positions"):
        plan.current("lib", path, 10, tmp_path / "plan.json")


def test_a_file_that_holds_no_plan_is_refused(tmp_path):
    out = tmp_path / "plan.json"
    out.write_text('{"shards": 3}')
    with pytest.raises(ProbeError, match="not a plan"):
        plan.load(out)
