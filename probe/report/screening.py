"""What a report is made from: the triaged library, read once and checked against its counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from probe import schemas, streams, tables
from probe.classifier import card as cards
from probe.errors import ProbeError
from probe.triage.summary import BY_PROBE

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

NOWHERE = -1
"""Row of what is listed under another row, or was met before."""

LISTED = [
    "conformer_id",
    "molecule_id",
    "source",
    "synonyms",
    "smiles",
    "energy_ev",
    "p_unreliable",
    "verdict",
    "reason",
]
"""Columns of the two lists that the report needs; the rest stays on disk."""

SUMMARY = [
    *("n_records", "n_ingested", "n_rejected", "n_conformers", "n_duplicates"),
    *("n_accept", "n_recompute", "n_refused", "reasons", "cutoffs", "backbone", "checkpoint"),
    *("policy", "tolerance_kcal", "accept_up_to_p", "statement", "n_outside", "n_accept_outside"),
]
"""What the report cannot do without in summary.json."""


@dataclass(frozen=True)
class Inputs:
    """Where the results of one screened library lie, and how its map is made."""

    library: str
    triage: Path
    conformers: tuple[Path, ...]
    scores: tuple[Path, ...]
    checkpoint: Path
    figures: Path
    umap_points: int
    seed: int
    embedded: tuple[Path, ...] = ()  # with the cache: without them, no attention is shown
    cache: Path | None = None
    references: tuple[Path, ...] = ()  # tables of reference energies


@dataclass(frozen=True)
class Screening:
    """A triaged library whose counts agree with each other."""

    inputs: Inputs
    summary: dict[str, Any]
    card: dict[str, Any]
    listed: pa.Table  # accept, then recompute: every conformer once
    rejected: pa.Table

    @cached_property
    def p(self) -> Floats:
        """P(unreliable) of every listed conformer, NaN where the backbone refused it."""
        values: Floats = self.listed["p_unreliable"].to_numpy().astype(np.float64)
        return values

    @cached_property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which listed conformers are accepted."""
        verdicts: npt.NDArray[np.bool_] = pc.equal(self.listed["verdict"], "accept").to_numpy()
        return verdicts

    @cached_property
    def by_confidence(self) -> npt.NDArray[np.bool_]:
        """Which listed conformers p_unreliable decided about, and no other rule."""
        reasons = pc.starts_with(self.listed["reason"], "p_unreliable ")
        decided: npt.NDArray[np.bool_] = pc.fill_null(reasons, False).to_numpy()
        return decided

    @cached_property
    def accept_cutoff(self) -> float | None:
        """Confidence 1 - p from which a prediction is accepted, None if none is."""
        up_to = self.summary["accept_up_to_p"]
        return None if up_to is None else 1 - float(up_to)

    @cached_property
    def recompute_cutoff(self) -> float | None:
        """P(unreliable) from which a prediction is sent to DFT on its own account.

        None where that is all that is not accepted.
        """
        if self.summary["policy"] != "cutoff":
            return None
        return float(self.summary["cutoffs"]["recompute_confidence"])

    def shards(
        self, paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[tuple[Rows, pa.Table]]:
        """Every listed conformer once, in pieces: its row in ``listed`` and its ``columns``.

        Raises:
            ProbeError: a shard holds a conformer that no list holds, or the reverse.
        """
        ids = self.listed["conformer_id"].combine_chunks()
        unseen = np.ones(len(ids), dtype=bool)
        for path in paths:
            held = tables.read(path, schema, ["conformer_id"])["conformer_id"].combine_chunks()
            # the ids of a shard are looked for among all, which costs a tenth of the reverse
            found = pc.index_in(ids, value_set=held)
            if len(found) - found.null_count < pc.count_distinct(held).as_py():
                unknown = held.filter(pc.invert(pc.is_in(held, value_set=ids)))[0]
                raise ProbeError(
                    f"{path}: conformer {unknown} is in neither list of {self.inputs.triage}; "
                    "run the triage again"
                )
            rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False) & unseen)
            unseen[rows] = False
            row_of = np.full(len(held), NOWHERE)
            row_of[found.take(pa.array(rows)).to_numpy()] = rows
            for table in streams.pieces(path, schema, columns):
                here, row_of = np.split(row_of, [table.num_rows])
                wanted = here != NOWHERE
                yield here[wanted], table.filter(pa.array(wanted))
        if unseen.any():
            raise ProbeError(
                f"{self.inputs.triage}: conformer {ids[int(np.flatnonzero(unseen)[0])]} is listed "
                f"but is in none of the {len(paths)} shards; run the triage again"
            )


def load(inputs: Inputs) -> Screening:
    """Read the triaged library of ``inputs``.

    Raises:
        ProbeError: a file is missing or broken, the lists are of another checkpoint, or the counts
            do not agree.
    """
    card = tables.read_json(inputs.checkpoint / "card.json")
    cards.require_screened(card, inputs.triage)
    lists = [
        tables.read(inputs.triage / f"{name}.parquet", schemas.TRIAGED, LISTED)
        for name in ("accept", "recompute")
    ]
    screening = Screening(
        inputs=inputs,
        summary=tables.read_json(inputs.triage / "summary.json"),
        card=card,
        listed=pa.concat_tables(lists).combine_chunks(),
        rejected=tables.read(inputs.triage / "rejected.parquet", schemas.REJECTED),
    )
    check_counts(screening, n_accept=lists[0].num_rows)
    return screening


def check_counts(screening: Screening, n_accept: int) -> None:
    """Hold the summary against itself and against the tables.

    Raises:
        ProbeError: the summary lacks something, or two counts that must be equal are not.
    """
    folder = screening.inputs.triage
    missing = sorted(set(SUMMARY) - set(screening.summary))
    if missing:
        raise ProbeError(f"{folder}/summary.json: no {', '.join(missing)}; run the triage again")
    for what, said, found in [*_sums(screening.summary), *_tables(screening, n_accept)]:
        if said != found:
            raise ProbeError(
                f"{folder}: summary.json says {said} where the {what} are {found}; "
                "run the triage again"
            )


def _sums(summary: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """What the counts of the summary must add up to: name, total, sum of the parts."""
    reasons = sum(summary["reasons"].values())
    yield "reasons to recompute", summary["n_recompute"], reasons
    for total, first, second in (
        ("n_records", "n_ingested", "n_rejected"),
        ("n_ingested", "n_conformers", "n_duplicates"),
        ("n_conformers", "n_accept", "n_recompute"),
    ):
        yield f"{first} + {second}", summary[total], summary[first] + summary[second]


def _tables(screening: Screening, n_accept: int) -> Iterator[tuple[str, int, int]]:
    """What the tables must hold: name, number in the summary, number of rows."""
    summary, listed = screening.summary, screening.listed
    different = pc.count_distinct(listed["conformer_id"]).as_py()
    decided = sum(summary["reasons"].get(kind, 0) for kind in BY_PROBE)
    yield "accepted rows", summary["n_accept"], n_accept
    yield "rows to recompute", summary["n_recompute"], listed.num_rows - n_accept
    yield "rows marked accept", summary["n_accept"], int(screening.accepted.sum())
    yield "rejected rows", summary["n_rejected"], screening.rejected.num_rows
    yield "different conformers", summary["n_conformers"], different
    yield "refused conformers", summary["n_refused"], int(np.isnan(screening.p).sum())
    by_confidence = int(screening.by_confidence.sum())
    yield "decisions by confidence", summary["n_accept"] + decided, by_confidence
