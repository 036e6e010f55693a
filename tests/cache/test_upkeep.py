"""What a cache holds, what damage is found in it, and what of it may be removed, and when."""

import fcntl
import json
import math
import os
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cached import flip, row
from click.testing import CliRunner

from probe import cli, config, schemas, tables
from probe.cache import upkeep
from probe.cache.store import LOCK, Cache, in_use
from probe.config import Library
from probe.errors import ProbeError

WIDTH = 8
KNOWN = "7e4575c45376bb61"
"""The fingerprint of aimnet2-b973c."""
OTHER = "34c80defe58443c7"
"""The fingerprint of aimnet2-b973c-1."""
MONTHS = 90 * 86_400


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cache(root):
    return Cache(root, KNOWN, WIDTH)


@pytest.fixture
def parts(cache):
    """Three parts, last used months ago."""
    made = [cache.folder / cache.add([row(f"id-{n}-{i}", n) for i in (1, 2)]) for n in (2, 3, 4)]
    for path in made:
        age(path)
    return made


def age(path):
    then = time.time() - MONTHS
    os.utime(path, (then, then))


@pytest.fixture
def results(tmp_path, parts):
    """A screened library that refers to the first of the parts."""
    folder = tmp_path / "results/lib"
    screen(folder, [parts[0].name, None])
    return tmp_path / "results"


def screen(folder, names, fingerprint=KNOWN, n_shards=1):
    rows = [
        {"conformer_id": f"c{i}", "part": name, "refusal": None if name else "no"}
        for i, name in enumerate(names)
    ]
    listing = folder / "embedded/00000.parquet"
    tables.write(listing, rows, schemas.EMBEDDED, {"fingerprint": fingerprint})
    shard = {"first": 0, "count": 2, "offset": None}
    plan = {"library": folder.name, "path": "x", "n_records": 2 * n_shards, "shard_size": 2}
    plan |= {"shards": [shard] * n_shards, "sources": [], "ignored": []}
    tables.write_json(folder / "plan.json", plan)


def rewritten(path, name, change):
    """``path`` with the values of one column changed, under its own name and identity."""
    table = pq.read_table(path)
    values = change(table[name].to_pylist())
    place = table.schema.get_field_index(name)
    field = table.schema.field(name)
    table = table.set_column(place, field, pa.array(values, field.type))
    pq.write_table(table, path, write_page_checksum=True)


class TestHoldings:
    def test_what_is_in_it(self, root, parts):
        (held,) = upkeep.holdings(root)
        assert (held.fingerprint, held.backbone) == (KNOWN, "aimnet2-b973c")
        assert (held.n_parts, held.n_conformers, held.n_atoms) == (3, 6, 18)
        assert held.n_bytes == sum(path.stat().st_size for path in parts)
        assert held.bytes_per_atom == held.n_bytes / 18
        assert (held.n_duplicates, held.n_unreadable, held.n_leftovers) == (0, 0, 0)

    def test_a_conformer_in_two_parts_is_one(self, root, cache):
        cache.add([row("one", 2)])
        cache.add([row("one", 2), row("two", 3)])
        (held,) = upkeep.holdings(root)
        assert (held.n_conformers, held.n_duplicates, held.n_atoms) == (2, 1, 7)

    def test_damage_and_leftovers_are_counted_and_left(self, root, parts):
        parts[0].write_bytes(b"PAR1 and nothing else")
        (parts[0].parent / "part-x.damaged").touch()
        (parts[0].parent / ".part-y.parquet.abc.tmp").touch()
        (held,) = upkeep.holdings(root)
        assert (held.n_unreadable, held.n_leftovers, held.n_conformers) == (1, 2, 4)
        assert parts[0].exists()

    def test_a_backbone_of_no_list_and_an_empty_folder(self, root):
        (root / "0123456789abcdef").mkdir(parents=True)
        (held,) = upkeep.holdings(root)
        assert (held.backbone, held.n_conformers, held.bytes_per_atom) == (None, 0, None)

    def test_there_must_be_a_cache(self, root):
        with pytest.raises(ProbeError, match="no such folder; name the cache with --cache"):
            upkeep.holdings(root)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    flip(path, "embedding")


