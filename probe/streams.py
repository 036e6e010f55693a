"""Tables in pieces: read and written without ever being held whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from probe import tables
from probe.errors import ProbeError

ROWS = 4096
"""Rows that are held at once, where one is a conformer."""

Write = Callable[[pl.DataFrame], None]


def batches(
    path: Path, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """``pieces`` as polars frames."""
    return map(pl.DataFrame, pieces(path, schema, columns))


def pieces(
    path: Path, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """``tables.read`` in pieces of at most ``ROWS``; an empty table is no piece.

    Raises:
        ProbeError: the file is missing, is not Parquet, or lacks a column or has another type.
    """
    names = list(columns or schema.names)
    file = tables.open_parquet(path)
    wanted = pa.schema([schema.field(name) for name in names])
    tables.require_columns(path, file.schema_arrow, names)
    try:
        for batch in file.iter_batches(batch_size=ROWS, columns=names):
            yield pa.Table.from_batches([batch]).select(names).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ProbeError(f"{path}: {tables.first_line(error)}; write the file again") from error


@contextmanager
def writing(path: Path, schema: pa.Schema, provenance: Mapping[str, Any]) -> Iterator[Write]:
    """What appends rows to ``path``, which appears when the block ends without an error.

    Rows must hold every column of ``schema``; each call is a row group.
    """
    recorded = tables.with_provenance(schema, provenance)
    with (
        tables.replacing(path) as handle,
        pq.ParquetWriter(handle, recorded, compression="zstd") as writer,
    ):

        def write(rows: pl.DataFrame) -> None:
            if rows.height:
                table = rows.select(schema.names).to_arrow().cast(schema)
                writer.write_table(table.replace_schema_metadata(recorded.metadata))

        yield write
