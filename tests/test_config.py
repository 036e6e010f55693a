"""The configuration, checked where it enters."""

import copy
import re

import pytest
import yaml
from repository import ROOT

from probe import config
from probe.errors import ProbeError


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


def test_the_readme_names_every_key_with_its_default_and_no_other():
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([^`]*)` \|", text, flags=re.MULTILINE)
    assert [key for key, _ in rows] == config.keys()
    defaults = config.check({})
    for key, value in rows:
        section, _, leaf = key.rpartition(".")
        default = (defaults[section] if section else defaults)[leaf]
        assert yaml.safe_load(value) == default, key