def foreign(path):
    table = pq.read_table(path)
    schema = tables.with_provenance(table.schema, {"fingerprint": "x", "embedding_dim": WIDTH})
    pq.write_table(table.replace_schema_metadata(schema.metadata), path)


def renamed(path):
    path.rename(path.with_name("part-0000000000000000.parquet"))


def short(path):
    rewritten(path, "embedding", lambda values: [value[:-2] for value in values])


def uncharged(path):
    rewritten(path, "charges", lambda values: [values[0][:-4], *values[1:]])


def infinite(path):
    rewritten(path, "energy_ev", lambda values: [math.inf, *values[1:]])


def not_a_number(path):
    nan = np.full(2 * WIDTH, np.nan, "<f2").tobytes()
    rewritten(path, "embedding", lambda values: [nan, *values[1:]])


def without_energy(path):
    rewritten(path, "energy_ev", lambda values: [None, *values[1:]])


def of_no_atoms(path):
    rewritten(path, "n_atoms", lambda values: [0, *values[1:]])


DAMAGE = {
    truncated: "is damaged (",
    flipped: "is damaged (",
    foreign: "is not of this backbone",
    renamed: "its name is not that of its ids",
    short: "an embedding is not as long as its atoms",
    uncharged: "charges are not as many as the atoms",
    infinite: "a number in it is not finite",
    not_a_number: "a number in it is not finite",
    without_energy: "a value is missing",
    of_no_atoms: "a conformer without atoms",
}


class TestDamages:
    def test_a_sound_cache_has_none(self, root, parts, cache):
        assert parts
        cache.add([row("bare", 3, charges=False)])
        assert list(upkeep.damages(root)) == []

    @pytest.mark.parametrize(
        ("spoil", "why"), DAMAGE.items(), ids=[spoil.__name__ for spoil in DAMAGE]
    )
    def test_each_kind_is_found_and_the_rest_is_not_blamed(self, root, parts, spoil, why):
        spoil(parts[0])
        (damage,) = upkeep.damages(root)
        assert why in damage.why
        assert damage.path.exists()

    def test_repair_sets_it_aside_as_a_screening_does(self, root, parts, cache):
        infinite(parts[0])
        (damage,) = upkeep.damages(root, repair=True)
        assert damage.path == parts[0]
        assert not parts[0].exists()
        assert parts[0].with_suffix(".damaged").exists()
        assert cache.locate(pl.Series(["id-2-1"])).is_empty()
        assert list(upkeep.damages(root)) == []


class TestNeeds:
    def test_what_results_refer_to(self, results, parts):
        needed = upkeep.needs([], [results])
        assert needed.parts == {KNOWN: frozenset({parts[0].name})}
        assert needed.unknown == {}

    def test_a_library_that_is_yet_to_be_screened_needs_what_nobody_knows(self, results, tmp_path):
        library = Library(tmp_path / "x.smi", "aimnet2-b973c", "aimnet2-b973c")
        needed = upkeep.needs([{"lib": library, "next": library}], [results])
        assert needed.unknown == {KNOWN: ("next",)}

    def test_nor_one_that_was_screened_in_part(self, results, tmp_path, parts):
        screen(results / "lib", [parts[0].name], n_shards=2)
        library = Library(tmp_path / "x.smi", "aimnet2-b973c", "aimnet2-b973c")
        assert upkeep.needs([{"lib": library}], [results]).unknown == {KNOWN: ("lib",)}

    def test_nor_one_that_is_to_be_screened_with_another_backbone(self, results, tmp_path):
        as_it_was, switched = (
            {"lib": Library(tmp_path / "x.smi", backbone, backbone)}
            for backbone in ("aimnet2-b973c", "aimnet2-b973c-1")
        )
        assert upkeep.needs([as_it_was], [results]).unknown == {}
        assert upkeep.needs([as_it_was, switched], [results]).unknown == {OTHER: ("lib",)}

    def test_nor_one_that_another_project_alone_has_screened_in_full(
        self, results, tmp_path, parts
    ):
        screen(tmp_path / "other/lib", [parts[0].name], n_shards=2)
        library = Library(tmp_path / "x.smi", "aimnet2-b973c", "aimnet2-b973c")
        needed = upkeep.needs([{"lib": library}], [results, tmp_path / "other"])
        assert needed.unknown == {KNOWN: ("lib",)}

    def test_of_several_projects_everything_counts(self, results, tmp_path, parts):
        screen(tmp_path / "other/second", [parts[2].name])
        needed = upkeep.needs([], [results, tmp_path / "other"])
        assert needed.parts[KNOWN] == {parts[0].name, parts[2].name}


