"""Raw records of a library file: how many there are, and each with its number.

Counting and reading go through the same splitting, so that record 17 is one and the same thing
in a plan, in a shard and in a message. No chemistry is imported here, and what reads a format only
when a file has it.
"""

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

from probe.errors import ProbeError
from probe.library import texts
from probe.library.formats import GRAPHS, HDF5, PARQUET, compression, format_of

Raw = str | dict[str, Any]
"""A record: its text, or of other than text formats a row with the columns of Parquet."""


class Rows(Protocol):
    """Reads a format that is not text."""

    def n_rows(self, path: Path) -> int:
        """Number of records."""

    def rows(self, path: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
        """Records ``first`` (counted from 0) to ``first + count``."""


READERS = {
    PARQUET: "probe.library.parquet_rows",
    HDF5: "probe.library.hdf5_rows",
    GRAPHS: "probe.library.graph_rows",
}
"""Modules that are ``Rows``."""


def require_trust(path: Path, pickles: str) -> None:
    """Refuse a pickle where the configuration does not say to trust them.

    Raises:
        ProbeError: ``path`` is one, and ``pickles`` is not "trust".
    """
    if format_of(path) == GRAPHS and pickles != "trust":
        raise ProbeError(
            f"{path}: a .pt file is a pickle, which could run code; if you trust its origin, set "
            "ingest: pickles: trust (--pickles trust)"
        )


def count(path: Path, step: int, skipped: int = 0) -> tuple[int, list[int]]:
    """Number of records of ``path``, and where in it every ``step``-th of them begins.

    The byte offsets are of records ``skipped``, ``skipped + step`` and so on, counted from 0; there
    are none where no byte can be sought, in compressed files and other than text.

    Raises:
        ProbeError: the file cannot be read.
    """
    kind = format_of(path)
    if kind in READERS:
        return _reader(kind).n_rows(path), []
    offsets, n_records = [], 0
    for offset, _ in texts.texts(path):
        if n_records % step == skipped:
            offsets.append(offset)
        n_records += 1
    return n_records, [] if compression(path) else offsets


def shard(path: Path, first: int, count: int, offset: int | None) -> Iterator[tuple[int, Raw]]:
    """Records ``first`` (counted from 0) to ``first + count`` with their numbers (from 1).

    ``offset`` is the byte where the first of them begins, if it is known: nothing before it is
    read.

    Raises:
        ProbeError: the file cannot be read.
    """
    kind = format_of(path)
    if kind in READERS:
        yield from enumerate(_reader(kind).rows(path, first, count), first + 1)
        return
    skipped = first if offset is None else 0
    chosen = islice(texts.texts(path, offset), skipped, skipped + count)
    yield from ((number, texts.decode(text)) for number, (_, text) in enumerate(chosen, first + 1))


def _reader(kind: str) -> Rows:
    return cast("Rows", import_module(READERS[kind]))
