"""One shard of a library: its conformers and its rejects, and that nothing is lost between."""

import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from probe import schemas, spill, streams, tables
from probe.conformers.conformer import Options, Row, conformer
from probe.errors import ProbeError
from probe.library import parser, records
from probe.library import plan as planning
from probe.library.parser import Layout, Reject
from probe.progress import Progress

HELD = 1024
"""Rows in memory."""

CHUNK = 16
"""Records that a worker process is handed at once."""

Item = tuple[int, records.Raw, Layout]
"""Number of a record in its file, the record, and how to read it."""


def ingest_shard(
    plan: planning.Plan,
    shard: int,
    conformers: Path,
    rejected: Path,
    options: Options,
    *,
    jobs: int = 1,
) -> tuple[int, int]:
    """Read the records of ``shard`` and write what became of each of them.

    The rows are in the order of the records and do not depend on ``jobs``, the number of
    processes. The provenance of the ``conformers`` table holds n_records, n_ingested, n_rejected
    and n_conformers (distinct ones).

    Returns:
        How many records were ingested and how many rejected.

    Raises:
        ProbeError: the library cannot be read, changed since it was counted, or lacks a column.
    """
    parts = plan.parts(shard)
    sources = [part.source for part in parts]
    planning.check(sources)
    count = plan.shards[shard].count
    rejects: list[Reject] = []
    results = _converted(_raws(parts, options), options, jobs)
    with spill.scratch(conformers) as place:
        held = _Held(place.spill("rows"))
        for result in _reported(results, f"{plan.library} shard {shard}", count):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                held.add(result)
        planning.check(sources)
        counts = {
            "n_records": count,
            "n_ingested": held.n,
            "n_rejected": len(rejects),
            "n_conformers": held.n_different,
        }
        _check_counts(plan, shard, counts)
        origin = {**counts, "library": plan.library, "shard": shard, "options": asdict(options)}
        tables.write(rejected, [_reject_row(r) for r in rejects], schemas.REJECTED, origin)
        with streams.writing(conformers, schemas.CONFORMERS, origin) as write:
            for table in held.distinct():
                write(table)
    return held.n, len(rejects)


class _Held:
    """The rows of a shard, few of them in memory, until it is known which are repeated."""

    def __init__(self, rows: spill.Spill) -> None:
        self._spill = rows
        self._new: list[Row] = []
        self._batches: list[range] = []
        self._named: list[pl.DataFrame] = []

    def add(self, row: Row) -> None:
        """Take in ``row``."""
        self._new.append(row)
        if len(self._new) == HELD:
            self._put_down()

    @property
    def n(self) -> int:
        """Rows taken in."""
        return sum(frame.height for frame in self._named) + len(self._new)

    @property
    def n_different(self) -> int:
        """Different conformers among them."""
        self._put_down()
        return sum(int(frame["first"].sum()) for frame in self._marked())

    def distinct(self) -> Iterator[pl.DataFrame]:
        """The rows as ``merge_duplicates`` would have them."""
        self._put_down()
        for batches, marks in zip(self._batches, self._marked(), strict=True):
            table = pl.DataFrame(self._spill.read(batches))
            yield table.with_columns(marks["source"], marks["synonyms"]).filter(marks["first"])

    def _put_down(self) -> None:
        if self._new:
            table = pl.DataFrame(pa.Table.from_pylist(self._new, schema=schemas.CONFORMERS))
            self._batches.append(self._spill.add(table))
            self._named.append(table.select("conformer_id", "molecule_id", "source", "synonyms"))
            self._new = []

    def _marked(self) -> Iterator[pl.DataFrame]:
        """Of each piece, which rows are the first of their conformer, all its sources and names."""
        if not self._named:
            return
        named = pl.concat(self._named)
        merged = merge_duplicates(named)
        sources = named.select("conformer_id").join(
            merged, on="conformer_id", maintain_order="left"
        )
        marks = sources.with_columns(first=named["conformer_id"].is_first_distinct())
        start = 0
        for frame in self._named:
            yield marks[start : start + frame.height]
            start += frame.height


def merge_duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each ``conformer_id``: its ``source`` joined by "; ", other names ``synonyms``.

    Rows are in the order of first appearance; the other columns are those of the first.
    """
    name, others = pl.col("molecule_id"), pl.col("synonyms").explode()
    names = others.append(name).drop_nulls()
    merged = frame.group_by("conformer_id", maintain_order=True).agg(
        pl.exclude("source", "synonyms").first(),
        source=pl.col("source").str.join("; "),
        synonyms=names.filter(~names.is_in([""]) & names.ne_missing(name.first())).unique().sort(),
    )
    named = pl.when(pl.col("synonyms").list.len() > 0).then("synonyms")
    return merged.with_columns(synonyms=named).select(frame.columns)


def convert(raw: records.Raw, number: int, layout: Layout, options: Options) -> Row | Reject:
    """What becomes of record ``number`` (from 1): a row of the conformer table, or a reject."""
    record = parser.read(raw, number, layout)
    return record if isinstance(record, Reject) else conformer(record, options)


def _raws(parts: Iterable[planning.Part], options: Options) -> Iterator[Item]:
    """The records of ``parts`` with their numbers and how to read them."""
    for part in parts:
        path = Path(part.source.path)
        layout = parser.layout(
            path,
            options.smiles_column,
            options.name_column,
            pickles=options.pickles,
            address=part.source.name,
        )
        if layout.header.columns and options.name_column is not None and layout.name_index is None:
            _say(f"{path}: no column {options.name_column}, so records are named by their number")
        found = records.shard(path, part.first, part.count, part.offset)
        yield from ((number, raw, layout) for number, raw in found)


def _converted(items: Iterable[Item], options: Options, jobs: int) -> Iterator[Row | Reject]:
    work = partial(_convert_item, options=options)
    if jobs == 1:
        yield from map(work, items)
        return
    # Spawned, not forked: the parent's libraries run threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            yield from pool.map(work, items, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise ProbeError(
            "a process that made conformers died, probably for want of memory; "
            "give the job more memory or fewer threads"
        ) from error


def _convert_item(item: Item, options: Options) -> Row | Reject:
    number, raw, layout = item
    return convert(raw, number, layout, options)


def _reported(results: Iterator[Row | Reject], what: str, count: int) -> Iterator[Row | Reject]:
    """``results`` as they are, with a word on stderr now and then."""
    report = Progress(what, count, "records")
    for done, result in enumerate(results, 1):
        yield result
        report(done)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _check_counts(plan: planning.Plan, shard: int, counts: Mapping[str, int]) -> None:
    if counts["n_records"] != counts["n_ingested"] + counts["n_rejected"]:
        raise ProbeError(
            f"{plan.path}: shard {shard} should hold {counts['n_records']} records, but "
            f"{counts['n_ingested']} were ingested and {counts['n_rejected']} rejected; "
            "plan the library again"
        )


def _reject_row(reject: Reject) -> dict[str, str]:
    return {"source": reject.source, "reason": reject.reason, "molecule_id": reject.name}
