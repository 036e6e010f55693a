"""The store of embeddings: what goes in comes out, and damage never does."""

import disk
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cached import WIDTH, flip, row

from probe import tables
from probe.backbones import Geometry
from probe.cache.embed import ensure
from probe.cache.store import Cache, Cached, PartLostError
from probe.errors import ProbeError


def ids(*names):
    return pl.Series(names, dtype=pl.String)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, "0123456789abcdef", WIDTH)


@pytest.fixture
def rows():
    return [row("one", 1), row("two", 3), row("three", 7)]


def equal(stored, given):
    assert stored.conformer_id == given.conformer_id
    assert stored.energy_ev == given.energy_ev
    assert stored.terms_ev == given.terms_ev
    assert stored.embedding.dtype == np.float16
    assert np.array_equal(stored.embedding, given.embedding)
    assert (stored.charges is None) == (given.charges is None)
    assert stored.charges is None or np.array_equal(stored.charges, given.charges)


class TestRoundTrip:
    def test_rows_come_back_as_they_were(self, cache, rows):
        stored = list(cache.entries(cache.add(rows)))
        assert len(stored) == 3
        for pair in zip(stored, rows, strict=True):
            equal(*pair)

    def test_a_backbone_without_charges_stores_none(self, cache):
        given = row("one", 4, charges=False)
        equal(next(cache.entries(cache.add([given]))), given)

    def test_arrays_are_raw_little_endian_row_major(self, cache):
        given = Cached(
            "one",
            -1.0,
            {"network": -1.0},
            np.array([0.5, -2.0], ">f4"),
            np.asfortranarray([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]]).astype(">f2"),
        )
        table = pq.read_table(cache.folder / cache.add([given]))
        assert table.schema.field("embedding").type == pa.binary()
        assert table["embedding"][0].as_py() == np.array([1, 2, 3, -4, 5, 6], "<f2").tobytes()
        assert table["embedding"][0].as_py()[:4].hex() == "003c0040"  # 1.0 and 2.0
        assert table["charges"][0].as_py().hex() == "0000003f000000c0"  # 0.5 and -2.0

    def test_a_part_lies_in_the_backbones_folder_and_says_whose_it_is(self, cache, rows, tmp_path):
        part = tmp_path / "0123456789abcdef" / cache.add(rows)
        record = tables.provenance(part)
        assert record["fingerprint"] == "0123456789abcdef"
        assert record["embedding_dim"] == WIDTH
        assert pq.ParquetFile(part).num_row_groups == 1

    def test_the_same_rows_are_the_same_part(self, cache, rows):
        assert cache.add(rows) == cache.add(rows)
        assert len(list(cache.folder.iterdir())) == 1

    def test_other_rows_are_another_part(self, cache, rows):
        assert cache.add(rows) != cache.add(rows[:2])
        assert len(list(cache.folder.iterdir())) == 2

    def test_no_rows_are_no_part(self, cache):
        with pytest.raises(ValueError, match="at least one"):
            cache.add([])


class TestLocate:
    def test_an_empty_cache_holds_nothing(self, cache):
        assert cache.locate(ids("one")).is_empty()

    def test_it_finds_what_is_there_and_nothing_else(self, cache, rows):
        first, second = cache.add(rows[:2]), cache.add(rows[2:])
        found = cache.locate(ids("two", "three", "four"))
        assert dict(found.iter_rows()) == {"two": first, "three": second}

    def test_what_is_in_two_parts_is_found_once(self, cache, rows):
        cache.add(rows)
        cache.add(rows[1:])
        assert cache.locate(ids("two", "two"))["conformer_id"].to_list() == ["two"]

    def test_nothing_wanted_is_nothing_found(self, cache, rows):
        cache.add(rows)
        assert cache.locate(ids()).is_empty()

    def test_two_runs_may_share_a_folder(self, cache, rows, tmp_path):
        other = Cache(tmp_path, cache.fingerprint, WIDTH)
        mine, theirs = cache.add(rows[:2]), other.add(rows[1:])
        for each in (cache, other):
            assert set(each.locate(ids("one", "two", "three"))["part"]) == {mine, theirs}
            equal(list(each.entries(theirs))[1], rows[2])

    def test_backbones_do_not_see_each_other(self, cache, rows, tmp_path):
        cache.add(rows)
        assert Cache(tmp_path, "fedcba9876543210", WIDTH).locate(ids("one")).is_empty()


def truncated(part):
    part.write_bytes(part.read_bytes()[:-200])


def half(part):
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])


def empty(part):
    part.write_bytes(b"")


def not_parquet(part):
    part.write_text("conformer_id,energy_ev\none,-1.0\n" * 50)


def foreign(part):
    """A part that another backbone wrote, put here by hand."""
    table = pq.read_table(part)
    record = tables.provenance(part) | {"fingerprint": "fedcba9876543210"}
    pq.write_table(table.cast(tables.with_provenance(table.schema, record)), part)


def other_columns(part):
    table = pq.read_table(part)
    pq.write_table(table.drop(["embedding"]), part)


def flipped_id(part):
    flip(part, "conformer_id")


