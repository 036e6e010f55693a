"""What screenings of molecules.smi accepted, held against the energies that are all known.

    probe screen resources/rare-elements/molecules.smi
    python resources/rare-elements/accepted.py results/rare-elements results/molecules

The first folder is of `probe evaluate`, as for curve.py; each further one of a screening, for which
a line is printed as `probe audit` does, and another for what it did not accept.
"""

import sys
from pathlib import Path

import polars as pl

from probe import schemas, tables
from probe.dft import audit


def checked(screened: Path, known: pl.DataFrame, name: str) -> pl.DataFrame:
    """One list of the screening with the errors of its conformers."""
    rows = tables.frame(screened / f"{name}.parquet", schemas.TRIAGED)
    found = rows.join(known, on="conformer_id", maintain_order="left")
    assert not found["error_kcal"].has_nulls(), f"{screened} is not a screening of molecules.smi"
    return found


def main(evaluated: str, *screenings: str) -> None:
    """Print two lines a screening."""
    predictions = tables.frame(Path(evaluated) / "predictions.parquet", schemas.PREDICTIONS)
    known = predictions.select("conformer_id", "error_kcal")
    for folder in map(Path, screenings):
        summary = tables.read_json(folder / "summary.json")
        accepted, rest = (checked(folder, known, name) for name in ("accept", "recompute"))
        print(f"{folder}: {audit.in_words(audit.verdict(accepted, summary))}")
        means = [part["error_kcal"].abs().mean() for part in (accepted, rest)]
        print(f"mean error {means[0]:.2f} kcal/mol, of the {rest.height} others {means[1]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
