"""What changed since the last screening: kinds and causes, and a history that no failure spoils."""

import json

import polars as pl
import pytest
from click.testing import CliRunner
from screened_before import CUTOFFS, ROWS, checkpoint, folder, found, library, row, screen

from probe import cli
from probe.classifier import card
from probe.errors import ProbeError
from probe.triage import changes

__all__ = ["checkpoint", "folder", "screen"]


class TestTheFirst:
    def test_it_has_nothing_to_be_compared_with(self, screen):
        record, table = screen(ROWS)
        assert (record["before"], record["n_same"]) == (None, None)
        assert table.height == 0
        assert changes.in_words(record) == (
            "lib: first screening: 3 conformers, 2 accepted, 1 to recompute"
        )

    def test_found_again_before_or_after_it_is_kept_it_is_the_first(self, screen):
        screen(ROWS, finish=False)
        assert screen(ROWS)[0]["before"] is None
        assert screen(ROWS)[0]["before"] is None


class TestTheLibrary:
    def test_what_is_new_and_what_is_gone(self, screen):
        screen(ROWS)
        record, table = screen([*ROWS[1:], row("d")], size=11)
        assert found(table) == {"d": ("new", "library"), "a": ("gone", "library")}
        assert record["n_same"] == 2
        assert record["kinds"] == {
            **{"new": {"library": 1}, "gone": {"library": 1}},
            **{"to recompute": {}, "to accept": {}},
        }
        gone = table.filter(kind="gone").to_dicts()[0]
        assert (gone["verdict_before"], gone["verdict_now"]) == ("accept", None)
        assert (gone["molecule_id"], gone["p_unreliable_before"]) == ("molecule a", 0.2)

    def test_a_file_that_was_only_touched_changes_nothing(self, screen):
        screen(ROWS)
        record, table = screen(ROWS, size=11)
        assert table.height == 0
        assert record["before"] is not None
        assert record["n_same"] == 3
        assert changes.in_words(record).endswith(": nothing")

    def test_what_takes_the_budget_of_another(self, screen):
        budget = {"policy": "budget"}
        screen(ROWS, **budget)
        taken = [row("a", "recompute"), *ROWS[1:]]
        _, table = screen([*taken, row("d")], size=11, **budget)
        assert found(table) == {"d": ("new", "library"), "a": ("to recompute", "library")}


class TestSettingsAndVersions:
    def test_other_settings_of_ingest_make_other_geometries_of_known_molecules(self, screen):
        screen(ROWS)
        moved = [row("A", molecule="molecule a"), *ROWS[1:], row("d")]
        _, table = screen(moved, seed=7, size=11)
        assert found(table) == {
            "A": ("new", "ingest"),
            "a": ("gone", "ingest"),
            "d": ("new", "library"),
        }

    def test_so_does_other_software(self, screen):
        screen(ROWS)
        moved = [row("A", molecule="molecule a"), *ROWS[1:]]
        _, table = screen(moved, versions={"rdkit": "2"})
        assert found(table) == {"A": ("new", "versions"), "a": ("gone", "versions")}

    def test_a_p_on_the_cutoff_may_fall_to_either_side(self, screen):
        screen(ROWS)
        _, table = screen([row("a", "recompute", 0.4001), *ROWS[1:]], size=11)
        assert found(table) == {"a": ("to recompute", "rounding")}


class TestVerdicts:
    def test_because_of_the_cutoffs(self, screen):
        screen(ROWS)
        stricter = {"cutoffs": CUTOFFS | {"accept_confidence": 0.9}, "accept_up_to_p": 0.1}
        _, table = screen([row("a", "recompute"), *ROWS[1:]], **stricter)
        assert found(table) == {"a": ("to recompute", "cutoffs")}

    def test_because_of_the_checkpoint_by_what_is_in_it(self, screen, checkpoint):
        screen(ROWS)
        (checkpoint / card.WEIGHTS).write_text("fitted again, under the same name")
        _, table = screen([ROWS[0], row("b", p=0.1), ROWS[2]])
        assert found(table) == {"b": ("to accept", "checkpoint")}

    def test_because_of_the_backbone(self, screen, checkpoint):
        screen(ROWS)
        (checkpoint / card.CARD).write_text("of another backbone")
        refused = row("a", "recompute", None, reason="element Fe")
        _, table = screen([refused, *ROWS[1:]], fingerprint="g", backbone="other")
        assert found(table) == {"a": ("to recompute", "backbone")}

    def test_of_checkpoint_and_cutoffs_the_one_that_did_it(self, screen, checkpoint):
        screen(ROWS)
        (checkpoint / card.WEIGHTS).write_text("other")
        rows = [
            row("a", "recompute", 0.35),  # the old line, 0.4, would have kept it
            row("b", "recompute", 0.7),
            row("c", "recompute", 0.9),
        ]
        stricter = {"cutoffs": CUTOFFS | {"accept_confidence": 0.9}, "accept_up_to_p": 0.1}
        _, table = screen(rows, **stricter)
        assert found(table) == {
            "a": ("to recompute", "cutoffs"),
            "c": ("to recompute", "checkpoint"),
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"tolerance_kcal": 1.0},
            {"rows": [row("a", "recompute", 0.2, reason="larger than any"), *ROWS[1:]]},
        ],
        ids=["another tolerance", "another rule than PROBE's"],
    )
    def test_or_both_where_that_cannot_be_told(self, screen, checkpoint, change):
        screen(ROWS)
        (checkpoint / card.WEIGHTS).write_text("other")
        cutoffs = CUTOFFS | {"beyond_size": "recompute"}
        rows = [row("a", "recompute", 0.8), *ROWS[1:]]
        _, table = screen(**({"rows": rows, "cutoffs": cutoffs} | change))
        assert found(table) == {"a": ("to recompute", "checkpoint and cutoffs")}

    def test_the_largest_changes_come_first(self, screen, checkpoint):
        screen([row(name) for name in "abc"])
        (checkpoint / card.WEIGHTS).write_text("other")
        p = {"a": 0.6, "b": 0.9, "c": 0.7}
        _, table = screen([row(name, "recompute", p[name]) for name in "abc"])
        assert table["conformer_id"].to_list() == ["b", "c", "a"]


