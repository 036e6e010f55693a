"""Rows in another order than they came in: whatever the pieces, the order is that of a sort."""

import numpy as np
import polars as pl
import pytest

from probe import spill, streams
from probe.spill import Buckets, Runs


@pytest.fixture(params=[1, 3, 64, 1000])
def rows(request, monkeypatch):
    """Rows that are held at once, whatever a batch on disk is."""
    monkeypatch.setattr(streams, "ROWS", request.param)
    monkeypatch.setattr(spill, "BATCH", 5)
    return request.param


def pieces(rng, n):
    """A frame of ``n`` rows with few different keys, cut at random."""
    frame = pl.DataFrame({"key": rng.integers(0, 9, n).astype(float), "text": map(str, range(n))})
    cuts = np.sort(rng.integers(0, n + 1, 6))
    bounds = zip([0, *cuts], [*cuts, n], strict=True)
    return frame, [frame[int(start) : int(stop)] for start, stop in bounds]


def test_runs_come_out_sorted_and_equal_keys_as_they_came(rows, tmp_path):
    frame, parts = pieces(np.random.default_rng(rows), 200)
    runs = Runs(tmp_path / "runs")
    for part in parts:
        runs.add(part, part["key"].to_numpy())
    merged = list(runs.merged())
    assert runs.n == 200
    assert max(part.height for part in merged) <= rows
    assert pl.concat(merged).equals(frame.sort("key", maintain_order=True))


def test_no_rows_are_no_pieces(tmp_path):
    runs = Runs(tmp_path / "runs")
    runs.add(pl.DataFrame({"key": []}), np.array([]))
    assert (runs.n, list(runs.merged())) == (0, [])
    assert list(Buckets(tmp_path / "buckets")) == []


def test_a_bucket_holds_its_rows_in_their_order_and_no_others(rows, tmp_path):
    frame, parts = pieces(np.random.default_rng(rows), 200)
    buckets = Buckets(tmp_path / "buckets")
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
        assert place == killed
        assert list(place.iterdir()) == []
        (place / "rows").touch()
    assert list(tmp_path.iterdir()) == []
