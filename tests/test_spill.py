"""Rows in another order than they came in: whatever the pieces, the order is that of a sort."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from probe import spill, streams


@pytest.fixture(params=[1, 3, 64, 1000])
def rows(request, monkeypatch):
    """Rows that are held at once, whatever a batch on disk is."""
    monkeypatch.setattr(streams, "ROWS", request.param)
    monkeypatch.setattr(spill, "BATCH", 5)
    return request.param


@pytest.fixture
def place(tmp_path):
    with spill.scratch(tmp_path / "table.parquet") as made:
        yield made


def pieces(rng, n):
    """A frame of ``n`` rows with few different keys, cut at random."""
    frame = pl.DataFrame({"key": rng.integers(0, 9, n).astype(float), "text": map(str, range(n))})
    cuts = np.sort(rng.integers(0, n + 1, 6))
    bounds = zip([0, *cuts], [*cuts, n], strict=True)
    return frame, [frame[int(start) : int(stop)] for start, stop in bounds]


def test_runs_come_out_sorted_and_equal_keys_as_they_came(rows, place):
    frame, parts = pieces(np.random.default_rng(rows), 200)
    runs = place.runs("runs")
    for part in parts:
        runs.add(part, part["key"].to_numpy())
    merged = list(runs.merged())
    assert runs.n == 200
    assert max(part.height for part in merged) <= rows
    assert pl.concat(merged).equals(frame.sort("key", maintain_order=True))


def test_no_rows_are_no_pieces(place):
    runs = place.runs("runs")
    runs.add(pl.DataFrame({"key": []}), np.array([]))
    assert (runs.n, list(runs.merged())) == (0, [])
    assert list(place.buckets("buckets")) == []


def test_a_bucket_holds_its_rows_in_their_order_and_no_others(rows, place):
    frame, parts = pieces(np.random.default_rng(rows), 200)
    buckets = place.buckets("buckets")
    for part in parts:
        buckets.add(part, part["key"].to_numpy().astype(int))
    found = list(buckets)
    assert [part["key"].unique().to_list() for part in found] == [[key] for key in range(9)]
    assert pl.concat(found).equals(frame.sort("key", maintain_order=True))


def test_the_scratch_folder_is_gone_afterwards_and_empty_before(tmp_path):
    killed = tmp_path / ".table.parquet.parts"
    killed.mkdir()
    (killed / "left behind").touch()
    with spill.scratch(tmp_path / "table.parquet") as place:
        assert place.place == killed
        assert list(killed.iterdir()) == []
        place.runs("rows").add(pl.DataFrame({"key": [1.0]}), np.array([1.0]))
        assert [path.name for path in killed.iterdir()] == ["rows.arrow"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_read", [False, True])
def test_its_files_are_closed_when_the_block_ends(tmp_path, is_read):

    def opened():
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return [link for link in links if tmp_path in link.readlink().parents]

    with spill.scratch(tmp_path / "table.parquet") as place:
        runs = place.runs("rows")
        runs.add(pl.DataFrame({"key": [1.0]}), np.array([1.0]))
        if is_read:
            assert len(list(runs.merged())) == 1
        assert len(opened()) == 1
    assert opened() == []
    assert runs.n == 1
