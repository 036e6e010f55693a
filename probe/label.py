"""Labelling: reference energies for conformers, one worker process a core, resumable.

What is finished is in a journal beside the output, a line a conformer, from the moment it is
finished. A run that was stopped, however hard, loses the conformers that it was working on.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from threading import Thread

import numpy as np
import polars as pl

from probe import dft, formats, geometry, library, records, tables
from probe.conformers import Options, Row, conformer, is_flat
from probe.errors import ProbeError
from probe.journal import Journal
from probe.labels import reserved
from probe.library import Reject

PROGRESS_SECONDS = 30.0

CARRIED = ("source", "geometry")
"""Columns that a Parquet input may have and its labels keep."""

DESCRIBED = ("smiles", *CARRIED)
"""Columns that say what a conformer is; of one labelled before, the input has the last word."""

CHARGES = range(-128, 128)
"""What the column charge holds."""


@dataclass(frozen=True)
class Outcome:
    """Conformers of the output that have a label or did not converge; those still to be done."""

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
    settings: dft.Settings = dft.DEFAULT,
) -> Outcome:
    """Write reference energies of the conformers in ``path`` to ``out``.

    ``path`` is in any format that ingest reads. Conformers that ``out`` or its journal holds are
    not computed again, and none of them is dropped: what ``path`` does not name comes after what
    it names. No new one is started once ``budget_hours`` of wall time are over. Molecules
    reserved for testing are left out unless ``with_reserved``. Call it from the main thread.

    Raises:
        ProbeError: the input cannot be read or holds no conformer that could be labelled; the
            output cannot be written or was made otherwise; a worker process died; or the run
            was stopped (Ctrl-C, SIGTERM).
    """
    tables.require_writable(out.parent, "choose another place for --out")
    with _stoppable():
        deadline = None if budget_hours is None else time.monotonic() + 3600 * budget_hours
        conformers = _conformers(path, options, with_reserved)
        origin = {"method": dft.METHOD, **asdict(settings)}
        with Journal(out, tables.REFERENCES, origin) as journal:
            left = [row for key, row in conformers.items() if key not in journal.rows]
            _estimate(left, len(conformers) - len(left), jobs)
            with _workers(jobs) as pool:
                results = _computed(pool, jobs, left, settings, deadline)
                for row in _progress(results, left):
                    journal.append(row)
            found = _ordered(journal.rows, conformers)
            journal.finish(found)
    n_labelled = sum(row["converged"] for row in found)
    n_left = sum(key not in journal.rows for key in conformers)
    return Outcome(n_labelled, len(found) - n_labelled, n_left)


def _ordered(done: Mapping[str, Row], conformers: Mapping[str, Row]) -> list[Row]:
    """What is done, described as the input does and in its order; then what it does not name."""
    known = {key: row for key, row in conformers.items() if key in done}
    named = [done[key] | {name: row[name] for name in DESCRIBED} for key, row in known.items()]
    others = [row for key, row in done.items() if key not in conformers]
    if others:
        _say(f"{len(others)} conformers that were labelled before are not in the input; kept")
    return named + others


def _conformers(path: Path, options: Options, with_reserved: bool) -> dict[str, Row]:
    """Conformers of ``path`` that can be labelled, by id; of the others it says why not."""
    carried = _carried(path)
    found: dict[str, Row] = {}
    n_reserved = 0
    for number, row in _records(path, options):
        problem = _problem(row)
        if isinstance(row, Reject) or problem:
            where = row.source if isinstance(row, Reject) else row["source"]
            _say(f"{where}: {problem}; left out")
        elif reserved(row["smiles"]) and not with_reserved:
            n_reserved += 1
        else:
            _add(found, row | carried.get(number, {}))
    if n_reserved:
        _say(
            f"{n_reserved} conformers are of molecules reserved for testing; left out "
            "(--with-reserved labels them, for a test set)"
        )
    if not found:
        raise ProbeError(f"{path}: holds no conformer that can be labelled")
    return found


def _add(found: dict[str, Row], row: Row) -> None:
    """Add ``row``; of a conformer that is there already, the source."""
    first = found.setdefault(row["conformer_id"], row)
    if row["source"] not in first["source"].split("; "):
        first["source"] += f"; {row['source']}"


def _records(path: Path, options: Options) -> Iterator[tuple[int, Row | Reject]]:
    """Every record of ``path`` as a conformer with its ``geometry``, or as a reject."""
    if not path.is_file():
        raise ProbeError(f"{path}: no such file")
    layout = library.layout(
        path, options.smiles_column, options.name_column, pickles=options.pickles
    )
    for number, raw in records.shard(path, 0, sys.maxsize, None):
        record = library.read(raw, number, layout)
        if isinstance(record, Reject):
            yield number, record
            continue
        row = conformer(record, options)
        if not isinstance(row, Reject):
            made_by = geometry.made_by(options.forcefield, row["note"])
            row["geometry"] = made_by if is_flat(record) else "as given"
        yield number, row


def _carried(path: Path) -> dict[int, dict[str, str]]:
    """By record number (from 1), what a Parquet input says of the columns that labels keep."""
    if formats.format_of(path) != formats.PARQUET:
        return {}
    present = [name for name in CARRIED if name in tables.open_parquet(path).schema_arrow.names]
    rows = pl.read_parquet(path, columns=present).to_dicts() if present else []
    return {
        number: {name: str(value) for name, value in row.items() if value is not None}
        for number, row in enumerate(rows, start=1)
    }


def _problem(row: Row | Reject) -> str:
    """Why a record can have no label; empty if it can."""
    if isinstance(row, Reject):
        return row.reason
    if row["multiplicity"] != 1:
        return f"its multiplicity is {row['multiplicity']}, and labels are of singlets"
    if row["charge"] not in CHARGES:
        return f"its charge is {row['charge']}, more than a label can hold"
    if not row["smiles"]:
        return "no SMILES could be made of it, and labels are grouped by molecule; state one"
    return dft.unsupported(row["numbers"])


def _computed(
    pool: Executor,
    jobs: int,
    rows: Iterable[Row],
    settings: dft.Settings,
    deadline: float | None,
) -> Iterator[Row]:
    """Finished labels as they come, the rows being started in order."""
    waiting = iter(rows)
    running: dict[Future[Row], Row] = {}
    try:
        while True:
            if deadline is None or time.monotonic() < deadline:
                for row in islice(waiting, jobs - len(running)):
                    with _for_workers():
                        running[pool.submit(_label_one, row, settings)] = row
            if not running:
                return
            # With an end, as polars' handler of Ctrl-C does not interrupt an endless wait.
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            # A worker that died fails all that runs: what is done comes first.
            for future in sorted(finished, key=lambda done: done.exception() is not None):
                yield future.result()
                del running[future]
    except (BrokenProcessPool, MemoryError) as error:
        raise ProbeError(
            "a worker process died, probably for want of memory, over one of "
            f"{', '.join(row['source'] for row in running.values())}; run again with fewer "
            "--jobs or without it, what is finished is kept"
        ) from error


def _label_one(row: Row, settings: dft.Settings) -> Row:
    positions = np.array(row["positions"]).reshape(-1, 3)
    numbers = np.array(row["numbers"], dtype=np.uint8)
    answer = dft.reference_energy(numbers, positions, row["charge"], settings)
    return {name: row[name] for name in tables.REFERENCES.names if name in row} | asdict(answer)


@contextmanager
def _workers(jobs: int) -> Iterator[Executor]:
    """Worker processes. If what is done with them fails, nobody waits for what they are at."""
    others = set(multiprocessing.active_children())
    # Spawned, not forked: the parent's libraries run threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_polite) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _polite() -> None:
    """A worker steps back for whatever else the machine has to do, and ends with its parent."""
    os.nice(19 - os.nice(0))
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _for_workers() -> Iterator[None]:
    """What a process inherits that starts within.

    One thread, as more are slower for small molecules; and no ear for Ctrl-C, which a terminal
    sends to workers, too: their parent has it, and ends them.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is within in one line."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise ProbeError(
            "stopped; what is finished is kept, and the same command goes on with the rest"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _estimate(left: Sequence[Row], n_done: int, jobs: int) -> None:
    hours = sum(_cost(row) for row in left) / 3600
    _say(
        f"{len(left)} conformers to compute, {n_done} done before; about "
        f"{hours:.2g} core-hours, {hours / jobs:.2g} hours with {jobs} processes"
    )


def _cost(row: Row) -> float:
    return dft.seconds(dft.basis_functions(row["numbers"]))


def _progress(results: Iterable[Row], left: Sequence[Row]) -> Iterator[Row]:
    """``results`` as they are, with a line on stderr now and then and one at the end.

    What is left is estimated by the cost model, at the rate of what is done.
    """
    cost = {row["conformer_id"]: _cost(row) for row in left}
    total, spent, n_failed = sum(cost.values()), 0.0, 0
    start = last = time.monotonic()
    for done, row in enumerate(results, start=1):
        yield row
        spent += cost[row["conformer_id"]]
        n_failed += not row["converged"]
        if time.monotonic() - last >= PROGRESS_SECONDS or done == len(left):
            last = time.monotonic()
            hours = (last - start) / 3600
            _say(
                f"{done} of {len(left)}, {n_failed} not converged, after {hours:.2g} hours; "
                f"about {hours * (total - spent) / spent:.2g} hours left"
            )


def _say(text: str) -> None:
    print(f"label: {text}", file=sys.stderr, flush=True)
