"""Writes the data card of a calibration set: what is in it, and what it says of the backbone.

    python resources/calibration/describe.py [--tight TIGHT.parquet] [--cache CACHE] [LABELS]

LABELS is b973c.parquet unless another is given, and the card is card.md beside this script unless
--out says otherwise. TIGHT holds some of the same conformers from `probe label --tight`; without it
the card is silent on the noise of the labels. Energies of the backbone and of the other members of
its ensemble come from the cache, where they are computed if it lacks them. inventory.py
counts, figures.py has the arithmetic.
"""

import argparse
import hashlib
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from figures import (
    FOLDS,
    SEEDS,
    Magnitudes,
    between,
    corrections,
    fitted_errors,
    held_out_errors,
    pairs,
)
from inventory import by, contents, described, paragraphs, rank, table
from numpy.typing import NDArray
from scipy.stats import spearmanr

from probe import schemas, tables, weights
from probe.comparison.parts import MIN_ELEMENT_MOLECULES, LabelledSet, gather
from probe.comparison.peers.contract import Array
from probe.comparison.peers.process import OUTLIER
from probe.errors import ProbeError

HERE = Path(__file__).parent
BACKBONE = "aimnet2-b973c"
MIN_PAIRS = 20
"""With fewer pairs of two kinds of geometry they have no row."""
NAMED_SEEDS = ", ".join(map(str, SEEDS))
ERRORS = ("n", "median", "mean", "90 %", "99 %")


def magnitudes(errors: Array) -> list[str]:
    """The cells that ``ERRORS`` heads."""
    if not np.isfinite(errors).any():
        return ["0", *["–"] * (len(ERRORS) - 1)]
    m = Magnitudes.of(errors)
    figures = ("–" if x is None else f"{x:.2f}" for x in (m.median, m.mean, m.p90, m.p99))
    return [str(m.n), *figures]


def energies(known: LabelledSet) -> dict[str, Array]:
    """Energies [M] of the backbone, and if all are known, of its ensemble and their mean."""
    if known.members_ev is None:
        return {f"`{BACKBONE}`": np.array([sample.energy_ev for sample in known.data.samples])}
    family = weights.entry(BACKBONE).family
    names = [name for name, entry in weights.entries().items() if entry.family == family]
    columns = {f"`{name}`": known.members_ev[:, i] for i, name in enumerate(names)}
    return columns | {f"mean of the {len(names)}": known.members_ev.mean(axis=1)}


def errors(known: LabelledSet, frame: pl.DataFrame, held_out: Array) -> str:
    """How far the backbone is off; ``held_out`` [seeds, M] are its errors."""
    networks = []
    for name, energy in energies(known).items():
        data = known.data.by_another(energy)
        networks.append((f"{name}, all", *magnitudes(fitted_errors(data))))
        networks.append((f"{name}, held out", *magnitudes(held_out_errors(data))))
    kinds = [
        table(
            (title, *ERRORS), [(name, *magnitudes(held_out[:, m])) for name, m in rows if m.any()]
        )
        for title, rows in by(frame).items()
    ]
    return paragraphs(
        "The size of reference less backbone, kcal/mol, after the reference's linear shift per "
        "element and unit charge (probe/classifier/shift.py). The shift is fitted to all labels "
        f"(all), or to the other folds of {FOLDS} by molecule (held out; mean over the seeds "
        f"{NAMED_SEEDS}). An element of fewer than {MIN_ELEMENT_MOLECULES} molecules has no "
        "shift, and a conformer with one no error. A percentile is given where three errors or "
        "more lie beyond it.",
        table(("network, shift", *ERRORS), networks),
        "The networks of aimnet2-wb97m-d3 are not here: they were trained on another method, "
        "and their distance from these labels is first of all that of the two methods.",
        f"Held-out errors of `{BACKBONE}` by kind of geometry, size and element (of conformers "
        "that have it):",
        *kinds,
    )


def noise(path: Path, frame: pl.DataFrame, held_out: Array) -> str:
    """What tighter settings change; ``held_out`` [seeds, M] is what to compare it with.

    Raises:
        ProbeError: ``path`` has no conformer of the set.
    """
    tight = tables.frame(path, schemas.REFERENCES).filter("converged")
    both = frame.join(tight, on="conformer_id", suffix="_tight")
    if not len(both):
        raise ProbeError(f"{path}: holds no conformer of the set; label some of its conformers")
    change = (both["energy_ev"] - both["energy_ev_tight"]).to_numpy() * schemas.KCAL_PER_EV
    rows = []
    for name, values in (("total", change), ("per atom", change / both["n_atoms"].to_numpy())):
        size = np.abs(values)
        figures = (values.mean(), np.median(size), np.quantile(size, 0.9), size.max())
        rows.append((name, *(f"{x:.4f}" for x in figures)))
    settings = tables.provenance(path)
    share = np.median(np.abs(change)) / Magnitudes.of(held_out).median
    return paragraphs(
        f"The energies of {len(both)} conformers of {both['smiles'].n_unique()} molecules were "
        f"computed again with grid level {settings['grid_level']}, the SCF converged to "
        f"{settings['conv_tol']:g} hartree and its gradient to {settings['conv_tol_grad']:g}. "
        "Default less tight settings, kcal/mol:",
        table(("", "mean", "median size", "90 %", "largest"), rows),
        f"The median is {share:.1%} of the median held-out error of `{BACKBONE}`.",
    )


