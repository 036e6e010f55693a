"""Tables in pieces hold what they hold whole."""

import polars as pl
import pytest

from probe import schemas, streams, tables
from probe.errors import ProbeError

REJECTS = [{"source": f"a:{n}", "reason": "empty", "molecule_id": None} for n in range(20)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rejects.parquet"
    tables.write(path, REJECTS, schemas.REJECTED, {"library": "a"})
    return path


@pytest.mark.parametrize("rows", [1, 7, 20, 100])
def test_read_in_pieces_of_any_size_and_written_so(path, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(streams, "ROWS", rows)
    parts = list(streams.batches(path, schemas.REJECTED))
    assert max(part.height for part in parts) <= rows
    with streams.writing(tmp_path / "again", schemas.REJECTED, {"library": "a"}) as write:
        for part in parts:
            write(part)
        assert not (tmp_path / "again").exists()
    assert tables.read(tmp_path / "again", schemas.REJECTED).to_pylist() == REJECTS
    assert tables.provenance(tmp_path / "again") == tables.provenance(path)


def test_without_rows_there_is_a_table_all_the_same(tmp_path):
    with streams.writing(tmp_path / "none", schemas.REJECTED, {}) as write:
        write(pl.DataFrame(schema=dict.fromkeys(schemas.REJECTED.names, pl.String)))
    assert tables.read(tmp_path / "none", schemas.REJECTED).num_rows == 0
    assert list(streams.batches(tmp_path / "none", schemas.REJECTED)) == []


def test_what_fails_half_way_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="stop"), streams.writing(path, schemas.REJECTED, {}):
        raise ValueError("stop")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_column_that_is_not_there_is_named(path):
    with pytest.raises(ProbeError, match="no column conformer_id"):
        list(streams.batches(path, schemas.SCORES, ["conformer_id"]))
