"""The table of libraries and the single library: names, files, and what is wrong with them."""

import re

import pytest
from repository import ROOT

from probe import config
from probe.config import Library
from probe.errors import ProbeError


@pytest.fixture
def table(tmp_path):
    """Writes the table of libraries and reads it; a.smi and b.sdf are there."""
    (tmp_path / "a.smi").write_text("C methane\n")
    (tmp_path / "b.sdf").write_text("")
    (tmp_path / "folder").mkdir()

    def read(text):
        (tmp_path / "libraries.tsv").write_text(text)
        given = config.check({"libraries": "libraries.tsv"})
        return config.libraries(given, tmp_path)

    return read


class TestLibraries:
    def test_the_shipped_table_names_files_that_are_there(self, shipped):
        found = config.libraries(config.check(shipped), ROOT)
        assert list(found) == ["demo", "demo-3d"]
        assert all(library.path.is_file() for library in found.values())

    def test_rows_keep_their_order_and_paths_start_at_the_root(self, table, tmp_path):
        found = table("library\tpath\nb\tb.sdf\na\ta.smi\n")
        paths = [(name, library.path) for name, library in found.items()]
        assert paths == [("b", tmp_path / "b.sdf"), ("a", tmp_path / "a.smi")]

    def test_an_absolute_path_stays_as_it_is(self, table, tmp_path):
        assert table(f"library\tpath\na\t{tmp_path}/a.smi\n")["a"].path == tmp_path / "a.smi"

    def test_a_row_may_say_what_it_is_screened_with(self, table, tmp_path):
        found = table(
            "library\tpath\tcheckpoint\tbackbone\n"
            "a\ta.smi\tmine\tmace\n"
            "a2\ta.smi\t\taimnet2-wb97m-d3\n"
            "a3\ta.smi\tmine\n"  # an editor cut the last tab
            "b\tb.sdf\n"
        )
        a, b = tmp_path / "a.smi", tmp_path / "b.sdf"
        assert found == {
            "a": Library(a, "mace", "mine"),
            "a2": Library(a, "aimnet2-wb97m-d3", "aimnet2-b973c"),
            "a3": Library(a, "aimnet2-b973c", "mine"),
            "b": Library(b, "aimnet2-b973c", "aimnet2-b973c"),
        }

    def test_what_a_row_leaves_out_is_that_of_the_configuration(self, tmp_path):
        (tmp_path / "a.smi").write_text("")
        given = config.check({"library": "a.smi", "backbone": "mace", "checkpoint": "mine"})
        found = config.libraries(given, tmp_path)
        assert found == {"a": Library(tmp_path / "a.smi", "mace", "mine")}

    def test_comments_blank_lines_and_column_order_do_not_matter(self, table):
        text = "\ufeff# screened in May\n\npath\tlibrary\r\n  \na.smi\ta\n # b.sdf\tb\n"
        assert list(table(text)) == ["a"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "library\tpath\na\ta.smi\n\na\tb.sdf\n",
                "libraries.tsv:4: library a is there twice; give each row its own name",
            ),
            (
                "library\tfile\na\ta.smi\n",
                "libraries.tsv:1: the columns are library, file; the first line must have library "
                "and path, and may have backbone and checkpoint, separated by tabs",
            ),
            (
                "library\tpath\tpath\na\ta.smi\ta.smi\n",
                "libraries.tsv:1: the columns are library, path, path; the first line must have "
                "library and path, and may have backbone and checkpoint, separated by tabs",
            ),
            (
                "library\tpath\tcheckpiont\na\ta.smi\tmine\n",
                "libraries.tsv:1: column checkpiont is unknown; did you mean checkpoint?",
            ),
            (
                "library\tpath\na\ta.smi\tmace\n",
                "libraries.tsv:2: 3 cells where 2 are expected; separate them by one tab",
            ),
            (
                "# nothing\n",
                "libraries.tsv:1: the columns are missing; the first line must have library and "
                "path, and may have backbone and checkpoint, separated by tabs",
            ),
            (
                "library\tpath\na a.smi\n",
                "libraries.tsv:2: 1 cells where 2 are expected; separate them by one tab",
            ),
            (
                "library\tpath\n../a\ta.smi\n",
                "libraries.tsv:2: library name '../a' cannot be a folder's; use letters, digits, "
                "dot, hyphen and underscore, the first a letter or a digit",
            ),
            (
                "library\tpath\na\tmissing.smi\n",
                "libraries.tsv:2: missing.smi: no such file; paths are absolute or start where "
                "the run starts",
            ),
            (
                "library\tpath\na\t\n",
                "libraries.tsv:2: library a has no path; write its file's",
            ),
            (
                "library\tpath\n",
                "libraries.tsv: no library in it; add a row, or set the config key library",
            ),
        ],
    )
    def test_a_mistake_is_named_with_file_and_line(self, table, text, message):
        with pytest.raises(ProbeError) as caught:
            table(text)
        assert str(caught.value) == message

    def test_a_missing_table_is_named(self, tmp_path):
        given = config.check({"libraries": "other.tsv"})
        with pytest.raises(ProbeError) as caught:
            config.libraries(given, tmp_path)
        assert str(caught.value) == (
            "config key libraries: no such file other.tsv; write the table, or set the key library"
        )

    def test_a_table_that_is_not_text_is_named(self, tmp_path):
        (tmp_path / "libraries.tsv").write_bytes(b"\xff\xfe\x00")
        given = config.check({"libraries": "libraries.tsv"})
        with pytest.raises(ProbeError) as caught:
            config.libraries(given, tmp_path)
        assert str(caught.value) == ("libraries.tsv: not readable as text; write a table in UTF-8")

    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("a.smi", "a"),
            ("set 2 (final).sdf.gz", "set-2-final"),
            ("_réserve.csv", "r-serve"),
            ("v1.2.parquet", "v1.2"),
            ("a.csv.zst", "a"),
            ("[a] set.smi", "a-set"),
        ],
    )
    def test_a_single_library_is_named_after_its_file(self, tmp_path, file, name):
        (tmp_path / file).write_text("")
        found = config.libraries(config.check({"library": file}), tmp_path)
        assert {key: library.path for key, library in found.items()} == {name: tmp_path / file}
        pattern = config.schema("libraries")["properties"]["library"]["pattern"]
        assert re.fullmatch(pattern, name)

    @pytest.mark.parametrize(
        ("path", "name"),
        [("my set", "my-set"), ("v1.2", "v1.2"), ("runs/*.sdf", "runs"), ("a/b[12]/*/x.h5", "x")],
    )
    def test_a_library_may_be_a_folder_or_a_pattern(self, tmp_path, path, name):
        if "*" not in path:
            (tmp_path / path).mkdir()
        found = config.libraries(config.check({"library": path}), tmp_path)
        assert {key: library.path for key, library in found.items()} == {name: tmp_path / path}

    def test_a_pattern_without_a_folder_gives_no_name(self, tmp_path):
        with pytest.raises(ProbeError, match="no name can be made of"):
            config.libraries(config.check({"library": "*.sdf"}), tmp_path)

    def test_a_single_library_takes_the_place_of_the_table(self, tmp_path):
        (tmp_path / "a.smi").write_text("")
        given = config.check({"library": "a.smi", "libraries": "missing.tsv"})
        assert list(config.libraries(given, tmp_path)) == ["a"]

    def test_a_single_library_that_is_missing_is_named(self, tmp_path):
        with pytest.raises(ProbeError) as caught:
            config.libraries(config.check({"library": "my/a.smi"}), tmp_path)
        assert str(caught.value) == (
            "config key library: my/a.smi: no such file; paths are absolute or start where the "
            "run starts"
        )

    def test_a_file_that_no_name_can_be_made_of_is_named(self, tmp_path):
        (tmp_path / "§.smi").write_text("")
        with pytest.raises(ProbeError, match=r"^config key library: no name can be made of §\.smi"):
            config.libraries(config.check({"library": "§.smi"}), tmp_path)


class TestOneFileInSeveralRows:
    @pytest.fixture
    def libraries(self, tmp_path):
        """Two files; the first by two networks and by one of them twice, by another way to it."""
        (tmp_path / "folder").mkdir()
        one, other = tmp_path / "a.smi", tmp_path / "b.smi"
        around = tmp_path / "folder/../a.smi"
        return {
            "a": Library(one, "aimnet", "p"),
            "b": Library(other, "aimnet", "p"),
            "again": Library(one, "aimnet", "p"),
            "mace": Library(around, "mace", "p-mace"),
            "tuned": Library(one, "aimnet", "p-tuned"),
        }

    def test_the_first_of_them_is_named(self, libraries):
        assert config.same_file(libraries) == {
            **{"a": "a", "again": "a", "mace": "a", "tuned": "a"},
            "b": "b",
        }

    def test_those_that_differ_in_what_they_are_screened_with_are_compared(self, libraries):
        assert config.comparable(libraries) == [("a", "mace", "tuned")]

    def test_the_same_twice_is_not(self, libraries):
        del libraries["mace"], libraries["tuned"]
        assert config.comparable(libraries) == []
