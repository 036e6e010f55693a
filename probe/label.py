"""Labelling: reference energies for conformers, one worker process a core, resumable.

What is finished is in a journal beside the output, a line a conformer, from the moment it is
finished. A run that was killed loses the conformers that it was working on.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import IO, Any

import numpy as np
import polars as pl

from probe import dft, library, records, tables
from probe import plan as planning
from probe.conformers import Options, Row, conformer, is_flat
from probe.errors import ProbeError
from probe.labels import reserved
from probe.library import Reject

PROGRESS_SECONDS = 30.0

CARRIED = ("source", "geometry")
"""Columns that a Parquet input may have and its labels keep."""


@dataclass(frozen=True)
class Outcome:
    """How many conformers have a label, did not converge, and are still to be done."""

    n_labelled: int
    n_unconverged: int
    n_left: int


def label(
    path: Path,
    out: Path,
    options: Options,
    *,
    jobs: int,
    budget_hours: float | None = None,
    with_reserved: bool = False,
    settings: dft.Settings = dft.Settings(),
) -> Outcome:
    """Write reference energies of the conformers in ``path`` to ``out``.

    ``path`` is in any format that ingest reads. Conformers that ``out`` or its journal holds are
    not computed again. No new one is started once ``budget_hours`` of wall time are over.
    Molecules reserved for testing are left out unless ``with_reserved``.

    Raises:
        ProbeError: the input cannot be read or holds no conformer that could be labelled, or the
            output cannot be written, or a worker process died.
    """
    tables.require_writable(out.parent, "choose another place for --out")
    conformers = _conformers(path, options, with_reserved)
    journal = _Journal(out, settings)
    done = journal.rows()
    left = [row for row in conformers if row["conformer_id"] not in done]
    _estimate(left, len(conformers) - len(left), jobs)
    deadline = None if budget_hours is None else time.monotonic() + 3600 * budget_hours
    with journal.opened() as handle:
        for row in _progress(_computed(left, settings, jobs, deadline), left, jobs):
            done[row["conformer_id"]] = row
            journal.append(handle, row)
    found = [done[row["conformer_id"]] for row in conformers if row["conformer_id"] in done]
    tables.write(out, found, tables.REFERENCES, journal.origin)
    journal.path.unlink()
    n_converged = sum(row["converged"] for row in found)
    return Outcome(n_converged, len(found) - n_converged, len(conformers) - len(found))


class _Journal:
    """Finished conformers, on disk before they count as finished."""

    def __init__(self, out: Path, settings: dft.Settings) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}.journal")
        self.origin = {"method": dft.METHOD, **asdict(settings)}

    def rows(self) -> dict[str, Row]:
        """What an earlier run finished, by conformer_id."""
        found: list[Row] = []
        if self.out.exists():
            known = tables.provenance(self.out)
            if {key: known.get(key) for key in self.origin} != self.origin:
                raise ProbeError(
                    f"{self.out}: not made by `probe label` with these settings; "
                    "choose another place for --out"
                )
            found = tables.read(self.out, tables.REFERENCES).to_pylist()
        with suppress(FileNotFoundError):
            found += list(self._lines(self.path.read_bytes()))
        return {row["conformer_id"]: row for row in found}

    def _lines(self, content: bytes) -> Iterator[Row]:
        """Rows of the journal. A line that a kill cut short is no row."""
        first, *lines = content.split(b"\n")
        if json.loads(first or b"{}") != self.origin:
            raise ProbeError(
                f"{self.path}: of a run with other settings; remove it to begin anew, or choose "
                "another place for --out"
            )
        for line in lines:
            with suppress(json.JSONDecodeError):
                yield json.loads(line)

    def opened(self) -> IO[bytes]:
        """The journal, to be appended to."""
        new = not self.path.exists() or not self.path.stat().st_size
        handle = self.path.open("ab")
        # A line of its own, should a kill have left half a line.
        handle.write(json.dumps(self.origin).encode() + b"\n" if new else b"\n")
        handle.flush()
        return handle

    def append(self, handle: IO[bytes], row: Row) -> None:
        """Add ``row``, and see it on the disk."""
        handle.write(json.dumps(row).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())


def _conformers(path: Path, options: Options, with_reserved: bool) -> list[Row]:
    """Conformers of ``path`` that can be labelled, each once; of the others it says why not."""
    carried = _carried(path)
    found: dict[str, Row] = {}
    n_reserved = 0
    for number, row in _records(path, options):
        problem = _problem(row)
        if isinstance(row, Reject) or problem:
            where = row.source if isinstance(row, Reject) else row["source"]
            print(f"label: {where}: {problem}; left out", file=sys.stderr)
        elif reserved(row["smiles"]) and not with_reserved:
            n_reserved += 1
        else:
            found.setdefault(row["conformer_id"], row | carried.get(number, {}))
    if n_reserved:
        print(
            f"label: {n_reserved} conformers are of molecules reserved for testing; left out "
            "(--with-reserved labels them, for a test set)",
            file=sys.stderr,
        )
    if not found:
        raise ProbeError(f"{path}: holds no conformer that can be labelled")
    return list(found.values())


def _records(path: Path, options: Options) -> Iterator[tuple[int, Row | Reject]]:
    """Every record of ``path`` as a conformer with its ``geometry``, or as a reject."""
    if not path.is_file():
        raise ProbeError(f"{path}: no such file")
    layout = library.layout(path, options.smiles_column, options.name_column)
    count = planning.count(path)
    for number, raw in records.shard(path, 0, count, None):
        record = library.read(raw, number, layout)
        if isinstance(record, Reject):
            yield number, record
            continue
        row = conformer(record, options)
        if not isinstance(row, Reject):
            row["geometry"] = options.forcefield if is_flat(record) else "as given"
        yield number, row


def _carried(path: Path) -> dict[int, Mapping[str, Any]]:
    """By record number (from 1), what a Parquet input says of the columns that labels keep."""
    if records.format_of(path) != records.PARQUET:
        return {}
    present = [name for name in CARRIED if name in tables.open_parquet(path).schema_arrow.names]
    rows = pl.read_parquet(path, columns=present).to_dicts() if present else []
    return dict(enumerate(rows, start=1))


def _problem(row: Row | Reject) -> str | None:
    """Why a record can have no label, or None."""
    if isinstance(row, Reject):
        return row.reason
    if row["multiplicity"] != 1:
        return f"its multiplicity is {row['multiplicity']}, and labels are of singlets"
    if not row["smiles"]:
        return "no SMILES could be made of it, and labels are grouped by molecule; state one"
    return None


def _computed(
    rows: Sequence[Row], settings: dft.Settings, jobs: int, deadline: float | None
) -> Iterator[Row]:
    """Finished labels as they come, the rows being started in order."""
    waiting = iter(rows)
    # Spawned, not forked: the parent's libraries run threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    with _one_thread(), ProcessPoolExecutor(jobs, context, initializer=_polite) as pool:
        running: set[Future[Row]] = set()
        while True:
            if deadline is None or time.monotonic() < deadline:
                started = islice(waiting, jobs - len(running))
                running |= {pool.submit(_label_one, row, settings) for row in started}
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            try:
                yield from [future.result() for future in finished]
            except BrokenProcessPool as error:
                raise ProbeError(
                    "a process that computed a reference energy died, probably for want of "
                    "memory; run again with fewer --jobs, what is finished is kept"
                ) from error


def _label_one(row: Row, settings: dft.Settings) -> Row:
    positions = np.array(row["positions"]).reshape(-1, 3)
    numbers = np.array(row["numbers"], dtype=np.uint8)
    answer = dft.reference_energy(numbers, positions, row["charge"], settings)
    described = {name: row[name] for name in tables.REFERENCES.names if name in row}
    return described | asdict(answer)


def _polite() -> None:
    """A worker steps back for whatever else the machine has to do, and ends with its parent."""
    os.nice(19 - os.nice(0))
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _one_thread:  # noqa: N801 (a context manager used like a function)
    """Workers spawned within have one thread each: more is slower for small molecules."""

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def __enter__(self) -> None:
        self.before = {name: os.environ.get(name) for name in self.names}
        os.environ.update(dict.fromkeys(self.names, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _estimate(left: Sequence[Row], n_done: int, jobs: int) -> None:
    hours = sum(_cost(row) for row in left) / 3600
    print(
        f"label: {len(left)} conformers to compute, {n_done} done before; about "
        f"{hours:.2g} core-hours, {hours / jobs:.2g} hours with {jobs} processes",
        file=sys.stderr,
        flush=True,
    )


def _cost(row: Row) -> float:
    return dft.seconds(dft.basis_functions(row["numbers"]))


def _progress(results: Iterable[Row], left: Sequence[Row], jobs: int) -> Iterator[Row]:
    """``results`` as they are, with a line on stderr now and then and one at the end.

    What is left is estimated by the cost model, at the rate of what is done.
    """
    cost = {row["conformer_id"]: _cost(row) for row in left}
    total, spent, taken, n_failed = sum(cost.values()), 0.0, 0.0, 0
    last = time.monotonic()
    for done, row in enumerate(results, start=1):
        yield row
        spent, taken = spent + cost[row["conformer_id"]], taken + row["dft_seconds"]
        n_failed += not row["converged"]
        if time.monotonic() - last >= PROGRESS_SECONDS or done == len(left):
            last = time.monotonic()
            hours = (total - spent) * taken / spent / jobs / 3600
            print(
                f"label: {done} of {len(left)}, {n_failed} not converged, "
                f"{taken / done:.1f} s each, about {hours:.2g} hours left",
                file=sys.stderr,
                flush=True,
            )