def correction(known: LabelledSet) -> str:
    """How far the signed error can be told from the embeddings."""
    names = {"ridge": "ridge regression on summed atom features", "process": "Gaussian process"}
    rows = []
    for name, seeds in corrections(known.data).items():
        r2, before, after = np.array([(c.r2, c.before, c.after) for c in seeds]).T
        fall = f"{1 - after.mean() / before.mean():.1%}"
        cells = (f"{r2.mean():.2f}", f"{r2.min():.2f} to {r2.max():.2f}")
        rows.append((names[name], *cells, f"{before.mean():.2f}", f"{after.mean():.2f}", fall))
    return paragraphs(
        "The signed error as the embeddings alone tell it, for molecules that the correction was "
        f"not fitted to: {FOLDS} folds by molecule, seeds {NAMED_SEEDS}. It is fitted to errors "
        f"cut to {OUTLIER:g} times their median size, and R² is of errors cut alike; the mean size "
        "of an error, in kcal/mol, is of errors as they are. The strength of the ridge comes from "
        "folds within the part that is fitted to, length and noise of the Gaussian process (its "
        "mean alone is used) from the marginal likelihood. Atom features of the process are "
        "standardised over the whole set.",
        table(("correction", "R²", "over the seeds", "before", "after", "less by"), rows),
    )


def relative(known: LabelledSet, frame: pl.DataFrame) -> str:
    """How far energy differences between conformers of one molecule are off."""
    reference = known.data.energy_ev
    pair = pairs(known.data.smiles.tolist(), reference)
    networks = energies(known)
    header = ("pairs", "reference", *ERRORS[1:], "Spearman", "same order")

    def row(name: str, energy: Array, chosen: NDArray[np.int64]) -> tuple[object, ...]:
        true, said = between(chosen, reference), between(chosen, energy)
        correlation, order = spearmanr(true, said).statistic, (said > 0).mean()
        n, *sizes = magnitudes((said - true)[None])
        return (name, n, f"{true.mean():.2f}", *sizes, f"{correlation:.3f}", f"{order:.1%}")

    if len(pair) < MIN_PAIRS:
        return f"{len(pair)} pairs of conformers of one molecule: too few for figures."
    geometry = frame["geometry"].to_list()
    found: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for rows in pair.tolist():
        found[tuple(sorted((geometry[row] for row in rows), key=rank))].append(rows)
    kinds = [
        row(" / ".join(kinds), next(iter(networks.values())), np.array(found[kinds]))
        for kinds in sorted(found, key=lambda kinds: [rank(kind) for kind in kinds])
        if len(found[kinds]) >= MIN_PAIRS
    ]
    molecules = len({known.data.smiles[i] for i in pair[:, 0]})
    return paragraphs(
        f"{len(pair)} pairs of conformers of {molecules} molecules. Their energy difference "
        "needs no shift, which is the same for both. In kcal/mol, from the conformer that is "
        "lower by the reference to the other: the reference's difference (mean), the error of "
        "the network's (its size), the rank correlation of the two, and how often "
        "the network has the same order. Where the SMILES leaves a stereocentre or a double "
        "bond open, the two may be stereoisomers.",
        table(("network", *header), [row(name, e, pair) for name, e in networks.items()]),
        f"`{BACKBONE}` by the two kinds of geometry, where there are {MIN_PAIRS} pairs or more:",
        table(("geometries", *header), kinds or [("none", *["–"] * len(header))]),
    )


def card(path: Path, cache: Path, tight: Path | None) -> str:
    """The text of the card."""
    frame = described(path)
    known = gather([path], BACKBONE, cache, "auto", None)
    ids = pl.DataFrame({"conformer_id": known.conformer_ids})
    taken = ids.join(frame, on="conformer_id", how="left", maintain_order="left")
    held_out = held_out_errors(known.data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sections = {
        "What is in it": contents(frame),
        "Errors": errors(known, taken, held_out),
        "Noise of the labels": noise(tight, taken, held_out) if tight else "",
        "How far a signed correction goes": correction(known),
        "Conformers of one molecule": relative(known, taken),
    }
    head = (
        f"# Data card of {path.name}",
        "What [describe.py](describe.py) measured; [README.md](README.md) says how it was made.",
        f"sha256 `{digest}`",
    )
    return "\n\n".join(
        [*head, *(f"## {name}\n\n{text}" for name, text in sections.items() if text)]
    )


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("labels", nargs="?", type=Path, default=HERE / "b973c.parquet")
    parser.add_argument("--tight", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=HERE / "card.md")
    asked = parser.parse_args()
    text = card(asked.labels, asked.cache, asked.tight)
    tables.atomically(asked.out, lambda handle: handle.write(f"{text}\n".encode()))


if __name__ == "__main__":
    try:
        main()
    except ProbeError as error:
        sys.exit(str(error))
