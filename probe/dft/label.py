"""Labelling: reference energies for conformers, one worker process a core, resumable.

What is finished is in a journal beside the output, a line a conformer, from the moment it is
finished. A run that was stopped, however hard, loses the conformers that it was working on.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from probe import schemas, tables
from probe.classifier.labels import reserved
from probe.conformers import geometry
from probe.conformers.conformer import Options, Row, conformer, is_flat
from probe.dft import cost, scf, workers
from probe.dft.journal import Journal
from probe.errors import ProbeError
from probe.library import formats, parser, records
from probe.library.parser import Reject

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
    settings: scf.Settings = scf.DEFAULT,
) -> Outcome:
    """Write reference energies of the conformers in ``path`` to ``out``.

    ``path`` is in any format that ingest reads. Conformers that ``out`` or its journal holds are
    not computed again, and none of them is dropped: what ``path`` does not name comes after what
    it names. No new one is started once ``budget_hours`` of wall time are over. One that ends its
    worker process twice is left. Molecules reserved for testing are left out unless
    ``with_reserved``. Call it from the main thread.

    Raises:
        ProbeError: the input cannot be read or holds no conformer that could be labelled; the
            output cannot be written or was made otherwise; or the run was stopped (Ctrl-C,
            SIGTERM).
    """
    tables.require_writable(out.parent, "choose another place for --out")
    with workers.stoppable():
        deadline = None if budget_hours is None else time.monotonic() + 3600 * budget_hours
        conformers = _conformers(path, options, with_reserved)
        origin = {"method": scf.METHOD, **asdict(settings)}
        with Journal(out, schemas.REFERENCES, origin) as journal:
            left = [row for key, row in conformers.items() if key not in journal.rows]
            _estimate(left, len(conformers) - len(left), jobs)
            cost_of = {row["conformer_id"]: cost.seconds(row["numbers"]) for row in left}
            task = partial(_label_one, settings=settings)
            in_time = partial(_in_time, deadline)
            with workers.pool() as pool:
                results = workers.computed(pool, jobs, left, task, in_time, _say)
                for found in workers.progress(results, cost_of, _say):
                    _keep(found, journal)
            labelled = _ordered(journal.rows, conformers)
            journal.finish(labelled)
    n_labelled = sum(row["converged"] for row in labelled)
    n_left = sum(key not in journal.rows for key in conformers)
    return Outcome(n_labelled, len(labelled) - n_labelled, n_left)


def _keep(found: Row | workers.Died, journal: Journal) -> None:
    if isinstance(found, workers.Died):
        _say(f"{found.row['source']}: {found.reason}; it has no label, the next run tries it again")
    else:
        journal.append(found)


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
    layout = parser.layout(
        path, options.smiles_column, options.name_column, pickles=options.pickles
    )
    for number, raw in records.shard(path, 0, sys.maxsize, None):
        record = parser.read(raw, number, layout)
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
    return scf.unsupported(row["numbers"])


def _label_one(row: Row, settings: scf.Settings) -> Row:
    positions = np.array(row["positions"]).reshape(-1, 3)
    numbers = np.array(row["numbers"], dtype=np.uint8)
    answer = scf.reference_energy(numbers, positions, row["charge"], settings)
    return {name: row[name] for name in schemas.REFERENCES.names if name in row} | asdict(answer)


def _in_time(deadline: float | None) -> bool:
    return deadline is None or time.monotonic() < deadline


def _estimate(left: Sequence[Row], n_done: int, jobs: int) -> None:
    hours = sum(cost.seconds(row["numbers"]) for row in left) / 3600
    _say(
        f"{len(left)} conformers to compute, {n_done} done before; about "
        f"{hours:.2g} core-hours, {hours / jobs:.2g} hours with {jobs} processes"
    )


def _say(text: str) -> None:
    print(f"label: {text}", file=sys.stderr, flush=True)
