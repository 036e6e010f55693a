"""Raw records of a library file: where each begins and ends, without understanding what it says.

Counting and reading go through the same splitting, so that record 17 is one and the same thing
in a plan, in a shard and in a message. No chemistry is imported here.
"""

import codecs
import csv
import difflib
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from probe import tables
from probe.errors import ProbeError

SMILES, CSV, TSV, SDF, XYZ, PARQUET = "smiles", "csv", "tsv", "sdf", "xyz", "parquet"

SUFFIXES = {
    ".smi": SMILES,
    ".smiles": SMILES,
    ".txt": SMILES,
    ".csv": CSV,
    ".tsv": TSV,
    ".sdf": SDF,
    ".sd": SDF,
    ".mol": SDF,
    ".xyz": XYZ,
    ".extxyz": XYZ,
    ".parquet": PARQUET,
}
"""Formats by suffix; all but Parquet may be followed by .gz."""

REQUIRED_COLUMNS = ("numbers", "positions", "charge")
"""Columns that a Parquet library must have."""

OPTIONAL_COLUMNS = ("multiplicity", "smiles", "molecule_id", "name", "note")
"""Columns of a Parquet library that are read where they exist."""

MAX_ROW_LINES = 200
"""A quote in a CSV file that is not closed within so many lines never was an opening quote."""

Text = tuple[int, bytes]
"""Byte offset of a record in the decompressed file, and its bytes."""


@dataclass(frozen=True)
class Header:
    """First row of a CSV or TSV file."""

    delimiter: str
    columns: tuple[str, ...]


