"""Acquisition: which conformers of a triaged library to label next.

Among the conformers with the highest p_unreliable, those that lie far from each other in the
space that PROBE sees: an error that is labelled once need not be labelled a hundred times.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from probe import schemas, tables
from probe.classifier import labels
from probe.errors import ProbeError
from probe.library import plan as planning
from probe.triage import exports

LEFT_OUT = {
    "no_answer": "without an answer of PROBE",
    "no_smiles": "without a SMILES",
    "reserved": "of molecules reserved for testing",
    "labelled": "labelled already",
    "molecule": "of molecules that have enough others",
}
"""Why a conformer cannot be chosen: the first of these that holds, and how that is said."""

Embeddings = Callable[[Sequence[str]], NDArray[np.float32]]
"""Molecular embeddings [M, D] of the conformers with these ids, in their order."""


@dataclass(frozen=True)
class Settings:
    """Mirrors ``acquire:`` of the configuration; every key is in config/README.md."""

    n: int = 100
    per_molecule: int = 1
    diversity: int = 3


@dataclass(frozen=True)
class Selection:
    """The ``batch`` in the order of choice, what there was to choose among, and what was not."""

    batch: pl.DataFrame
    n_candidates: int
    left_out: dict[str, int]
    """Number of conformers by reason; with the candidates they are all there are."""


def acquire(
    folder: Path, settings: Settings, labelled: Sequence[Path], outs: Sequence[Path]
) -> dict[str, Any]:
    """Choose a batch of the triaged library in ``folder`` and write it to each of ``outs``.

    ``labelled`` are tables of reference energies, whose conformers are not chosen again. The
    format of an output is that of its suffix (``exports.WRITERS``).

    Returns how many conformers were chosen, how many not and why, and the range of p_unreliable.

    Raises:
        ProbeError: a suffix is unknown, an output cannot be written, or the tables of the
            library are missing or do not fit each other.
    """
    writers = [exports.writer_for(out) for out in outs]
    for out in outs:
        tables.require_writable(out.parent, "choose another place for --out")
    plan = planning.load(folder / "plan.json")
    known = {key for path in labelled for key in labelled_ids(path)}
    lists = [folder / "accept.parquet", folder / "recompute.parquet"]
    columns = ["conformer_id", "smiles", "p_unreliable"]
    scored = pl.concat([tables.frame(path, schemas.TRIAGED, columns) for path in lists])
    selection = select(scored, _embeddings(plan.files(folder / "scores")), settings, known)
    chosen = selection.batch["conformer_id"].to_list()
    rows = gathered(lists, schemas.TRIAGED, schemas.TRIAGED.names, chosen)
    geometries = gathered(
        plan.files(folder / "conformers"),
        schemas.CONFORMERS,
        ["conformer_id", "numbers", "positions"],
        chosen,
    )
    batch = rows.join(geometries, on="conformer_id", maintain_order="left")
    for write, out in zip(writers, outs, strict=True):
        write(batch, out)
    return {"library": plan.library, **described(selection), "files": [str(out) for out in outs]}


def select(
    scored: pl.DataFrame,
    embeddings: Embeddings,
    settings: Settings,
    labelled: Collection[str] = frozenset(),
) -> Selection:
    """The batch of ``settings.n`` of ``scored`` (conformer_id, smiles, p_unreliable) to label.

    The ``diversity`` times n most unreliable candidates are asked for their embeddings, and the
    batch is spread over them; with a diversity of 1 it is the n most unreliable, worst first. The
    order of the rows does not matter; equals are ordered by id.
    """
    candidates, left_out = _candidates(scored, labelled, settings.per_molecule)
    shortlist = candidates.head(settings.n * settings.diversity)
    if settings.diversity > 1:
        points = embeddings(shortlist["conformer_id"].to_list())
        shortlist = shortlist[spread(points, min(settings.n, shortlist.height))]
    return Selection(shortlist, candidates.height, left_out)


def spread(points: NDArray[np.floating[Any]], n: int) -> list[int]:
    """``n`` rows of ``points`` [M, D] far from each other: the first, then always the farthest.

    The farthest is the one whose nearest chosen row is most distant, of equals the first. The
    beginning of a choice is the choice of so many. n is at most M.
    """
    chosen: list[int] = []
    nearest = np.full(len(points), np.inf)
    while len(chosen) < n:
        chosen.append(int(nearest.argmax()))
        offsets = points - points[chosen[-1]]
        nearest = np.minimum(nearest, np.einsum("md,md->m", offsets, offsets))
        nearest[chosen] = -1.0
    return chosen


def labelled_ids(path: Path) -> list[str]:
    """Conformers of a table of reference energies, those that did not converge included.

    Raises:
        ProbeError: the file is no such table.
    """
    if "conformer_id" in tables.open_parquet(path).schema_arrow.names:
        known = tables.read(path, schemas.REFERENCES, ["conformer_id"])["conformer_id"]
        ids: list[str] = known.drop_null().to_pylist()
        return ids
    return list(labels.read(path).conformer_ids)


def gathered(
    paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str], wanted: Sequence[str]
) -> pl.DataFrame:
    """Rows of the conformers ``wanted``, in their order, out of tables read one after another.

    Raises:
        ProbeError: one of them is in none of the tables.
    """
    asked = pl.DataFrame({"conformer_id": wanted}, schema={"conformer_id": pl.String})
    found = [
        tables.frame(path, schema, columns).join(asked, on="conformer_id", how="semi")
        for path in paths
    ]
    rows = pl.concat(found).unique("conformer_id", keep="first", maintain_order=True)
    lost = asked.join(rows, on="conformer_id", how="anti")
    if lost.height:
        raise ProbeError(
            f"{paths[0].parent}: conformer {lost['conformer_id'][0]} is in none of the tables, but "
            "in the lists; triage the library again (`snakemake --forcerun triage`)"
        )
    return asked.join(rows, on="conformer_id", how="left", maintain_order="left")


def described(selection: Selection) -> dict[str, Any]:
    """Counts of a selection, and the range of p_unreliable in its batch (null if it is empty)."""
    p = selection.batch["p_unreliable"]
    return {
        "n_conformers": selection.n_candidates + sum(selection.left_out.values()),
        "n_candidates": selection.n_candidates,
        "n_chosen": selection.batch.height,
        "n_molecules": selection.batch["smiles"].n_unique(),
        "p_unreliable": {"highest": p.max(), "mean": p.mean(), "lowest": p.min()},
        "left_out": selection.left_out,
    }


def in_words(done: Mapping[str, Any]) -> str:
    """What ``acquire`` returned, for a person: a line on the batch, one on what was left out."""
    p = done["p_unreliable"]
    span = f", p_unreliable {p['highest']:.3f} to {p['lowest']:.3f}" if done["n_chosen"] else ""
    counts = [f"{n} {LEFT_OUT[reason]}" for reason, n in done["left_out"].items() if n]
    return (
        f"{done['library']}: {done['n_chosen']} of {done['n_conformers']} conformers, of "
        f"{done['n_molecules']} molecules{span}\n"
        f"{done['library']}: left out: {', '.join(counts) or 'none'}"
    )


def _candidates(
    scored: pl.DataFrame, labelled: Collection[str], per_molecule: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """What may be chosen, worst first, and how many may not, by reason."""
    distinct = scored.sort(
        "p_unreliable", "conformer_id", descending=[True, False], nulls_last=True
    ).unique("conformer_id", keep="first", maintain_order=True)
    known = pl.Series(sorted(labelled), dtype=pl.String).implode()
    rules = {
        "no_answer": ~pl.col("p_unreliable").is_finite().fill_null(value=False),
        "no_smiles": pl.col("smiles").fill_null("") == "",
        "reserved": pl.col("smiles").is_in(_reserved(distinct["smiles"]).implode()),
        "labelled": pl.col("conformer_id").is_in(known),
    }
    judged = distinct.with_columns(
        why=pl.coalesce(pl.when(holds).then(pl.lit(reason)) for reason, holds in rules.items())
    )
    free = judged.filter(pl.col("why").is_null()).drop("why")
    kept = free.filter(pl.int_range(pl.len()).over("smiles") < per_molecule)
    counts = dict(judged["why"].drop_nulls().value_counts().iter_rows())
    counts["molecule"] = free.height - kept.height
    return kept, {reason: counts.get(reason, 0) for reason in LEFT_OUT}


def _reserved(smiles: pl.Series) -> pl.Series:
    names = smiles.drop_nulls().unique().to_list()
    return pl.Series([name for name in names if labels.reserved(name)], dtype=pl.String)


def _embeddings(paths: Sequence[Path]) -> Embeddings:
    def read(wanted: Sequence[str]) -> NDArray[np.float32]:
        rows = gathered(paths, schemas.SCORES, ["conformer_id", "embedding"], wanted)
        points: NDArray[np.float32] = rows["embedding"].to_numpy()
        return points

    return read
