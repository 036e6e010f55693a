"""Several files as one library: which they are, in what order, and what a plan makes of them."""

import gzip

import pytest

from probe import schemas, tables
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import plan, sources

HYDROGEN = "2\nname=hydrogen\nH 0 0 0\nH 0 0 0.74\n"


@pytest.fixture
def folder(tmp_path):
    """A folder of nine records in five files of three formats, and files that are no library."""
    root = tmp_path / "lib"
    (root / "b").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "a.smi").write_text("C one\nCC two\nCCC three\n")
    (root / "b" / "a.csv").write_text("name,smiles\nfour,N\nfive,O\n")
    (root / "b" / "b.csv").write_text("smiles;name\nF;six\n")
    (root / "c.smi.gz").write_bytes(gzip.compress(b"CO seven\nCN eight\n"))
    (root / "d.xyz").write_text(HYDROGEN)
    (root / "empty.smi").write_text("")
    for name in ("notes.doc", ".a.smi", ".hidden/x.smi"):
        (root / name).write_text("C never\n")
    return root


ORDER = ["a.smi", "b/a.csv", "b/b.csv", "c.smi.gz", "d.xyz", "empty.smi"]


def names(path):
    return [name for _, name in sources.find(path)[0]]


def ingested(path, out, shard_size):
    """Names and sources of all conformers, through as many shards as it takes."""
    made = plan.current("lib", path, shard_size, out / "plan.json")
    found = []
    for index in range(len(made.shards)):
        table = out / f"{index}.parquet"
        counts = ingest.ingest_shard(made, index, table, out / "r.parquet", Options())
        assert counts == (made.shards[index].count, 0)
        found += tables.frame(table, schemas.CONFORMERS).select("molecule_id", "source").rows()
    return found


def test_a_folder_is_its_files_in_the_order_of_their_names(folder):
    found, ignored = sources.find(folder)
    assert [name for _, name in found] == ORDER
    assert [path for path, _ in found] == [folder / name for name in ORDER]
    assert ignored == ["notes.doc"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.smi", ["a.smi", "empty.smi"]),
        ("b/*", ["a.csv", "b.csv"]),
        ("**/*.csv", ["b/a.csv", "b/b.csv"]),
        ("[ad].*", ["a.smi", "d.xyz"]),
        ("?.smi*", ["a.smi", "c.smi.gz"]),
    ],
)
def test_a_pattern_is_the_files_that_match(folder, pattern, expected):
    assert names(folder / pattern) == expected


def test_a_file_that_looks_like_a_pattern_is_that_file(folder):
    (folder / "[a].smi").write_text("C a\n")
    assert names(folder / "[a].smi") == ["[a].smi"]


def test_what_is_not_there_is_one_line(tmp_path, folder):
    with pytest.raises(ProbeError, match="no file matches this pattern"):
        sources.find(folder / "*.sdf")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ProbeError, match=r"no library file in this folder; known are \.smi"):
        sources.find(tmp_path / "bare")
    with pytest.raises(ProbeError, match=r"none\.smi: no such file"):
        plan.current("lib", tmp_path / "none.smi", 5, tmp_path / "plan.json")
    with pytest.raises(ProbeError, match=r"notes\.doc: unknown suffix"):
        plan.current("lib", folder / "n*", 5, tmp_path / "plan.json")


@pytest.mark.parametrize("shard_size", [1, 2, 4, 100])
def test_shards_run_through_the_files_and_say_which(folder, tmp_path, shard_size):
    found = ingested(folder, tmp_path, shard_size)
    assert found == [
        ("one", "a.smi:1"),
        ("two", "a.smi:2"),
        ("three", "a.smi:3"),
        ("four", "b/a.csv:1"),
        ("five", "b/a.csv:2"),
        ("six", "b/b.csv:1"),
        ("seven", "c.smi.gz:1"),
        ("eight", "c.smi.gz:2"),
        ("hydrogen", "d.xyz:1"),
    ]


def test_a_shard_begins_at_its_byte_wherever_its_file_can_be_sought(folder, tmp_path):
    made = plan.current("lib", folder, 2, tmp_path / "plan.json")
    assert [shard.offset for shard in made.shards] == [0, 13, 19, None, 0]
    parts = [(part.source.name, part.first, part.count) for part in made.parts(1)]
    assert parts == [("a.smi", 2, 1), ("b/a.csv", 0, 1)]


def test_records_without_a_name_are_told_apart_by_their_files(tmp_path):
    for name in ("x", "y"):
        (tmp_path / "lib" / name).mkdir(parents=True)
        (tmp_path / "lib" / name / "a.smi").write_text("C\n" if name == "x" else "CC\n")
    assert ingested(tmp_path / "lib", tmp_path, 10) == [
        ("x/a-1", "x/a.smi:1"),
        ("y/a-1", "y/a.smi:1"),
    ]


def test_a_plan_holds_until_a_file_comes_goes_or_changes(folder, tmp_path):
    out = tmp_path / "plan.json"
    first = plan.current("lib", folder, 2, out)
    written = out.stat().st_mtime_ns
    assert plan.current("lib", folder, 2, out) == first == plan.load(out)
    assert out.stat().st_mtime_ns == written
    (folder / "e.smi").write_text("C\n")
    assert plan.current("lib", folder, 2, out).n_records == 10
    (folder / "a.smi").write_text("C\n")
    assert plan.current("lib", folder, 2, out).n_records == 8
    (folder / "d.xyz").unlink()
    changed = plan.current("lib", folder, 2, out)
    assert changed.n_records == 7
    with pytest.raises(ProbeError, match=r"a\.smi: the file changed after it was counted"):
        plan.check(first.sources)
    plan.check(changed.sources)
