"""The library by molecule: one row for each different one, whatever its number of conformers."""

from pathlib import Path

import numpy as np
import polars as pl

from probe.report.screening import Floats, Screening

UNRELIABLE = 0.5
"""A molecule is called unreliable where the mean p_unreliable of its conformers is above it."""


def lists(screening: Screening) -> list[Path]:
    """The accepted and the others: together every conformer, in the order of the report's rows."""
    return [screening.inputs.triage / f"{name}.parquet" for name in ("accept", "recompute")]


def molecule() -> pl.Expr:
    """What makes rows one molecule: its SMILES, else its name, else the conformer is alone."""
    smiles, name = (pl.col(column).replace("", None) for column in ("smiles", "molecule_id"))
    return pl.coalesce(smiles, name, "conformer_id")


def scored() -> pl.Expr:
    """Whether PROBE gave a conformer a number."""
    return pl.col("p_unreliable").is_finite().fill_null(value=False)


def molecules(screening: Screening) -> pl.DataFrame:
    """Every different scored molecule, ordered by ``molecule``.

    With its ``smiles`` (null if it has none), ``p`` (mean p_unreliable of its conformers), ``n``
    of these, and the ``conformer_id`` of the one with the highest p_unreliable.
    """
    worst = pl.col("p_unreliable").arg_max()
    found = (
        pl.scan_parquet(lists(screening))
        .filter(scored())
        .group_by(molecule=molecule())
        .agg(
            smiles=pl.col("smiles").replace("", None).first(),
            p=pl.col("p_unreliable").mean(),
            n=pl.len(),
            conformer_id=pl.col("conformer_id").get(worst),
        )
    )
    return found.sort("molecule").collect(engine="streaming")


def drawn(found: pl.DataFrame, size: int, seed: int) -> pl.DataFrame:
    """At most ``size`` rows of ``molecules``, evenly from the deciles of p, in their order."""
    p = found["p"].to_numpy()
    if len(p) <= size:
        return found
    random = np.random.default_rng(seed)
    # systematic: every so many of the sorted ones from a random start, so every p has its share
    places = (np.arange(size) + random.random()) * len(p) / size
    return found[np.sort(np.argsort(p, kind="stable")[places.astype(int)])]


def unreliable(p: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which molecules of mean p_unreliable ``p`` are called unreliable."""
    return np.asarray(p > UNRELIABLE)
