"""How p_unreliable goes with simple descriptors of the molecule."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rdkit import Chem
from rdkit.Chem import Descriptors, rdMolDescriptors
from scipy import stats

from probe import figures
from probe.conformers.molecules import of_smiles
from probe.report import population
from probe.report.material import Material
from probe.report.screening import Floats, Screening

MOLECULE_LIMIT = 100_000
"""Enough for an interval of 0.006 on rho; RDKit takes about a millisecond a molecule."""
MIN_MOLECULES = 10
NO_MOLECULES = "No correlations: no scored conformer has a SMILES that RDKit reads."
MIN_IN_BIN, MAX_BINS = 5, 10
Z_95 = 1.959964


def heavy_halogens(mol: Chem.Mol) -> int:
    """Number of Cl, Br and I atoms."""
    return sum(atom.GetAtomicNum() in {17, 35, 53} for atom in mol.GetAtoms())


def log_p(mol: Chem.Mol) -> float:
    """Crippen's estimate of the octanol-water partition coefficient."""
    return float(rdMolDescriptors.CalcCrippenDescriptors(mol)[0])


def size_of_charge(mol: Chem.Mol) -> int:
    """Absolute formal charge of the molecule."""
    return abs(Chem.GetFormalCharge(mol))


DESCRIPTORS: dict[str, Callable[[Chem.Mol], float]] = {
    "Molecular weight": Descriptors.MolWt,  # type: ignore[attr-defined]
    "TPSA": rdMolDescriptors.CalcTPSA,
    "H-bond acceptors": rdMolDescriptors.CalcNumHBA,
    "H-bond donors": rdMolDescriptors.CalcNumHBD,
    "Rotatable bonds": rdMolDescriptors.CalcNumRotatableBonds,
    "logP": log_p,
    "Rings": rdMolDescriptors.CalcNumRings,
    "Heavy halogens": heavy_halogens,
    "Heavy atoms": rdMolDescriptors.CalcNumHeavyAtoms,
    "Aromatic rings": rdMolDescriptors.CalcNumAromaticRings,
    "Fraction sp³": rdMolDescriptors.CalcFractionCSP3,
    "Charge": size_of_charge,
}
UNITS = {
    "Molecular weight": "g/mol",
    "TPSA": "Å²",
    "logP": "Crippen",
    "Fraction sp³": "of the carbons",
    "Charge": "absolute",
}
WHOLE = DESCRIPTORS.keys() - {"Molecular weight", "TPSA", "logP", "Fraction sp³"}
"""Descriptors that are counts."""
PANELS = (6, 2)


@dataclass(frozen=True)
class Molecules:
    """Descriptors of the library's different SMILES, each with its conformers' mean p."""

    values: dict[str, Floats]  # descriptor: [n]
    p: Floats  # [n]
    n_conformers: int  # scored conformers behind the n molecules
    n_left_out: int  # scored conformers without a SMILES that RDKit reads
    n_different: int  # readable or not, before the draw of MOLECULE_LIMIT


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of one descriptor with p_unreliable, None where it is undefined."""

    name: str
    rho: float | None = None
    low: float = math.nan
    high: float = math.nan
    why_not: str = ""


def section(material: Material) -> dict[str, Any]:
    """The correlations and binned curves of the page, also written as figures."""
    folder = material.screening.inputs.figures
    found = describe(material.screening)
    if why := why_not(found):
        figures.save_empty(folder, "descriptors", why)
        return {"molecules": found, "empty": why}
    rows = correlate(found)
    figures.save(sheet(rows, found), folder, "descriptors")
    alt = "Spearman correlation of each descriptor with p_unreliable; the values are in the table."
    return {
        "molecules": found,
        "rows": rows,
        "forest": figures.inline(forest(rows), "correlations", alt),
        "curves": figures.inline(
            curves(found), "binned", "Mean p_unreliable over bins of each descriptor."
        ),
    }


def why_not(molecules: Molecules) -> str:
    """Why nothing can go with p_unreliable, in words; empty if something can."""
    if not len(molecules.p):
        return NO_MOLECULES
    if len(molecules.p) < MIN_MOLECULES:
        return f"No correlations: they take at least {MIN_MOLECULES} different molecules."
    if np.ptp(molecules.p) == 0:
        return "No correlations: every molecule has the same p_unreliable."
    return ""


def describe(screening: Screening) -> Molecules:
    """Descriptors of the scored molecules, one row for each different SMILES.

    Conformers of a molecule share its descriptors, so that they are no independent rows; their
    mean p_unreliable stands for the molecule.
    """
    found = population.molecules(screening)
    named = found.filter(pl.col("smiles").is_not_null())
    drawn = population.drawn(named, MOLECULE_LIMIT, screening.inputs.seed)
    rows = [_values(smiles) for smiles in drawn["smiles"]]
    read = np.array([row is not None for row in rows], dtype=bool)
    kept = drawn.filter(read)
    table = np.array([row for row in rows if row is not None], dtype=float)
    table = table.reshape(kept.height, len(DESCRIPTORS))
    n_scored = int(found["n"].to_numpy().sum())
    n_unread = int(drawn.filter(~read)["n"].to_numpy().sum())
    return Molecules(
        values=dict(zip(DESCRIPTORS, table.T, strict=True)),
        p=kept["p"].to_numpy(),
        n_conformers=int(kept["n"].sum()),
        n_left_out=n_scored - int(named["n"].to_numpy().sum()) + n_unread,
        n_different=named.height,
    )


def correlate(molecules: Molecules) -> list[Correlation]:
    """Spearman's rho of every descriptor with p_unreliable, with a 95 % interval."""
    return [_correlation(name, values, molecules.p) for name, values in molecules.values.items()]