DAMAGES = {
    "its end is missing": truncated,
    "its half is missing": half,
    "it is empty": empty,
    "it is not Parquet": not_parquet,
    "it is another backbone's": foreign,
    "it lacks a column": other_columns,
    "an id has changed": flipped_id,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
class TestDamage:
    @pytest.fixture
    def part(self, cache, rows, damage):
        cache.add([row("sound", 2)])
        part = cache.folder / cache.add(rows)
        damage(part)
        return part

    def test_it_is_set_aside_with_a_message_and_not_used(self, cache, part, capsys):
        found = cache.locate(ids("one", "two", "three", "sound"))
        assert found["conformer_id"].to_list() == ["sound"]
        said = capsys.readouterr().err
        assert said.startswith(f"cache: {part} is ")
        assert said.endswith(f"; set aside as {part.stem}.damaged\n")
        assert said.count("\n") == 1
        assert not part.exists()
        assert part.with_suffix(".damaged").exists()

    def test_it_is_said_once(self, cache, part, capsys):
        cache.locate(ids("one"))
        capsys.readouterr()
        cache.locate(ids("one"))
        assert capsys.readouterr().err == ""
        assert part.with_suffix(".damaged").exists()

    def test_its_rows_can_be_added_again(self, cache, part, rows):
        cache.locate(ids("one"))
        assert cache.add(rows) == part.name
        assert len(cache.locate(ids("one", "two", "three"))) == 3

    def test_reading_it_is_refused_in_a_line(self, cache, part):
        with pytest.raises(ProbeError, match="gone or damaged") as raised:
            cache.read(part.name)
        assert "\n" not in str(raised.value)
        assert not part.exists()


class TestDamageInTheData:
    """It is found by the checksums, before anybody is told that the part holds something."""

    @pytest.fixture(params=["energy_ev", "charges", "embedding", "n_atoms"])
    def part(self, cache, rows, request):
        part = cache.folder / cache.add(rows)
        flip(part, request.param)
        return part

    def test_a_flipped_bit_is_found_where_something_of_the_part_is_wanted(
        self, cache, part, capsys
    ):
        assert cache.locate(ids("four")).is_empty()
        assert capsys.readouterr().err == ""
        assert cache.locate(ids("one")).is_empty()
        assert "is damaged" in capsys.readouterr().err
        assert not part.exists()

    def test_and_where_it_is_read(self, cache, part, capsys):
        with pytest.raises(PartLostError, match="gone or damaged"):
            list(cache.entries(part.name))
        assert "is damaged" in capsys.readouterr().err
        assert not part.exists()

    def test_any_flipped_bit_is_found_or_harmless(self, cache, rows):
        """In the names and types of the columns and in the pages' heads, too."""
        part = cache.folder / cache.add(rows)
        whole, content = cache.read(part.name), part.read_bytes()
        found = []
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            part.write_bytes(damaged)
            found.append(cache.locate(ids("one", "two", "three")).height)
            assert found[-1] == 0 or (found[-1] == 3 and cache.read(part.name).equals(whole))
        assert 0 in found

    def test_a_part_that_is_gone_is_said_so(self, cache):
        with pytest.raises(ProbeError, match="gone or damaged"):
            cache.read("part-0.parquet")


class TestTroubleThatIsNotDamage:
    def test_a_part_that_another_run_just_set_aside_is_passed_over(self, cache, rows, capsys):
        part = cache.folder / cache.add(rows)
        part.unlink()
        part.symlink_to(cache.folder / "gone")  # listed, and not there when opened
        assert cache.locate(ids("one")).is_empty()
        assert capsys.readouterr().err == ""

    def test_a_part_that_cannot_be_opened_stays_where_it_is(self, cache, rows):
        part = cache.folder / cache.add(rows)
        part.unlink()
        part.symlink_to(part)  # the system refuses to follow it
        with pytest.raises(ProbeError, match="cannot read it") as raised:
            cache.locate(ids("one"))
        assert str(part) in str(raised.value)
        assert part.is_symlink()

    def test_a_disk_that_is_full_leaves_no_part_and_no_temporary_file(self, cache):
        with disk.full(at=2**20), pytest.raises(ProbeError, match=r"part-.*too large.*make room"):
            cache.add([row("big", 2**17)])
        assert list(cache.folder.iterdir()) == []

    def test_a_part_half_written_by_a_killed_run_is_not_looked_at(self, cache, rows, capsys):
        part = cache.add(rows)
        (cache.folder / part).rename(cache.folder / f".{part}.x1y2.tmp")
        assert cache.locate(ids("one")).is_empty()
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "damage",
    [*DAMAGES.values(), lambda part: flip(part, "embedding")],
    ids=[*DAMAGES, "an embedding has changed"],
)
def test_what_was_damaged_is_computed_again(aimnet, tmp_path, damage):
    """From the damaged part to the sound one, with the real backbone."""
    chloride = Geometry(np.array([17], np.uint8), np.zeros((1, 3)), -1)
    hydrogen = Geometry(np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 0.74]]))
    geometries = {"chloride": chloride, "hydrogen": hydrogen}
    cache = Cache(tmp_path, aimnet.fingerprint, aimnet.embedding_dim)
    listing, first = ensure(geometries, aimnet, tmp_path, 100)
    part = listing["part"][0]
    before = list(cache.entries(part))
    damage(cache.folder / part)
    again, second = ensure(geometries, aimnet, tmp_path, 100)
    assert (first.n_computed, second.n_computed, second.n_cached) == (2, 2, 0)
    assert again.equals(listing)
    for pair in zip(cache.entries(part), before, strict=True):
        equal(*pair)
