"""Rows in another order than they come in, on disk: few of them are held at once."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from probe import streams, tables

BATCH = 64
"""Rows read at once from a run: a merge holds this many of each."""

Keys = npt.NDArray[np.float64]


@contextmanager
def scratch(out: Path) -> Iterator["Scratch"]:
    """A folder beside ``out`` for the block; what a killed process left of it is removed first.

    Its files are closed and gone when the block ends.

    Raises:
        ProbeError: the folder cannot be written to, or the disk is full.
    """
    tables.require_writable(out.parent, "choose another place")
    place = out.with_name(f".{out.name}.parts")
    shutil.rmtree(place, ignore_errors=True)
    try:
        with tables.with_room(out), ExitStack() as opened:
            place.mkdir(parents=True)
            yield Scratch(place, opened)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class Scratch:
    """Where spills are; each is ``opened`` for as long as the folder is there."""

    place: Path
    opened: ExitStack

    def spill(self, name: str) -> "Spill":
        """A new file."""
        return self.opened.enter_context(closing(Spill(self.place / f"{name}.arrow")))

    def runs(self, name: str) -> "Runs":
        """A new file of rows by key."""
        return Runs(self.spill(name))

    def buckets(self, name: str) -> "Buckets":
        """A new file of rows by bucket."""
        return Buckets(self.spill(name))


class Spill:
    """Frames of one schema in a file, read back in pieces. It is written first, then read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pa.NativeFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._reader: pa.RecordBatchFileReader | None = None
        self._n_batches = 0

    def add(self, frame: pl.DataFrame) -> range:
        """Append ``frame``, which has rows; returns the numbers of its batches of ``BATCH``."""
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._file = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._file, table.schema, options=options)
        found = table.to_batches(max_chunksize=BATCH)
        for batch in found:
            self._writer.write_batch(batch)
        first = self._n_batches
        self._n_batches += len(found)
        return range(first, self._n_batches)

    def read(self, batches: Iterable[int], start: int = 0, stop: int | None = None) -> pa.Table:
        """Rows ``start`` to ``stop`` of what ``batches`` hold together."""
        if self._reader is None:
            assert self._writer is not None, "nothing was added"
            self._writer.close()
            self.close()
            self._file = pa.OSFile(str(self._path))
            self._reader = pa.ipc.open_file(self._file)
        table = pa.Table.from_batches([self._reader.get_batch(number) for number in batches])
        return table.slice(start, None if stop is None else stop - start)

    def close(self) -> None:
        """Nothing is written or read any more."""
        if self._file is not None:
            self._file.close()


class Runs:
    """Rows by rising key: they come in any order and go in one; equal keys stay as they came."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._batches: list[range] = []
        self._keys: list[Keys] = []

    @property
    def n(self) -> int:
        """The number of rows."""
        return sum(map(len, self._keys))

    def add(self, frame: pl.DataFrame, keys: Keys) -> None:
        """Take in ``frame`` [n], whose rows have the finite ``keys`` [n]."""
        if not frame.height:
            return
        order = np.argsort(keys, kind="stable")
        self._batches.append(self._spill.add(frame[order]))
        self._keys.append(keys[order])

    def merged(self) -> Iterator[pl.DataFrame]:
        """All rows in their order, ``streams.ROWS`` at a time; no piece where there are none."""
        if not self._keys:
            return
        starts = np.cumsum([0, *(len(keys) for keys in self._keys)])
        order = np.argsort(np.concatenate(self._keys), kind="stable")
        for first in range(0, len(order), streams.ROWS):
            wanted = order[first : first + streams.ROWS]
            ascending = np.argsort(wanted)
            places = np.empty(len(wanted), dtype=np.int64)
            places[ascending] = np.arange(len(wanted))
            yield self._gather(wanted[ascending], starts)[places]

    def _gather(self, wanted: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> pl.DataFrame:
        """The rows ``wanted`` (ascending); of each run they are neighbours, since runs are sorted.

        ``starts`` are the numbers of the runs' first rows.
        """
        runs, firsts, counts = np.unique(
            np.searchsorted(starts, wanted, side="right") - 1, return_index=True, return_counts=True
        )
        found = []
        for run, first, count in zip(runs, firsts, counts, strict=True):
            start = int(wanted[first] - starts[run])
            stop, skipped = start + int(count), start // BATCH
            batches = self._batches[run][skipped : (stop - 1) // BATCH + 1]
            found.append(self._spill.read(batches, start - skipped * BATCH, stop - skipped * BATCH))
        return pl.DataFrame(pa.concat_tables(found))


class Buckets:
    """Rows by bucket: those of one come out together, in the order in which they came."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._batches: dict[int, list[int]] = {}

    def add(self, frame: pl.DataFrame, buckets: npt.NDArray[np.integer]) -> None:
        """Take in ``frame`` [n]; row i goes into bucket ``buckets[i]``."""
        order = np.argsort(buckets, kind="stable")
        found, firsts = np.unique(buckets[order], return_index=True)
        for bucket, rows in zip(found, np.split(order, firsts[1:]), strict=bool(len(found))):
            self._batches.setdefault(int(bucket), []).extend(self._spill.add(frame[rows]))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Each bucket that holds rows."""
        for bucket in sorted(self._batches):
            yield pl.DataFrame(self._spill.read(self._batches[bucket]))