class TestUnneeded:
    def test_what_nobody_refers_to_and_nobody_used(self, root, results, parts):
        (removal,) = upkeep.unneeded(root, upkeep.needs([], [results]), 30)
        assert set(removal.paths) == set(parts[1:])
        assert removal.n_bytes == sum(path.stat().st_size for path in parts[1:])
        assert removal.kept == {"referred to": 1}

    def test_a_part_that_was_asked_for_stays(self, root, results, parts, cache):
        cache.locate(pl.Series(["id-3-1"]))
        (removal,) = upkeep.unneeded(root, upkeep.needs([], [results]), 30)
        assert removal.paths == (parts[2],)
        assert removal.kept == {"referred to": 1, "used lately": 1}

    def test_nothing_goes_while_a_library_is_yet_to_be_screened(self, root, results, tmp_path):
        library = Library(tmp_path / "x.smi", "aimnet2-b973c", "aimnet2-b973c")
        needed = upkeep.needs([{"next": library}], [results])
        (removal,) = upkeep.unneeded(root, needed, 30)
        assert removal.paths == ()
        assert removal.kept == {"referred to": 1, "next not screened in full": 2}

    def test_old_leftovers_go_and_young_ones_stay(self, root, parts):
        old, young = (parts[0].parent / f"part-{name}.damaged" for name in ("old", "young"))
        for path in (old, young):
            path.touch()
        age(old)
        needed = upkeep.Needs({KNOWN: frozenset(path.name for path in parts)}, {})
        (removal,) = upkeep.unneeded(root, needed, 30)
        assert removal.paths == (old,)


class TestRemove:
    @pytest.fixture
    def removals(self, root, results):
        return upkeep.unneeded(root, upkeep.needs([], [results]), 30)

    def test_it_frees_what_it_said(self, root, parts, removals):
        assert upkeep.remove(root, removals) == removals[0].n_bytes
        assert [path.exists() for path in parts] == [True, False, False]

    def test_what_was_asked_for_in_between_stays(self, root, parts, removals, cache):
        cache.locate(pl.Series(["id-3-2"]))
        upkeep.remove(root, removals)
        assert [path.exists() for path in parts] == [True, True, False]

    def test_nothing_goes_while_a_screening_uses_it(self, root, parts, removals, cache):
        with in_use(cache.folder), pytest.raises(ProbeError, match="a screening is using it"):
            upkeep.remove(root, removals)
        assert all(path.exists() for path in parts)
        assert upkeep.remove(root, removals)

    def test_two_screenings_may_use_it_at_once(self, cache, parts):
        assert parts
        with in_use(cache.folder), in_use(cache.folder), (cache.folder / LOCK).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def test_of_a_backbone_named_everything_goes(self, root, parts):
        for name in ("aimnet2-b973c", KNOWN):
            (removal,) = upkeep.of_backbone(root, name)
            assert set(removal.paths) == set(parts)
        upkeep.remove(root, [removal])
        assert not any(path.exists() for path in parts)

    def test_a_backbone_that_is_not_there(self, root, parts):
        assert parts
        with pytest.raises(ProbeError, match="holds nothing of backbone mine; `probe cache show`"):
            upkeep.of_backbone(root, "mine")


