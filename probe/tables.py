"""Tables and records on disk: how they are written, and how they are read.

What is written is there whole or not at all, and says where it came from.
"""

import errno
import fcntl
import glob
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from probe import __version__
from probe.errors import ProbeError

PROVENANCE_KEY = b"probe"

UNHELD_SECONDS = 3.0
"""Since it was last written, after which a temporary file that nobody holds is a dead process's."""

SCREENED = ("plan.json", "accept.parquet", "recompute.parquet", "summary.json")
"""Files that are in the folder of every screened library: without one it is another folder."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, and the limits of a user and of a file."""


def with_provenance(schema: pa.Schema, provenance: Mapping[str, Any]) -> pa.Schema:
    """``schema`` that carries ``provenance`` and the package version in its metadata."""
    record = {"version": __version__, **provenance}
    return schema.with_metadata({PROVENANCE_KEY: json.dumps(record, sort_keys=True).encode()})


def write(
    path: Path,
    rows: Sequence[Mapping[str, Any]] | pa.Table,
    schema: pa.Schema,
    provenance: Mapping[str, Any],
) -> None:
    """Write ``rows`` as ``schema``, atomically. Rows must hold every column."""
    table = (
        rows.select(schema.names).cast(schema)
        if isinstance(rows, pa.Table)
        else pa.Table.from_pylist(list(rows), schema=schema)
    )
    table = table.replace_schema_metadata(with_provenance(schema, provenance).metadata)
    atomically(path, lambda handle: pq.write_table(table, handle, compression="zstd"))


def read(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read ``path``, which must hold every column of ``schema``.

    Raises:
        ProbeError: the file is missing, is not Parquet, or lacks a column or has another type.
    """
    names = list(columns or schema.names)
    file = open_parquet(path)
    require_columns(path, file.schema_arrow, names)
    try:
        table = file.read(columns=names).select(names)
        return table.cast(pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ProbeError(f"{path}: {first_line(error)}; write the file again") from error


def frame(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """``read`` as a polars frame."""
    return pl.DataFrame(read(path, schema, columns))


def require_columns(path: Path, found: pa.Schema, names: Sequence[str]) -> None:
    """Raise ProbeError unless the table ``found`` in ``path`` has all columns ``names``."""
    if missing := sorted(set(names) - set(found.names)):
        raise ProbeError(
            f"{path}: no column {', '.join(missing)}; expected a table with {', '.join(names)}"
        )


def open_parquet(path: Path) -> pq.ParquetFile:
    """``path`` as a Parquet file.

    Raises:
        ProbeError: the file is missing or is not Parquet.
    """
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file{_advice(path)}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ProbeError(f"{path}: not a readable Parquet file ({first_line(error)})") from error


def _advice(path: Path) -> str:
    """What to do about a file that is missing, where its name tells."""
    known = path.name in SCREENED
    return "; name the folder of a finished screening, such as results/demo" if known else ""


def provenance(path: Path) -> dict[str, Any]:
    """What ``write`` recorded in ``path``; empty for a table that it did not write."""
    metadata = open_parquet(path).schema_arrow.metadata or {}
    record: dict[str, Any] = json.loads(metadata.get(PROVENANCE_KEY, b"{}"))
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``record`` as indented JSON, atomically."""
    text = json.dumps(record, indent=2, sort_keys=False, allow_nan=False) + "\n"
    atomically(path, lambda handle: handle.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        ProbeError: the file is missing or is not a JSON object.
    """
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file{_advice(path)}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProbeError(f"{path}: not valid JSON ({first_line(error)})") from error
    if not isinstance(record, dict):
        raise ProbeError(f"{path}: not a JSON object")
    return record


def atomically(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Let ``fill`` write what ``replacing`` gives."""
    with replacing(path) as handle:
        fill(handle)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside ``path``; after the block it is synced and renamed into place.

    Whoever reads ``path`` sees the old content or the new, never a part of it. What a process that
    was killed over it left is removed first.

    Raises:
        ProbeError: the folder cannot be written to, or the disk is full.
    """
    descriptor, temporary = _temporary(path)
    try:
        with with_room(path), os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def with_room(path: Path) -> Iterator[None]:
    """A full disk within, while ``path`` is written, ends in one line that names it.

    Raises:
        ProbeError: that line.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ProbeError(
            f"{path}: cannot be written ({os.strerror(error.errno)}); make room there, or choose "
            "another place, and run the same command again"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def require_writable(folder: Path, remedy: str) -> None:
    """Try ``folder``, before anything is computed or fetched for it; nothing is left there.

    Of a folder that is yet to be made, what it would be made in is tried.

    Raises:
        ProbeError: it cannot be written to; ``remedy`` says what to do.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ProbeError(f"{folder}: cannot be written to ({error.strerror}); {remedy}") from error


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, open to be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        found, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise ProbeError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or let its "
            "folder be one that you may write to"
        ) from error
    with suppress(OSError):  # a file system without locks
        fcntl.flock(found, fcntl.LOCK_EX)
    return found, Path(name)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files for ``path`` that no process holds any more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), left.open("r+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - left.stat().st_mtime > UNHELD_SECONDS:
                left.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
