"""What triage writes of a library, in pieces: both lists, the SD file, molecules and rejects."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from probe import schemas, spill, streams
from probe.streams import Write
from probe.triage import ensembles, sdf, summary

JUDGED_BY = [
    *("molecule_id", "numbers", "n_atoms", "charge", "multiplicity", "conformer_id", "smiles"),
    *("energy_ev", "p_unreliable", "verdict", "reason"),
]
"""The columns that a molecule is judged by."""

MOST_BUCKETS = 64
"""Each piece of rows is cut into so many: with more, those of millions are of a few rows each."""


@dataclass
class Lists:
    """The lists of a library while they are written; they appear when ``writing`` ends."""

    writers: Mapping[str, Write]  # by verdict
    to_sdf: Write
    to_molecules: Write
    buckets: spill.Buckets  # conformers, those of a molecule in one
    judged: spill.Runs  # molecules
    n_buckets: int
    n: int = 0
    n_named: int = 0  # a conformer counts once for each of its names
    tallies: list[pl.DataFrame] = field(default_factory=list)

    def add(self, decided: pl.DataFrame) -> None:
        """List the next rows of ``triage.decide``, in the order that the lists shall have."""
        told = decided.with_columns(pl.col("synonyms").list.join("; "))
        for verdict, write in self.writers.items():
            write(told.filter(verdict=verdict))
        self.to_sdf(decided.filter(verdict="recompute"))
        ranked = decided.with_row_index("rank", offset=self.n).with_columns(
            molecule_id=pl.concat_list("molecule_id", "synonyms")
        )
        by_name = ranked.select("rank", *JUDGED_BY).explode("molecule_id")
        self.buckets.add(by_name, ensembles.bucket(by_name, self.n_buckets))
        self.n_named += by_name.height
        self.tallies.append(summary.tally(decided))
        self.n += decided.height

    def molecules(self) -> dict[str, Any]:
        """Judge the molecules of all rows and list them by their first conformer; their counts.

        Raises:
            ProbeError: a conformer is not in one of them for each of its names.
        """
        light = []
        for rows in self.buckets:
            found = ensembles.ranked(rows)
            light.append(found.select("n_conformers", "verdict"))
            self.judged.add(found, found["rank"].to_numpy().astype(float))
        for found in self.judged.merged():
            self.to_molecules(found)
        empty = pl.DataFrame(schema={"n_conformers": pl.UInt32, "verdict": pl.String})
        return ensembles.counts(pl.concat(light or [empty]), self.n_named)


@contextmanager
def writing(
    folder: Path, place: spill.Scratch, record: Mapping[str, Any], n: int
) -> Iterator[Lists]:
    """The lists of ``n`` conformers in ``folder``, with ``record`` as their provenance.

    They appear together when the block ends, none if it raises. ``place`` is for files between.
    """
    with (
        streams.writing(folder / "accept.parquet", schemas.TRIAGED, record) as accept,
        streams.writing(folder / "recompute.parquet", schemas.TRIAGED, record) as recompute,
        streams.writing(folder / "molecules.parquet", schemas.MOLECULES, record) as molecules,
        sdf.writing(folder / "recompute.sdf") as to_sdf,
    ):
        yield Lists(
            writers={"accept": accept, "recompute": recompute},
            to_sdf=to_sdf,
            to_molecules=molecules,
            buckets=place.buckets("conformers"),
            judged=place.runs("molecules"),
            n_buckets=min(1 + n // streams.ROWS, MOST_BUCKETS),
        )


@contextmanager
def rejected(paths: Sequence[Path], out: Path, record: Mapping[str, Any]) -> Iterator[int]:
    """The rejects in ``paths`` as one table ``out``, which appears when the block ends.

    Gives their number.
    """
    n = 0
    with streams.writing(out, schemas.REJECTED, record) as write:
        for path in paths:
            for rows in streams.batches(path, schemas.REJECTED):
                write(rows)
                n += rows.height
        yield n