class TestTheHistory:
    def test_a_screening_that_did_not_finish_is_not_the_last(self, screen):
        first, _ = screen(ROWS)
        screen(ROWS[:1], size=11, finish=False)
        record, _ = screen(ROWS[:2], size=12)
        assert record["before"]["id"] == first["now"]["id"]
        assert record["kinds"]["gone"] == {"library": 1}

    def test_once_it_is_kept_it_still_says_what_it_changed(self, screen):
        first, table = screen(ROWS), None
        record, table = screen(ROWS[:2], size=11)
        again, same = screen(ROWS[:2], size=11)
        assert again["before"]["id"] == first[0]["now"]["id"]
        assert again == record
        assert same.equals(table)

    def test_back_to_what_it_was_is_a_change_too(self, screen):
        screen(ROWS)
        screen(ROWS[:2], size=11)
        record, table = screen(ROWS)
        assert found(table) == {"c": ("new", "library")}
        assert record["before"]["n_conformers"] == 2
        assert screen(ROWS[:2], size=11)[0]["before"]["n_conformers"] == 3

    def test_every_screening_has_a_record_and_two_have_lists(self, screen, folder):
        for size in range(5):
            screen(ROWS, size=size)
        known = changes.finished(folder)
        assert len(known) == 5
        kept = [path for path in (folder / changes.HISTORY).iterdir() if path.is_dir()]
        assert {path.name for path in kept} == {each["id"] for each in known[-2:]}
        assert all(pl.read_parquet(path / "accept.parquet").height == 2 for path in kept)

    def test_lists_that_are_replaced_leave_those_of_the_history(self, screen, folder):
        record, _ = screen(ROWS)
        library(folder, ROWS[:1])
        kept = folder / changes.HISTORY / record["now"]["id"]
        assert pl.read_parquet(kept / "recompute.parquet").height == 1

    def test_nor_does_a_file_system_without_links_need_them(self, screen, folder, monkeypatch):
        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(changes.os, "link", refuse)
        record, _ = screen(ROWS)
        kept = folder / changes.HISTORY / record["now"]["id"] / "accept.parquet"
        assert pl.read_parquet(kept).height == 2

    @pytest.mark.parametrize("at", ["link", "record"])
    def test_what_is_interrupted_while_it_is_kept_leaves_the_last(
        self, screen, folder, monkeypatch, at
    ):
        first, _ = screen(ROWS)
        before = (folder / changes.HISTORY / changes.FINISHED).read_text()
        screen(ROWS[:2], size=11, finish=False)

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            name = {"link": "_link", "record": "tables.write_json"}[at]
            patched.setattr(f"probe.triage.changes.{name}", full)
            with pytest.raises(OSError, match="No space left"):
                changes.keep(folder)
        assert (folder / changes.HISTORY / changes.FINISHED).read_text() == before
        record, _ = screen(ROWS[:2], size=11)
        assert record["before"]["id"] == first["now"]["id"]
        assert len(changes.finished(folder)) == 2

    def test_a_broken_one_is_named(self, screen, folder, checkpoint):
        screen(ROWS)
        (folder / changes.HISTORY / changes.FINISHED).write_text("{}")
        with pytest.raises(ProbeError, match="not a history of screenings; remove "):
            changes.find(folder, str(checkpoint))


def test_a_checkpoint_that_lacks_a_file_is_refused(screen, checkpoint):
    (checkpoint / card.HELD_OUT).unlink()
    with pytest.raises(ProbeError, match=r"held_out\.parquet: no such file; restore"):
        screen(ROWS)


def test_what_has_no_finished_screening_has_nothing_to_show(tmp_path):
    done = CliRunner().invoke(cli.main, ["changes", "show", str(tmp_path / "lib")])
    assert done.exit_code == 2
    assert "lib: no finished screening; one is when its report is written" in done.stderr


def test_the_commands_find_keep_and_show(folder, checkpoint):
    def run(*words):
        done = CliRunner().invoke(cli.main, ["changes", *map(str, words)])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    library(folder, ROWS)
    find = ("find", folder, "--checkpoint", checkpoint)
    assert "first screening: 3 conformers" in run(*find)
    assert "is the last one" in run("keep", folder)
    library(folder, ROWS[:2], size=11)
    assert "1 gone (library)" in run(*find)
    run("keep", folder)
    (line,) = run("show", folder).splitlines()
    assert " UTC  lib: changed since " in line
    assert json.loads((folder / changes.RECORD).read_text())["kinds"]["gone"] == {"library": 1}
    assert run("show") == "no library to screen\n"
