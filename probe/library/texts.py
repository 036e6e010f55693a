"""Records of a text file: where each begins and ends, without understanding what it says."""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from probe.errors import ProbeError
from probe.library.compressed import opened
from probe.library.formats import CSV, SDF, SMILES, TSV, XYZ, compression, format_of

MAX_ROW_LINES = 200
"""A quote in a CSV file that is not closed within so many lines never was an opening quote."""

Text = tuple[int, bytes]
"""Byte offset of a record in its file (of no use in a compressed one), and its bytes."""


@dataclass(frozen=True)
class Header:
    """First row of a CSV or TSV file."""

    delimiter: str
    columns: tuple[str, ...]


def texts(path: Path, offset: int | None = None) -> Iterator[Text]:
    """Records of a text library, from the first or from the one that begins at byte ``offset``.

    Raises:
        ProbeError: the file cannot be read, or is not compressed as its name promises.
    """
    kind = format_of(path)
    delimiter = header(path).delimiter if kind in (CSV, TSV) else None
    with opened(path) as handle:
        start = 0 if compression(path) else handle.seek(offset or handle.tell())
        found = _split(kind, delimiter, handle, start)
        yield from found if offset is not None else _without_header(kind, found)


def header(path: Path) -> Header:
    """Delimiter and column names of a CSV or TSV file; no columns if the file is empty.

    Raises:
        ProbeError: the file cannot be read, or its first row is not one.
    """
    with opened(path) as handle:
        line = next((line for line in handle if line.strip()), b"")
    delimiter = "\t" if format_of(path) == TSV else max(",;\t", key=decode(line).count)
    with opened(path) as handle:
        text = next((text for _, text in _split_rows(handle, 0, delimiter)), b"")
    try:
        names = cells(decode(text), delimiter)
    except csv.Error as error:
        raise ProbeError(
            f"{path}: its first row cannot be read as column names: {error}"
        ) from error
    return Header(delimiter, tuple(name.strip() for name in names))


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
