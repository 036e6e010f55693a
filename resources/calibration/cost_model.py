"""Fits what a B97-3c energy costs to the times of a labelled set, for probe/dft/cost.py.

    python resources/calibration/cost_model.py resources/calibration/times.parquet

times.parquet holds what the last labels took, by the code as it is; of those before, the times are
of slower code. Of any labelled set only rows that `probe label` wrote count (they have a remedy, if
an empty one): of others the time is the wall's. Seconds are scale * functions ** a * atoms ** b, by
Huber's loss in logarithms; the scale then makes their sum right. Its error is that of molecules
left out of the fit (ten folds).
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sklearn.model_selection import GroupKFold

FOLDS = 10
TOGETHER = 100
"""Conformers whose sum is estimated, as a recompute list's is."""
DRAWS = 10_000

Array = NDArray[np.float64]


def measured(path: Path) -> pl.DataFrame:
    """SMILES, functions, atoms and seconds of the conformers whose time counts."""
    rows = pl.read_parquet(path).filter(pl.col("remedy").is_not_null())
    return rows.select("smiles", "nao", "dft_seconds", atoms=pl.col("numbers").list.len())


def fit(functions: Array, atoms: Array, seconds: Array) -> tuple[float, float, float]:
    """The scale and the powers of functions and of atoms."""
    terms = np.stack([np.ones_like(functions), np.log(functions), np.log(atoms)], axis=1)
    found = least_squares(
        lambda weights: terms @ weights - np.log(seconds),
        [-9.0, 2.0, 0.5],
        loss="huber",
        f_scale=0.2,
    )
    _, a, b = found.x
    scale = seconds.sum() / (functions**a * atoms**b).sum()
    return float(scale), float(a), float(b)


def left_out(rows: pl.DataFrame) -> Array:
    """Seconds of each conformer by fits that saw no conformer of its molecule."""
    functions, atoms, seconds = _columns(rows)
    expected = np.empty_like(seconds)
    for fitted, tested in GroupKFold(FOLDS).split(seconds, groups=rows["smiles"].to_numpy()):
        scale, a, b = fit(functions[fitted], atoms[fitted], seconds[fitted])
        expected[tested] = scale * functions[tested] ** a * atoms[tested] ** b
    return expected


def _columns(rows: pl.DataFrame) -> tuple[Array, Array, Array]:
    columns = (rows[name].to_numpy().astype(np.float64) for name in ("nao", "atoms", "dft_seconds"))
    functions, atoms, seconds = columns
    return functions, atoms, seconds


def main(path: Path) -> None:
    """Print the fit and its error."""
    rows = measured(path)
    functions, atoms, seconds = _columns(rows)
    scale, a, b = fit(functions, atoms, seconds)
    expected = left_out(rows)
    factor = np.exp(np.abs(np.log(expected / seconds)))
    drawn = np.random.default_rng(42).integers(0, len(seconds), (DRAWS, TOGETHER))
    off = np.abs(expected[drawn].sum(axis=1) / seconds[drawn].sum(axis=1) - 1)
    print(f"{len(rows)} times, {functions.min():.0f} to {functions.max():.0f} functions")
    print(f"seconds = {scale:.3g} * functions ** {a:.3f} * atoms ** {b:.2f}")
    print(f"a conformer within a factor of {np.quantile(factor, 0.68):.2f} in 68 %, ", end="")
    print(f"{np.quantile(factor, 0.9):.2f} in 90 %; {TOGETHER} within {np.quantile(off, 0.95):.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
