"""The configuration and the table of libraries, checked where they enter."""

import copy
import re

import pytest
import yaml
from repository import ROOT

from probe import config
from probe.config import Library
from probe.errors import ProbeError


@pytest.fixture
def shipped():
    return yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))


def dotted(section, prefix=""):
    """Keys of a nested mapping as section.key."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def definitions(schema):
    """Every property of a schema, sections and what is in them."""
    for name, inner in schema["properties"].items():
        yield name, inner
        if "properties" in inner:
            yield from definitions(inner)


class TestSchema:
    def test_it_has_the_keys_of_the_shipped_configuration_and_no_other(self, shipped):
        assert list(dotted(shipped)) == config.keys()

    @pytest.mark.parametrize("name", ["config", "libraries"])
    def test_every_key_is_described(self, name):
        assert all(inner["description"] for _, inner in definitions(config.schema(name)))

    def test_every_key_of_the_configuration_has_a_default(self):
        assert all("default" in inner for _, inner in definitions(config.schema("config")))

    def test_no_section_allows_a_key_that_it_does_not_know(self):
        for name in ("config", "libraries"):
            schema = config.schema(name)
            sections = [inner for _, inner in definitions(schema) if "properties" in inner]
            assert [part["additionalProperties"] for part in [schema, *sections]] == [
                False for _ in [schema, *sections]
            ]

    def test_outside_a_checkout_the_missing_file_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setattr(config, "SCHEMAS", tmp_path)
        config.schema.cache_clear()
        with pytest.raises(ProbeError, match=r"config\.schema\.yaml: no such file; install probe"):
            config.schema("config")


class TestCheck:
    def test_the_shipped_configuration_is_that_of_the_defaults(self, shipped):
        assert config.check(shipped) == shipped
        assert config.check({}) == shipped

    def test_what_is_left_out_of_a_section_takes_its_default(self):
        checked = config.check({"triage": {"accept_confidence": 0.9}})
        assert checked["triage"]["accept_confidence"] == 0.9
        assert checked["triage"]["recompute_confidence"] == 0.6

    def test_numbers_and_nulls_may_arrive_as_text(self):
        given = {
            "triage": {"accept_confidence": "0.8"},
            "ingest": {"charge_tag": "null", "seed": "7"},
            "shard_size": "1e5",
            "embed": {"batch_atoms": "2000"},
        }
        checked = config.check(given)
        assert checked["triage"]["accept_confidence"] == 0.8
        assert checked["ingest"]["charge_tag"] is None
        assert checked["embed"]["batch_atoms"] == 2000
        assert (checked["ingest"]["seed"], checked["shard_size"]) == (7, 100000)
        assert isinstance(checked["shard_size"], int)

    def test_the_keys_of_a_policy_go_together(self):
        given = {"policy": "budget", "budget_core_hours": "1e3", "tolerance_kcal": "0.5"}
        checked = config.check({"triage": given})["triage"]
        assert (checked["policy"], checked["budget_core_hours"]) == ("budget", 1000)
        assert checked["tolerance_kcal"] == 0.5
        assert config.check({"triage": {"policy": "risk"}})["triage"]["confidence"] == 0.9

    def test_it_does_not_change_what_it_was_given(self, shipped):
        shipped["triage"]["accept_confidence"] = "0.8"
        before = copy.deepcopy(shipped)
        config.check(shipped)
        assert shipped == before

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"ingest": {"sed": 1}}, "config key ingest.sed is unknown; did you mean ingest.seed?"),
            (
                {"seed": 1},
                "config key seed is unknown; "
                "did you mean ingest.seed or audit.seed or report.seed?",
            ),
            ({"tirage": {}}, "config key tirage is unknown; did you mean triage?"),
            (
                {"triage": {"accept_confidence:0.8": ""}},
                "config key triage.accept_confidence:0.8 is unknown; "
                "did you mean triage.accept_confidence?",
            ),
            (
                {"triage.between": "accept"},
                "config key triage.between is unknown at the top; write it inside its section",
            ),
            (
                {"partition": "gpu"},
                "config key partition is unknown; config/README.md names every key",
            ),
            ({True: 1}, "config key True is unknown; config/README.md names every key"),
        ],
    )
    def test_an_unknown_key_is_named_with_the_nearest_known_one(self, given, message):
        with pytest.raises(ProbeError) as caught:
            config.check(given)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"triage": {"accept_confidence": 3}},
                "triage.accept_confidence must be between 0.5 and 1, got 3",
            ),
            (
                {"triage": {"accept_confidence": "high"}},
                "triage.accept_confidence must be a number, got 'high'",
            ),
            (
                {"triage": {"recompute_confidence": float("nan")}},
                "triage.recompute_confidence must be a number, got 'nan'",
            ),
            (
                {"triage": {"policy": "risky"}},
                "triage.policy must be cutoff, risk or budget, got 'risky'",
            ),
            (
                {"triage": {"max_unreliable": 0}},
                "triage.max_unreliable must be between 0.001 and 0.5, got 0",
            ),
            (
                {"triage": {"confidence": 1}},
                "triage.confidence must be between 0.5 and 0.999, got 1",
            ),
            (
                {"triage": {"tolerance_kcal": 0}},
                "triage.tolerance_kcal must be at least 0.01, got 0",
            ),
            (
                {"triage": {"tolerance_kcal": "one"}},
                "triage.tolerance_kcal must be a number or null, got 'one'",
            ),
            (
                {"triage": {"budget_core_hours": float("inf")}},
                "triage.budget_core_hours must be a number or null, got 'inf'",
            ),
            (
                {"triage": {"policy": "budget"}},
                "triage: policy budget needs budget_core_hours, the core-hours of DFT to spend",
            ),
            (
                {"triage": {"policy": "risk", "budget_core_hours": 8}},
                "triage: budget_core_hours is 8, but policy risk spends no budget; set policy to "
                "budget, or leave the key out",
            ),
            ({"triage": 3}, "triage must be a section of keys, got 3"),
            ({"triage": None}, "triage must be a section of keys, got null"),
            (
                {"triage": {"between": {"accept": 1}}},
                "triage.between must be accept or recompute, got a section of keys",
            ),
            ({"device": "gpu"}, "device must be auto, cpu or cuda, got 'gpu'"),
            ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
            ({"shard_size": 2.5}, "shard_size must be a whole number, got 2.5"),
            ({"shard_size": True}, "shard_size must be a whole number, got true"),
            ({"library": 2024}, "library must be text or null, got 2024"),
            ({"library": ""}, "library must not be empty, got ''"),
            ({"cache": ["a"]}, "cache must be text, got ['a']"),
            (
                {"ingest": {"seed": -1}},
                "ingest.seed must be between 0 and 2147483647, got -1",
            ),
            ({"device": "x" * 80}, f"device must be auto, cpu or cuda, got '{'x' * 56}..."),
            (["device"], "config must be a section of keys, got ['device']"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_allowed(self, given, message):
        with pytest.raises(ProbeError) as caught:
            config.check(given)
        assert str(caught.value) == message

    def test_all_mistakes_are_named_at_once(self):
        with pytest.raises(ProbeError) as caught:
            config.check({"device": "gpu", "embed": {"batch_atom": 5, "batch_atoms": 0}})
        assert sorted(str(caught.value).split(" | ")) == [
            "config key embed.batch_atom is unknown; did you mean embed.batch_atoms?",
            "device must be auto, cpu or cuda, got 'gpu'",
            "embed.batch_atoms must be at least 1, got 0",
        ]


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


def test_the_readme_names_every_key_with_its_default_and_no_other():
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]*)` \|", text, flags=re.MULTILINE)
    assert [key for key, _ in rows] == config.keys()
    defaults = config.check({})
    for key, value in rows:
        section, _, leaf = key.rpartition(".")
        default = (defaults[section] if section else defaults)[leaf]
        assert yaml.safe_load(value) == default, key
