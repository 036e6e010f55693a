"""Which libraries a watched folder holds, and what is left out of it with a reason."""

import gzip
import os
import time
from pathlib import Path

import pytest

from probe import config, watch
from probe.config import Library
from probe.errors import ProbeError
from probe.library import plan


@pytest.fixture
def folder(tmp_path):
    """Two files, a folder of two, and what is passed over."""
    root = tmp_path / "incoming"
    (root / "batch 7").mkdir(parents=True)
    (root / "a.smi").write_text("CCO\n")
    (root / "b.smi.gz").write_bytes(gzip.compress(b"CCO\nCCN\n"))
    for name in ("x.smi", "y.smi"):
        (root / "batch 7" / name).write_text("C\n")
    (root / ".c.smi.part").write_text("C\n")
    return root


@pytest.fixture
def find(tmp_path):
    """Looks into the folder with some keys of the configuration set."""

    def run(known=None, settle=None, **keys):
        checked = config.check({"watch": "incoming", "watch_settle": 0, **keys})

        def planned(name, library):
            return plan.current(name, library.path, 10, tmp_path / f"results/{name}/plan.json")

        return watch.libraries(checked, known or {}, tmp_path, planned, settle=settle)

    return run


def test_each_file_and_each_folder_is_a_library(folder, find):
    found = find(backbone="aimnet2-wb97m", checkpoint="mine")
    assert found.libraries == {
        name: Library(folder / path, "aimnet2-wb97m", "mine")
        for name, path in (("a", "a.smi"), ("b", "b.smi.gz"), ("batch-7", "batch 7"))
    }
    assert found.left_out == {}


def test_without_the_key_there_is_none(folder, find):
    assert folder.is_dir()
    assert find(watch=None) == watch.Watched({}, {})


def test_nor_where_one_library_is_asked_for(folder, find):
    assert find(library=str(folder / "a.smi")) == watch.Watched({}, {})


def test_one_that_has_a_row_in_the_table_is_screened_as_the_row_says(folder, find):
    found = find(known={"mine": Library(folder / "a.smi", "x", "y")})
    assert list(found.libraries) == ["b", "batch-7"]
    assert found.left_out == {}


class TestLeftOut:
    def test_a_link_to_nowhere(self, folder, find):
        (folder / "gone.smi").symlink_to(folder / "nowhere.smi")
        found = find()
        assert list(found.libraries) == ["a", "b", "batch-7"]
        (why,) = found.left_out.values()
        assert why == f"{folder / 'gone.smi'}: cannot be read (No such file or directory)"

    def test_what_cannot_be_read(self, folder, find):
        (folder / "torn.smi.gz").write_bytes((folder / "b.smi.gz").read_bytes()[:-12])
        (folder / "notes.docx").write_text("hello")
        (folder / "nothing").mkdir()
        found = find()
        assert list(found.libraries) == ["a", "b", "batch-7"]
        says = {Path(path).name: why for path, why in found.left_out.items()}
        assert set(says) == {"torn.smi.gz", "notes.docx", "nothing"}
        assert "unknown suffix .docx" in says["notes.docx"]
        assert "no library file in this folder" in says["nothing"]

    @pytest.mark.parametrize("settling", ["a.csv", "a.smi"])
    def test_two_that_are_called_alike_so_that_neither_takes_the_others_results(
        self, folder, find, settling, tmp_path
    ):
        assert "a" in find().libraries
        before = (tmp_path / "results/a/plan.json").read_bytes()
        (folder / "a.csv").write_text("smiles\nC\n")
        long_ago = time.time() - 3600
        for path in folder.rglob("*"):
            if path.name != settling:
                os.utime(path, (long_ago, long_ago))
        found = find(watch_settle=60)
        assert list(found.libraries) == ["b", "batch-7"]
        says = {Path(path).name: why for path, why in found.left_out.items()}
        assert "a.smi is called a, too; rename one of the two" in says["a.csv"]
        assert "a.csv is called a, too; rename one of the two" in says["a.smi"]
        assert (tmp_path / "results/a/plan.json").read_bytes() == before

    def test_what_is_called_as_a_row_of_the_table(self, folder, find):
        found = find(known={"a": Library(folder.parent / "elsewhere.smi", "x", "y")})
        assert "a" not in found.libraries
        assert "elsewhere.smi is called a, too" in found.left_out[str(folder / "a.smi")]

    def test_what_changed_just_now_until_it_has_been_left_alone(self, folder, find):
        long_ago = time.time() - 3600
        for path in folder.rglob("*"):
            os.utime(path, (long_ago, long_ago))
        (folder / "batch 7/y.smi").write_text("C\nCC\n")
        found = find(watch_settle=60)
        assert list(found.libraries) == ["a", "b"]
        (why,) = found.left_out.values()
        assert "batch 7: changed 0 s ago; left for the next run" in why
        assert "batch-7" in find(watch_settle=60, settle=0).libraries


def test_the_folder_must_be_there(find):
    with pytest.raises(ProbeError, match="config key watch: incoming: no such folder"):
        find()