def forest(correlations: Sequence[Correlation]) -> Figure:
    """Points with intervals, one row for each descriptor."""
    drawn = figures.figure(4.6, 4.2, layout="constrained")
    draw_forest(drawn.subplots(), correlations)
    return drawn


def draw_forest(axes: Axes, correlations: Sequence[Correlation]) -> None:
    """Draw rho and its interval for every descriptor, the first on top."""
    rows = np.arange(len(correlations))[::-1]
    axes.axvline(0, color=figures.MUTED, lw=1)
    for row, found in zip(rows, correlations, strict=True):
        if found.rho is None:
            axes.text(0.03, row, found.why_not, va="center", color=figures.MUTED, fontsize=8.5)
            continue
        axes.plot([found.low, found.high], [row, row], color=figures.COOL, lw=2.2)
        axes.plot(found.rho, row, "o", color=figures.COOL, ms=6)
    axes.set(xlim=(-1, 1), ylim=(-0.6, len(rows) - 0.4), xlabel="Spearman ρ with p_unreliable")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_yticks(rows, [found.name for found in correlations])
    axes.tick_params(axis="y", length=0, labelcolor=figures.INK)
    axes.grid(visible=False, axis="y")


def curves(molecules: Molecules) -> Figure:
    """Mean p_unreliable over the bins of every descriptor."""
    drawn = figures.figure(4.6, 9.0, layout="constrained")
    draw_curves(list(drawn.subplots(*PANELS, sharey=True).flat), molecules)
    return drawn


def draw_curves(grid: Sequence[Axes], molecules: Molecules) -> None:
    """Draw the binned mean of p_unreliable with its 95 % interval, a descriptor in each axes."""
    for index, (axes, name) in enumerate(zip(grid, molecules.values, strict=True)):
        x, mean, half = binned(molecules.values[name], molecules.p)
        axes.errorbar(x, mean, half, color=figures.COOL, marker="o", ms=4, elinewidth=1.2, lw=1.4)
        unit = f" ({UNITS[name]})" if name in UNITS else ""
        axes.set(ylim=(0, 1), yticks=[0, 0.5, 1], title=name + unit)
        if len(x) == 1:  # nearly all molecules have the same value
            axes.set_xlim(x[0] - 1, x[0] + 1)
        axes.locator_params(axis="x", nbins=4, integer=name in WHOLE)
        if index % 2 == 0:
            axes.set_ylabel("mean p")


def sheet(correlations: Sequence[Correlation], molecules: Molecules) -> Figure:
    """Correlations and binned curves in one figure."""
    drawn = figures.figure(9.2, 9.0, layout="constrained")
    halves = drawn.subfigures(1, 2, wspace=0.06, squeeze=False)[0]
    draw_forest(halves[0].subplots(), correlations)
    draw_curves(list(halves[1].subplots(*PANELS, sharey=True).flat), molecules)
    return drawn


def binned(x: Floats, p: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean x, mean p and half the 95 % interval of that mean, bin by bin.

    Equal values share a bin; each bin holds a tenth of the molecules or more, and at least five
    where there are as many.
    """
    order = np.argsort(x, kind="stable")
    n = np.unique(x, return_counts=True)[1]
    least = max(MIN_IN_BIN, math.ceil(len(x) / MAX_BINS))
    ends, since = [], 0
    for end in np.cumsum(n):
        if end - since >= least and len(x) - end >= least:
            ends.append(end)
            since = end
    x_bins, p_bins = np.split(x[order], ends), np.split(p[order], ends)
    half = [Z_95 * q.std(ddof=1) / math.sqrt(len(q)) if len(q) > 1 else 0.0 for q in p_bins]
    return (
        np.array([q.mean() for q in x_bins]),
        np.array([q.mean() for q in p_bins]),
        np.array(half),
    )


def _values(smiles: str) -> list[float] | None:
    mol = of_smiles(smiles)
    return None if mol is None else [float(compute(mol)) for compute in DESCRIPTORS.values()]


def _correlation(name: str, x: Floats, p: Floats) -> Correlation:
    if len(x) < MIN_MOLECULES:
        return Correlation(name, why_not=f"fewer than {MIN_MOLECULES} molecules")
    if np.ptp(x) == 0 or np.ptp(p) == 0:
        return Correlation(name, why_not="the same for all molecules")
    rho = float(stats.spearmanr(x, p).statistic)
    # Fisher's z with the variance of Bonett and Wright (2000) for Spearman's rho
    z = math.atanh(np.clip(rho, -0.999999, 0.999999))
    half = Z_95 * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return Correlation(name, rho, math.tanh(z - half), math.tanh(z + half))
