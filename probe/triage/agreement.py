"""Where two screenings of the same conformers agree, and where they do not.

Two backbones put absolute energies on different scales. They are compared after a linear shift
per element and unit of charge, fitted to their differences in the library itself, and within a
molecule, where every such shift drops out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ase.data import atomic_numbers
from scipy.stats import spearmanr

from probe import schemas, tables
from probe.classifier.shift import Shift, fit_shift
from probe.errors import ProbeError
from probe.library import plan as planning
from probe.triage import pairs

TABLE, RECORD, PAGE = "agreement.parquet", "agreement.json", "agreement.html"

SIDES = ("first", "second")
STATUSES = ("accept", "recompute", "refused", "absent")
"""What became of a conformer in a screening; those refused by the backbone are recomputed, too."""
KINDS = {
    "accepted by one only": "one accepts the energy, the other sends the conformer to DFT",
    "refused by one only": "one backbone cannot take the conformer, the other can",
    "in one only": "one library does not hold the conformer",
    "accepted by both": "both accept their energies",
    "recomputed by both": "both send it to DFT, with an energy of each backbone",
    "refused by both": "neither backbone can take it",
}
"""What the two made of a conformer; the disagreements first."""

MIN_MOLECULES = 20
"""An element in fewer molecules has no shift: it would be those molecules' own difference."""
FIT_LIMIT = 100_000
"""Most conformers that the shift is fitted to."""

IDENTITY = ["conformer_id", "molecule_id", "smiles", "n_atoms", "charge", "multiplicity"]
ANSWERS = ["energy_ev", "p_unreliable", "verdict", "reason"]
SUMMARY = (
    *("library", "n_conformers", "n_accept", "n_recompute", "n_refused", "backbone"),
    *("fingerprint", "checkpoint", "policy", "tolerance_kcal", "cutoffs"),
)
"""What the comparison needs of summary.json."""


@dataclass(frozen=True)
class Screening:
    """A triaged library: its summary, and identity, answers and status of every conformer."""

    folder: Path
    summary: dict[str, Any]
    rows: pl.DataFrame

    @property
    def name(self) -> str:
        """The library's name."""
        return str(self.summary["library"])


@dataclass(frozen=True)
class Pair:
    """Two screenings: every conformer of either (``schemas.AGREEMENT``), and what it comes to."""

    rows: pl.DataFrame
    record: dict[str, Any]


def agree(folders: Sequence[Path], out: Path) -> list[Pair]:
    """Compare the triaged libraries in ``folders`` with each other; write table and record.

    Of more than two, every two are a pair of their own; all pairs are in one table.

    Raises:
        ProbeError: fewer than two, two of one name, or counts that do not agree.
    """
    screenings = [load(folder) for folder in folders]
    names = [screening.name for screening in screenings]
    if len(set(names)) < max(len(names), 2):
        raise ProbeError(
            f"{', '.join(names) or 'nothing'}: two or more screenings with names of their own "
            "can be compared"
        )
    pairs = [compare(first, second) for first, second in combinations(screenings, 2)]
    table = pl.concat([pair.rows for pair in pairs]).to_arrow()
    tables.write(out / TABLE, table, schemas.AGREEMENT, {"screenings": names})
    tables.write_json(out / RECORD, {"pairs": [pair.record for pair in pairs]})
    return pairs


def load(folder: Path) -> Screening:
    """The triaged library in ``folder``.

    Raises:
        ProbeError: a file is missing or broken, or the lists are not those of the summary.
    """
    summary = tables.read_json(folder / "summary.json")
    if missing := [key for key in SUMMARY if key not in summary]:
        raise ProbeError(f"{folder}/summary.json: no {', '.join(missing)}; run the triage again")
    lists = [
        tables.frame(folder / f"{verdict}.parquet", schemas.TRIAGED, IDENTITY + ANSWERS)
        for verdict in ("accept", "recompute")
    ]
    refused = pl.col("energy_ev").is_null()
    rows = pl.concat(lists).with_columns(
        status=pl.when(refused).then(pl.lit("refused")).otherwise("verdict")
    )
    screening = Screening(folder, summary, rows)
    for what, said, found in (
        ("accepted rows", summary["n_accept"], lists[0].height),
        ("rows to recompute", summary["n_recompute"], lists[1].height),
        ("different conformers", summary["n_conformers"], rows["conformer_id"].n_unique()),
        ("refused conformers", summary["n_refused"], rows.filter(refused).height),
    ):
        _check(screening, what, said, found)
    return screening


