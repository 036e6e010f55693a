"""What is in a labelled set, as Markdown: how many conformers and molecules of each kind."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import polars as pl
from ase.data import chemical_symbols
from numpy.typing import NDArray

from probe.classifier import labels
from probe.comparison.splits import LARGE

WIDTH = 100
SIZES = ((1, 4), (5, 8), (9, 12), (13, LARGE - 1), (LARGE, 30), (31, 1000))
"""Heavy atoms from and to, of the rows of a table."""

GEOMETRIES = ("mmff94", "uff", "aimnet2-relaxed")
GEOMETRIES += tuple(f"aimnet2-md-{temperature}K" for temperature in (300, 600, 1000))
"""In the order of a table; others come after them."""

Rows = tuple[str, NDArray[np.bool_]]
"""What some rows are called, and which they are."""


def described(path: Path) -> pl.DataFrame:
    """The set in ``path``, each conformer once, with the columns that the card counts by."""
    known = labels.read(path)
    numbers = [geometry.numbers for geometry in known.geometries]
    frame = pl.read_parquet(path).with_columns(
        conformer_id=pl.Series(known.conformer_ids),
        smiles=pl.Series(known.smiles),
        origin=pl.col("source").str.replace(r"^sub-.*", "sub-<group>"),
        n_atoms=pl.Series([len(atoms) for atoms in numbers]),
        n_heavy=pl.Series([int((atoms > 1).sum()) for atoms in numbers]),
        elements=pl.Series([np.unique(atoms).tolist() for atoms in numbers]),
    )
    return frame.unique("conformer_id", keep="first", maintain_order=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, the first column left."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def paragraphs(*parts: str) -> str:
    """``parts`` one after the other; what is no table is broken into lines."""
    filled = (
        part if part.startswith("|") else fill(part, WIDTH, break_on_hyphens=False)
        for part in parts
    )
    return "\n\n".join(filled)


def rank(geometry: str) -> tuple[int, str]:
    """What a list of geometries is sorted by."""
    known = geometry in GEOMETRIES
    return GEOMETRIES.index(geometry) if known else len(GEOMETRIES), geometry


def by(frame: pl.DataFrame) -> dict[str, list[Rows]]:
    """The rows of the tables that are of geometry, size and element."""
    heavy = frame["n_heavy"].to_numpy()
    held = frame["elements"].to_list()
    geometry = frame["geometry"].to_numpy()
    known = sorted({number for numbers in held for number in numbers})
    return {
        "geometry": [(f"`{g}`", geometry == g) for g in sorted(set(geometry), key=rank)],
        "size": [
            (f"small, fewer than {LARGE} heavy atoms", heavy < LARGE),
            (f"large, {LARGE} heavy atoms or more", heavy >= LARGE),
        ],
        "element": [
            (chemical_symbols[z], np.array([z in numbers for numbers in held])) for z in known
        ],
    }


def counts(frame: pl.DataFrame, title: str, kinds: Iterable[Rows]) -> str:
    """Conformers and molecules of each of ``kinds`` that has any."""
    rows = (
        (name, mask.sum(), frame["smiles"].filter(pl.Series(mask)).n_unique())
        for name, mask in kinds
        if mask.any()
    )
    return table((title, "conformers", "molecules"), rows)


def contents(frame: pl.DataFrame) -> str:
    """What is in the set."""
    atoms, heavy = frame["n_atoms"].to_numpy(), frame["n_heavy"].to_numpy()
    origin, charge = frame["origin"].to_numpy(), frame["charge"].to_numpy()
    sizes = frame.group_by("smiles").len()["len"].to_numpy()
    groups = frame.filter(pl.col("origin") == "sub-<group>")["source"].str.strip_prefix("sub-")
    common = groups.value_counts().sort("count", "source", descending=[True, False])
    several = [(n, int((sizes == n).sum())) for n in sorted(set(sizes.tolist()))]
    charges = [(f"{c:+d}" if c else "0", charge == c) for c in sorted(set(charge))]
    ranges = [(f"{a} to {b}", (heavy >= a) & (heavy <= b)) for a, b in SIZES]
    return paragraphs(
        f"{len(frame)} conformers of {len(sizes)} molecules, {int((sizes > 1).sum())} of which "
        f"have several. {atoms.min()} to {atoms.max()} atoms (median {np.median(atoms):g}), "
        f"{heavy.min()} to {heavy.max()} of them heavy (median {np.median(heavy):g}).",
        counts(frame, "source", [(f"`{o}`", origin == o) for o in sorted(set(origin))]),
        f"The {len(common)} groups, with the conformers of each: "
        + ", ".join(f"{name} {count}" for name, count in common.iter_rows())
        + ".",
        counts(frame, "geometry", by(frame)["geometry"]),
        counts(frame, "charge", charges),
        counts(frame, "element", by(frame)["element"]),
        counts(frame, "heavy atoms", ranges),
        table(("conformers of one molecule", "molecules"), several),
        *labelling(frame),
    )


def labelling(frame: pl.DataFrame) -> list[str]:
    """How the SCF went."""
    gap, hours = frame["gap_ev"].min(), frame["dft_seconds"].sum() / 3600
    text = f"The labels took {hours:.1f} core-hours; the smallest HOMO-LUMO gap is {gap:.2f} eV."
    if "remedy" not in frame.columns:
        return [text]
    names = frame["remedy"].fill_null("not recorded").replace("", "none").to_numpy()
    rows = ((name, (names == name).sum()) for name in sorted(set(names)))
    return [text, table(("remedy for the SCF", "conformers"), rows)]
