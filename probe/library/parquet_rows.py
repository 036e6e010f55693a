"""Records of a Parquet library: a row each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from probe import tables
from probe.errors import ProbeError

REQUIRED = ("numbers", "positions", "charge")
"""Columns that a Parquet library must have."""

OPTIONAL = ("multiplicity", "smiles", "molecule_id", "name", "note")
"""Columns of a Parquet library that are read where they exist."""


def n_rows(path: Path) -> int:
    """Number of rows of a Parquet library, whose columns are checked.

    Raises:
        ProbeError: the file cannot be read, or lacks a required column.
    """
    count: int = _opened(path).metadata.num_rows
    return count


def rows(path: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows ``first`` (counted from 0) to ``first + count`` of a Parquet library.

    Raises:
        ProbeError: the file cannot be read, or lacks a required column.
    """
    file, end = _opened(path), first + count
    names = set(file.schema_arrow.names)
    columns = [name for name in REQUIRED + OPTIONAL if name in names]
    begin = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        low, high = max(first, begin), min(end, begin + n_rows)
        if low < high:
            yield from _group(path, file, group, columns).slice(low - begin, high - low).to_pylist()
        begin += n_rows


def _opened(path: Path) -> pq.ParquetFile:
    file = tables.open_parquet(path)
    missing = [name for name in REQUIRED if name not in file.schema_arrow.names]
    if missing:
        raise ProbeError(
            f"{path}: no column {', '.join(missing)}; a Parquet library needs {', '.join(REQUIRED)}"
        )
    return file


def _group(path: Path, file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ProbeError(f"{path}: {tables.first_line(error)}; write the file again") from error