def compare(first: Screening, second: Screening) -> Pair:
    """Every conformer of the two, the disagreements first, and what they come to.

    Raises:
        ProbeError: a conformer of one of them is nowhere, or twice.
    """
    rows = _joined(first, second)
    both = rows.filter(_both("energy_ev").is_not_null())
    evaluated = both.join(_numbers(first.folder), on="conformer_id", maintain_order="left")
    _check(first, "geometries of what both evaluated", both.height, evaluated.height)
    shift = _shift(evaluated)
    compared = evaluated.select("conformer_id", *_relative()).with_columns(
        difference_kcal=_difference(evaluated, shift)
    )
    rows = rows.join(compared, on="conformer_id", how="left", maintain_order="left")
    rows = rows.select(*schemas.AGREEMENT.names, *(f"status_{side}" for side in SIDES))
    record = _record(rows, (first, second), shift)
    for side, screening in zip(SIDES, (first, second), strict=True):
        listed = rows.filter(pl.col(f"status_{side}") != "absent").height
        _check(screening, f"conformers of the {side} screening", screening.rows.height, listed)
    return Pair(rows.select(schemas.AGREEMENT.names), record)


def _joined(first: Screening, second: Screening) -> pl.DataFrame:
    """One row for each conformer of either, with a kind; the disagreements first."""
    screenings = dict(zip(SIDES, (first.rows, second.rows), strict=True))
    rows = pairs.matched(screenings, (*ANSWERS, "status"), IDENTITY[1:]).with_columns(
        *(pl.col(f"status_{side}").fill_null("absent") for side in SIDES),
        first=pl.lit(first.name),
        second=pl.lit(second.name),
    )
    return pairs.in_order(rows.with_columns(kind=_kind()), KINDS, *SIDES)


def _kind() -> pl.Expr:
    one, other = (pl.col(f"status_{side}") for side in SIDES)
    either, alike = pl.concat_list(one, other).list, one == other
    return (
        pl.when(either.contains("absent"))
        .then(pl.lit("in one only"))
        .when(alike & (one == "refused"))
        .then(pl.lit("refused by both"))
        .when(either.contains("refused"))
        .then(pl.lit("refused by one only"))
        .when(alike & (one == "accept"))
        .then(pl.lit("accepted by both"))
        .when(alike)
        .then(pl.lit("recomputed by both"))
        .otherwise(pl.lit("accepted by one only"))
    )


def _both(column: str) -> pl.Expr:
    """The difference of ``column``, first less second; null unless both have it."""
    return pl.col(f"{column}_first") - pl.col(f"{column}_second")


def _relative() -> list[pl.Expr]:
    """Each backbone's energies less their mean over the molecule, for those that both have.

    A molecule is a SMILES with charge and multiplicity; alone in it, a conformer has none.
    """
    molecule = ["smiles", "n_atoms", "charge", "multiplicity"]
    known = (pl.col("smiles").fill_null("") != "") & (pl.len().over(molecule) > 1)
    energies = [pl.col(f"energy_ev_{side}") for side in SIDES]
    return [
        pl.when(known)
        .then((energy - energy.mean().over(molecule)) * schemas.KCAL_PER_EV)
        .alias(f"relative_kcal_{side}")
        for energy, side in zip(energies, SIDES, strict=True)
    ]


def _numbers(folder: Path) -> pl.DataFrame:
    plan = planning.load(folder / "plan.json")
    shards = plan.files(folder / "conformers")
    columns = ["conformer_id", "numbers"]
    frames = [tables.frame(path, schemas.CONFORMERS, columns) for path in shards]
    return pl.concat(frames).unique("conformer_id", keep="first")