def test_a_cache_that_cannot_be_written_to_can_be_used(tmp_path):
    with in_use(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


class TestCommands:
    @pytest.fixture
    def run(self, results, monkeypatch, tmp_path):
        """`probe cache` in a project of one library, screened."""
        assert results.is_dir()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "config").mkdir()
        (tmp_path / "config/config.yaml").write_text("libraries: config/libraries.tsv\n")
        (tmp_path / "config/libraries.tsv").write_text("library\tpath\nlib\tlib.smi\n")
        (tmp_path / "lib.smi").write_text("C\nCC\n")
        return lambda *words: CliRunner().invoke(cli.main, ["cache", *words])

    def test_show(self, run, root):
        said = run("show").stdout
        assert f"{KNOWN}  aimnet2-b973c: 3 parts, 6 conformers, 18 atoms, " in said
        assert "bytes an atom" in said
        (held,) = json.loads(run("show", "--json").stdout)["backbones"]
        assert held["n_conformers"] == 6
        assert held["bytes_per_atom"] == upkeep.holdings(root)[0].bytes_per_atom

    def test_verify(self, run, parts):
        assert "3 parts, none is damaged" in run("verify").stdout
        infinite(parts[1])
        found = run("verify")
        assert found.exit_code == 2
        assert found.stdout.startswith(f"cache/{KNOWN}/{parts[1].name} is damaged (a number")
        assert "1 of 3 parts are damaged; set them aside with --repair" in found.stderr
        repaired = run("verify", "--repair", "--json")
        assert repaired.exit_code == 0
        assert json.loads(repaired.stdout)["damaged"][0]["why"].startswith("is damaged")
        assert "2 parts, none is damaged" in run("verify").stdout

    def test_prune_says_first_and_removes_when_told(self, run, parts):
        said = run("prune").stdout
        assert "2 files, " in said
        assert "1 stay: referred to" in said
        assert "would be removed; --yes removes it" in said
        assert all(path.exists() for path in parts)
        record = json.loads(run("prune", "--json").stdout)
        assert record["removed"] is False
        assert record["n_bytes"] == sum(path.stat().st_size for path in parts[1:])
        assert " removed" in run("prune", "--yes").stdout
        assert [path.exists() for path in parts] == [True, False, False]

    def test_prune_needs_results_and_a_configuration(self, run):
        assert "nowhere: no such folder; name every" in run("prune", "--results", "nowhere").stderr
        assert "no such file; name the configuration" in run("prune", "--config", "x.yaml").stderr

    def test_prune_finds_what_probe_screen_left_in_the_results(self, run, tmp_path):
        """Of a library whose file may be gone, in a folder without another configuration."""
        (tmp_path / "config/config.yaml").unlink()
        kept = config.check({"library": "gone.smi"})
        tables.write_json(tmp_path / "results/lib/config.json", kept)
        assert "2 files, " in run("prune").stdout
        switched = kept | {"library": "gone.smi", "backbone": "aimnet2-b973c-1"}
        tables.write_json(tmp_path / "results/lib/config.json", switched)
        Cache(tmp_path / "cache", OTHER, WIDTH).add([row("id-5-1", 2)])
        said = run("prune", "--unused-days", "0").stdout
        assert f"{OTHER}: 0 files, 0 B; 1 stay: lib not screened in full" in said

    def test_prune_keeps_what_an_unfinished_probe_screen_may_need(self, run, tmp_path):
        kept = config.check({"library": "gone.smi"})
        tables.write_json(tmp_path / "results/lib/config.json", kept)
        begun = kept | {"backbone": "aimnet2-b973c-1"}
        tables.write_json(tmp_path / "results/lib/config-0a1b.json", begun)
        Cache(tmp_path / "cache", OTHER, WIDTH).add([row("id-5-1", 2)])
        said = run("prune", "--unused-days", "0").stdout
        assert f"{OTHER}: 0 files, 0 B; 1 stay: lib not screened in full" in said

    def test_prune_keeps_what_a_watched_library_may_need(self, run, parts, tmp_path):
        (tmp_path / "incoming").mkdir()
        (tmp_path / "incoming/new.smi").write_text("CCC\n")
        (tmp_path / "config/config.yaml").write_text(
            "libraries: config/libraries.tsv\nwatch: incoming\n"
        )
        assert "2 stay: new not screened in full" in run("prune", "--yes").stdout
        assert all(path.exists() for path in parts)

    def test_prune_of_a_backbone(self, run, parts):
        assert "would be removed" in run("prune", "--backbone", KNOWN).stdout
        run("prune", "--backbone", KNOWN, "--yes")
        assert not any(path.exists() for path in parts)