def format_of(path: Path) -> str:
    """The format that the suffix of ``path`` stands for.

    Raises:
        ProbeError: the suffix is unknown.
    """
    suffix = Path(_uncompressed_name(path)).suffix.lower()
    if suffix == ".parquet" and is_compressed(path):
        raise ProbeError(f"{path}: Parquet is compressed inside; gunzip it and give the .parquet")
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    near = difflib.get_close_matches(suffix, SUFFIXES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ProbeError(
        f"{path}: unknown suffix {suffix or '(none)'}; {hint}known are {' '.join(SUFFIXES)}, "
        "all but .parquet also followed by .gz"
    )


def stem(path: Path) -> str:
    """Name of ``path`` without .gz and the suffix of its format."""
    return Path(_uncompressed_name(path)).stem


def is_compressed(path: Path) -> bool:
    """Whether ``path`` is named as a gzip file."""
    return path.suffix.lower() == ".gz"


def texts(path: Path, offset: int | None = None) -> Iterator[Text]:
    """Records of a text library, from the first or from the one that begins at byte ``offset``.

    Raises:
        ProbeError: the file cannot be read, or is not the gzip file that its name promises.
    """
    kind = format_of(path)
    delimiter = header(path).delimiter if kind in (CSV, TSV) else None
    with _opened(path) as handle:
        start = handle.seek(offset) if offset is not None else handle.tell()
        found = _split(kind, delimiter, handle, start)
        yield from found if offset is not None else _without_header(kind, found)


def rows(path: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows ``first`` (counted from 0) to ``first + count`` of a Parquet library.

    Raises:
        ProbeError: the file cannot be read, or lacks a required column.
    """
    file, end = _parquet(path), first + count
    names = set(file.schema_arrow.names)
    columns = [name for name in REQUIRED_COLUMNS + OPTIONAL_COLUMNS if name in names]
    begin = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        low, high = max(first, begin), min(end, begin + n_rows)
        if low < high:
            yield from _group(path, file, group, columns).slice(low - begin, high - low).to_pylist()
        begin += n_rows


def n_rows(path: Path) -> int:
    """Number of rows of a Parquet library, whose columns are checked.

    Raises:
        ProbeError: the file cannot be read, or lacks a required column.
    """
    count: int = _parquet(path).metadata.num_rows
    return count


def shard(
    path: Path, first: int, count: int, offset: int | None
) -> Iterator[tuple[int, str | dict[str, Any]]]:
    """Records ``first`` (counted from 0) to ``first + count`` with their numbers (from 1).

    A record of a text format is its decoded text, one of Parquet is a dict. ``offset`` is the
    byte where the first of them begins, if it is known: nothing before it is read.

    Raises:
        ProbeError: the file cannot be read.
    """
    if format_of(path) == PARQUET:
        yield from enumerate(rows(path, first, count), first + 1)
        return
    skipped = first if offset is None else 0
    chosen = islice(texts(path, offset), skipped, skipped + count)
    yield from ((number, decode(text)) for number, (_, text) in enumerate(chosen, first + 1))


def header(path: Path) -> Header:
    """Delimiter and column names of a CSV or TSV file; no columns if the file is empty.

    Raises:
        ProbeError: the file cannot be read.
    """
    with _opened(path) as handle:
        line = next((line for line in handle if line.strip()), b"")
    delimiter = "\t" if format_of(path) == TSV else max(",;\t", key=decode(line).count)
    with _opened(path) as handle:
        text = next((text for _, text in _split_rows(handle, 0, delimiter)), b"")
    return Header(delimiter, tuple(name.strip() for name in cells(decode(text), delimiter)))


def cells(text: str, delimiter: str) -> list[str]:
    """Cells of the first row in ``text``, one record of a CSV or TSV file.

    Raises:
        csv.Error: a cell is longer than the csv module allows.
    """
    return next(_reader(text, delimiter), [])


def is_open(text: str, delimiter: str) -> bool:
    """Whether a quoted cell is still open at the end of ``text``, one or more lines of a table."""
    if '"' not in text:
        return False
    try:
        return sum(1 for _ in _reader(text.rstrip("\r\n") + "\nx", delimiter)) < 2
    except csv.Error:
        return False


def decode(text: bytes) -> str:
    """``text`` as UTF-8 or, where it is not, as Latin-1 (which any bytes are)."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _split(kind: str, delimiter: str | None, lines: Iterable[bytes], start: int) -> Iterator[Text]:
    if kind == SDF:
        return _split_blocks(lines, start)
    if kind == XYZ:
        return _split_frames(lines, start)
    return _split_lines(lines, start) if delimiter is None else _split_rows(lines, start, delimiter)


def _without_header(kind: str, found: Iterator[Text]) -> Iterator[Text]:
    for index, record in enumerate(found):
        if index == 0 and (kind in (CSV, TSV) or (kind == SMILES and _names_smiles(record[1]))):
            continue
        yield record


def _names_smiles(line: bytes) -> bool:
    return line.split()[0].lower().endswith(b"smiles")


def _split_lines(lines: Iterable[bytes], offset: int) -> Iterator[Text]:
    for line in lines:
        text = line.strip()
        if text and not text.startswith(b"#"):
            yield offset, line
        offset += len(line)


def _split_rows(lines: Iterable[bytes], offset: int, delimiter: str) -> Iterator[Text]:
    waiting: deque[bytes] = deque()
    source = iter(lines)

    def following() -> bytes | None:
        return waiting.popleft() if waiting else next(source, None)

    while (line := following()) is not None:
        row = [line]
        while is_open(_joined(row), delimiter) and len(row) < MAX_ROW_LINES:
            if (line := following()) is None:
                break
            row.append(line)
        if len(row) > 1 and not _is_strict(_joined(row), delimiter):
            waiting.extendleft(reversed(row[1:]))
            del row[1:]
        text = b"".join(row)
        if text.strip():
            yield offset, text
        offset += len(text)


def _joined(row: list[bytes]) -> str:
    return b"".join(row).decode("latin-1")


def _is_strict(text: str, delimiter: str) -> bool:
    """Whether quotes in ``text`` stand where they may. A stray quote must not swallow records."""
    try:
        return len(list(_reader(text, delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _reader(text: str, delimiter: str, strict: bool = False) -> Iterator[list[str]]:
    # A lone carriage return is no line's end for the splitting, so it must be none for the cells.
    plain = text.replace("\r\n", "\n").replace("\r", " ")
    return csv.reader(io.StringIO(plain, newline="\n"), delimiter=delimiter, strict=strict)


def _split_blocks(lines: Iterable[bytes], offset: int) -> Iterator[Text]:
    block: list[bytes] = []
    for line in lines:
        block.append(line)
        if line.startswith(b"$$$$"):
            text = b"".join(block)
            yield offset, text
            offset += len(text)
            block = []
    rest = b"".join(block)
    if rest.strip():
        yield offset, rest


def _split_frames(lines: Iterable[bytes], offset: int) -> Iterator[Text]:
    frame: list[bytes] = []
    size = 0
    for line in lines:
        if frame and _starts_frame(len(frame), size, line):
            text = b"".join(frame)
            yield offset, text
            offset += len(text)
            frame = []
        if frame or line.strip():
            frame.append(line)
            size = _frame_size(line) if len(frame) == 1 else size
        else:
            offset += len(line)
    if frame:
        yield offset, b"".join(frame)


def _frame_size(line: bytes) -> int:
    """Lines of the frame whose first is ``line``; 0 if that is no atom count."""
    text = line.strip()
    return int(text) + 2 if text.isdigit() and len(text) < 10 else 0


def _starts_frame(n_lines: int, size: int, line: bytes) -> bool:
    """Whether ``line`` begins a new frame after ``n_lines`` of one that should have ``size``.

    An atom count does, except where the comment line is due. So does, after as many atoms as the
    count promised, a line that is no atom: it is a damaged count line, and the frame before it
    must not suffer from that. A surplus atom stays with its frame, which is then damaged.
    """
    if size and n_lines == 1:
        return False
    if _frame_size(line):
        return True
    return 0 < size <= n_lines and bool(line.strip()) and not _is_atom(line)


def _is_atom(line: bytes) -> bool:
    words = line.split()
    try:
        return len([float(word) for word in words[1:4]]) == 3 and words[0].isalnum()
    except ValueError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """``path`` opened for reading, decompressed, after its byte order mark."""
    try:
        with gzip.open(path) if is_compressed(path) else path.open("rb") as handle:
            mark = handle.read(3)
            _refuse(path, mark)
            if mark != codecs.BOM_UTF8:
                handle.seek(0)
            yield handle  # type: ignore[misc]
    except EOFError as error:
        raise ProbeError(f"{path}: the gzip file is truncated; copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        reason = tables.first_line(error)
        raise ProbeError(f"{path}: not a readable gzip file ({reason}); copy it again") from error
    except OSError as error:
        raise ProbeError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _refuse(path: Path, mark: bytes) -> None:
    if mark.startswith(b"\x1f\x8b"):
        raise ProbeError(f"{path}: the content is compressed; add .gz to its name")
    if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ProbeError(f"{path}: the text is UTF-16; save it as UTF-8")


def _parquet(path: Path) -> pq.ParquetFile:
    file = tables.open_parquet(path)
    missing = [name for name in REQUIRED_COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise ProbeError(
            f"{path}: no column {', '.join(missing)}; a Parquet library needs "
            f"{', '.join(REQUIRED_COLUMNS)}"
        )
    return file


def _group(path: Path, file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ProbeError(f"{path}: {tables.first_line(error)}; write the file again") from error


def _uncompressed_name(path: Path) -> str:
    return path.stem if is_compressed(path) else path.name