def _shift(evaluated: pl.DataFrame) -> Shift | None:
    """Of the first backbone less the second, None where no element is in enough molecules."""
    rows = evaluated.with_columns(
        energy=_both("energy_ev"),
        molecule=pl.when(pl.col("smiles") != "").then("smiles").otherwise("conformer_id"),
    ).sort("conformer_id")[:FIT_LIMIT]  # the ids are hashes: as good as drawn at random
    if rows.is_empty():
        return None
    try:
        return fit_shift(
            [np.array(atoms) for atoms in rows["numbers"].to_list()],
            rows["charge"].to_list(),
            rows["energy"].to_numpy(),
            MIN_MOLECULES,
            rows["molecule"].to_list(),
        )
    except ProbeError:  # too few molecules; the page says so
        return None


def _difference(evaluated: pl.DataFrame, shift: Shift | None) -> pl.Series:
    """First less second in kcal/mol after ``shift``; null where an element has none."""
    if shift is None:
        return pl.Series([None] * evaluated.height, dtype=pl.Float64)
    per_element = np.full(256, np.nan)
    for symbol, value in shift.per_element.items():
        per_element[atomic_numbers[symbol]] = value
    sizes = evaluated["numbers"].list.len().cast(pl.Int64).to_numpy()
    per_atom = per_element[evaluated["numbers"].explode().to_numpy()]
    offset = np.add.reduceat(per_atom, np.cumsum(sizes) - sizes)
    offset += shift.per_charge * evaluated["charge"].to_numpy()
    raw = evaluated.select(_both("energy_ev")).to_series().to_numpy()
    return pl.Series((raw - offset) * schemas.KCAL_PER_EV).fill_nan(None)


def _record(
    rows: pl.DataFrame, screenings: tuple[Screening, Screening], shift: Shift | None
) -> dict[str, Any]:
    absent = [rows.filter(pl.col(f"status_{side}") == "absent").height for side in SIDES]
    kinds = dict(rows.group_by("kind").len().iter_rows())
    pairs = rows.group_by(f"status_{side}" for side in SIDES).len().iter_rows()
    met = {(one, other): n for one, other, n in pairs}
    answered = rows.filter(_both("p_unreliable").is_not_null())
    differing = rows.filter(pl.col("difference_kcal").is_not_null())
    related = rows.filter(pl.col("relative_kcal_first").is_not_null())
    relative = related.select(_both("relative_kcal")).to_series()
    return {
        **{
            side: {key: screening.summary[key] for key in SUMMARY}
            for side, screening in zip(SIDES, screenings, strict=True)
        },
        "n_both": rows.height - sum(absent),
        "n_only_first": absent[1],
        "n_only_second": absent[0],
        "kinds": {kind: kinds.get(kind, 0) for kind in KINDS},
        "statuses": {
            one: {other: met.get((one, other), 0) for other in STATUSES} for one in STATUSES
        },
        "p_unreliable": {"n": answered.height, "spearman": _correlation(answered)},
        "shift": None if shift is None else vars(shift),
        "difference": _size(differing["difference_kcal"]),
        "relative": _size(relative) | {"n_molecules": related["smiles"].n_unique()},
    }


def _size(differences: pl.Series) -> dict[str, float | int | None]:
    absolute = differences.abs()
    return {
        "n": absolute.len(),
        "median_kcal": absolute.quantile(0.5, "linear"),
        "p95_kcal": absolute.quantile(0.95, "linear"),
    }


def _correlation(answered: pl.DataFrame) -> float | None:
    """Spearman's of the two p_unreliable, None where one of them does not vary."""
    one, other = (answered[f"p_unreliable_{side}"] for side in SIDES)
    if min(one.n_unique(), other.n_unique()) < 2:
        return None
    return float(spearmanr(one.to_numpy(), other.to_numpy()).statistic)


def _check(screening: Screening, what: str, said: int, found: int) -> None:
    if said != found:
        raise ProbeError(
            f"{screening.folder}: {said} expected where the {what} are {found}; "
            "run the triage again"
        )
