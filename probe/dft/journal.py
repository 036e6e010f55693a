"""Journal of a long run: rows that are on disk from the moment they are finished.

The journal lies beside the table that it becomes, a line of JSON a row after a first line that
says what they are of.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from probe import tables
from probe.errors import ProbeError

Row = dict[str, Any]


class Journal:
    """Finished rows of the table ``out``, by conformer_id: those it has and those to come.

    ``origin`` is what the rows are of; rows of anything else are refused. The table stays as it
    is until ``finish``; one run at a time may work on it. To be used as a context manager.

    Raises:
        ProbeError: table or journal are not of this origin, or another run works on them.
    """

    def __init__(self, out: Path, schema: pa.Schema, origin: Mapping[str, Any]) -> None:
        self.out, self.schema, self.origin = out, schema, dict(origin)
        self.path = out.with_name(f"{out.name}.journal")
        self.rows: dict[str, Row] = {}

    def __enter__(self) -> Self:
        self._require_origin()
        if not self.path.exists():
            first = json.dumps(self.origin).encode() + b"\n"
            tables.atomically(self.path, lambda handle: handle.write(first))
        self._handle = self._opened()
        try:
            self.rows = self._finished()
            self._handle.write(b"\n")  # a kill may have left half a line
        except BaseException:
            self._handle.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with tables.with_room(self.path):
            self._handle.close()

    def peek(self, wanted: Collection[str]) -> dict[str, Row]:
        """Rows of the conformers ``wanted`` that are finished by now, of whichever run.

        Nothing is locked or changed. Of a table that has none of them the ids alone are read: a
        store has hundreds of tables, and every job looks into each.
        """
        self._require_origin()
        written = self._written()  # before the table, as in _finished
        names = pa.array(wanted, pa.string())
        earlier = self._earlier(names, ["conformer_id"]) and self._earlier(names)
        rows = {row["conformer_id"]: row for row in (*earlier, *written)}
        return {name: rows[name] for name in wanted if name in rows}

    def append(self, row: Row) -> None:
        """Add ``row``, and see it on the disk.

        Raises:
            ProbeError: the disk is full; what was added before is kept.
        """
        with tables.with_room(self.path):
            self._handle.write(json.dumps(row).encode() + b"\n")
            self._handle.flush()
            os.fsync(self._handle.fileno())
        self.rows[row["conformer_id"]] = row

    def finish(self, rows: Sequence[Row]) -> None:
        """Write ``rows`` as the table. The journal is done with."""
        tables.write(self.out, rows, self.schema, self.origin)
        self.path.unlink()

    def _finished(self) -> dict[str, Row]:
        # the journal first: one that ends in between is in the table by then
        written = self._written()
        return {row["conformer_id"]: row for row in (*self._earlier(), *written)}

    def _written(self) -> list[Row]:
        try:
            return [*self._lines(self.path.read_bytes())]
        except FileNotFoundError:
            return []

    def _earlier(
        self, wanted: pa.Array | None = None, columns: Sequence[str] | None = None
    ) -> list[Row]:
        """Rows of the table, or ``columns`` of those that are ``wanted``."""
        if not self.out.exists():
            return []
        table = tables.read(self.out, self.schema, columns)
        if wanted is not None:
            table = table.filter(pc.is_in(table["conformer_id"], value_set=wanted))
        rows: list[Row] = table.to_pylist()
        return rows

    def _require_origin(self) -> None:
        if not self.out.exists():
            return
        known = tables.provenance(self.out)
        if {key: known.get(key) for key in self.origin} != self.origin:
            raise ProbeError(
                f"{self.out}: not made by this command with these settings; choose another place "
                "for --out"
            )

    def _opened(self) -> IO[bytes]:
        handle = self.path.open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise ProbeError(f"{self.path}: another run works on it; wait for its end") from error
        except OSError:
            pass  # a file system without locks
        return handle

    def _lines(self, content: bytes) -> Iterator[Row]:
        """Rows of the journal. A line that a kill or a power cut damaged is no row."""
        first, *lines = content.split(b"\n")
        if self._parsed(first) != self.origin:
            raise ProbeError(
                f"{self.path}: of a run with other settings; remove it to begin anew, or choose "
                "another place for --out"
            )
        parsed = map(self._parsed, lines)
        return (row for row in parsed if row is not None)

    @staticmethod
    def _parsed(line: bytes) -> Row | None:
        with suppress(ValueError):
            found = json.loads(line)
            return found if isinstance(found, dict) else None
        return None
