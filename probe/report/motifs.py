"""Why: the surroundings of atoms that PROBE attends to again and again in unreliable molecules."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rdkit import Chem
from scipy import stats
from scipy.special import gammaln

from probe import figures, schemas
from probe.report import drawings, population
from probe.report.material import Material
from probe.report.screening import Floats, Screening

SAMPLE = 10_000
"""Molecules at most that are looked at, unreliable or not, in 2 ms each."""
IMPORTANT = 0.2
"""Share of a molecule's atoms, hydrogens counted with their neighbour, that are important."""
FEWEST_ATOMS = 5
"""In a smaller molecule a fifth is no whole atom."""
LEAST = 5
"""Unreliable molecules that must hold a motif."""
RADIUS = 1
"""Bonds around an atom that make its motif."""
MOST = 16
SIGNIFICANT = 0.05
SIZE = (150, 110)
CENTRE, AROUND = (0.93, 0.42, 0.05, 0.75), (0.93, 0.42, 0.05, 0.28)
NONE_UNRELIABLE = "No molecule is called unreliable: there is nothing to look for."
NO_IMPORTANCE = "No unreliable molecule has an importance for each of its atoms."
TOO_FEW = f"No motif is in {LEAST} unreliable molecules."


@dataclass
class Seen:
    """Where a motif was seen in the molecules that were looked at."""

    n_other: int = 0  # molecules not called unreliable that hold it
    important: list[bool] = field(default_factory=list)  # unreliable ones that hold it: it is
    chance: list[float] = field(default_factory=list)  # and how likely that was
    example: tuple[Chem.Mol, int] | None = None  # a molecule and the atom


@dataclass(frozen=True)
class Motif:
    """An atom with its neighbours, and how often it is among the important atoms."""

    smiles: str
    n: int  # unreliable molecules that hold it
    n_important: int  # of these, those in which it is important
    expected: float  # of these, were the important atoms drawn at random
    share: float  # of the unreliable molecules that hold it
    share_other: float | None  # of the others; None if there are none
    p: float  # that chance makes it important so often
    q: float = 1.0  # after Benjamini and Hochberg
    svg: Markup | None = None

    @property
    def significant(self) -> bool:
        """Whether chance is an unlikely reason, among so many tests."""
        return self.q <= SIGNIFICANT


def section(material: Material) -> dict[str, Any]:
    """The motifs of the page, also written as a figure."""
    screening = material.screening
    found = population.molecules(screening)
    unreliable = population.unreliable(found["p"].to_numpy())
    content: dict[str, Any] = {"n_unreliable": int(unreliable.sum())}
    rows: list[Motif] = []
    why = NONE_UNRELIABLE
    if unreliable.any():
        half = SAMPLE // 2
        seed = screening.inputs.seed
        chosen = population.drawn(found.filter(unreliable), half, seed)
        others = population.drawn(found.filter(~unreliable), half, seed)
        seen, n_looked, n_other = look(screening, chosen, others)
        rows = motifs(seen, n_looked, n_other)
        content |= {"n_looked": n_looked, "n_other": n_other, "n_tested": len(rows)}
        why = TOO_FEW if n_looked else NO_IMPORTANCE
    if not rows:
        figures.save_empty(screening.inputs.figures, "motifs", why)
        return content | {"empty": why}
    shown = rows[:MOST]
    drawn = dumbbells(shown)
    figures.save(drawn, screening.inputs.figures, "motifs")
    alt = "How often each motif is important, and how often it would be by chance; see the table."
    return content | {
        "svg": figures.inline(drawn, "motifs-figure", alt),
        "rows": [replace(row, svg=_depicted(seen[row.smiles])) for row in shown],
    }


def look(
    screening: Screening, unreliable: pl.DataFrame, others: pl.DataFrame
) -> tuple[dict[str, Seen], int, int]:
    """The motifs of two sets of ``population.molecules``, and how many of each set were read.

    A molecule stands in the geometry and with the importance of its conformer of highest
    p_unreliable.
    """
    seen: dict[str, Seen] = {}
    n_looked = n_other = 0
    for mol, shares in _weighed(screening, unreliable):
        n_looked += 1
        _note(seen, mol, shares)
    for mol, _ in _weighed(screening, others):
        n_other += 1
        for motif in set(surroundings(mol)) & seen.keys():
            seen[motif].n_other += 1
    return seen, n_looked, n_other


def surroundings(mol: Chem.Mol) -> list[str]:
    """The motif of every atom of ``mol``: SMILES of what lies ``RADIUS`` bonds around it."""
    return [_surrounding(mol, atom.GetIdx()) for atom in mol.GetAtoms()]


def important(shares: Floats, least: float = IMPORTANT) -> NDArray[np.bool_]:
    """The atoms of highest share: ``least`` of all, at least one; of equal ones the first."""
    n = max(1, round(least * len(shares)))
    chosen = np.zeros(len(shares), dtype=bool)
    chosen[np.argsort(-shares, kind="stable")[:n]] = True
    return chosen


def by_chance(n_atoms: int, n_important: int, n_motif: int) -> float:
    """Probability that ``n_important`` of ``n_atoms`` atoms at random hit one of ``n_motif``."""
    free = n_atoms - n_motif
    if n_important > free:
        return 1.0
    ways = _log_choose(free, n_important) - _log_choose(n_atoms, n_important)
    return float(-np.expm1(ways))


def motifs(seen: dict[str, Seen], n_looked: int, n_other: int) -> list[Motif]:
    """Those in at least ``LEAST`` unreliable molecules, least likely by chance first.

    The test is one-sided: of the molecules that hold a motif, in each of which it is important
    with a probability of its own by chance, at least so many have it important.
    """
    rows = []
    for smiles, one in seen.items():
        n, hits = len(one.important), sum(one.important)
        if n >= LEAST:
            p = float(stats.poisson_binom.sf(hits - 1, one.chance)) if hits else 1.0
            rows.append(
                Motif(
                    smiles=smiles,
                    n=n,
                    n_important=hits,
                    expected=sum(one.chance),
                    share=n / n_looked,
                    share_other=one.n_other / n_other if n_other else None,
                    p=min(max(p, 0.0), 1.0),
                )
            )
    if not rows:
        return []
    q = stats.false_discovery_control([row.p for row in rows], method="bh")
    corrected = [replace(row, q=float(value)) for row, value in zip(rows, q, strict=True)]
    return sorted(corrected, key=lambda row: (row.p, -row.n_important, row.smiles))


def dumbbells(rows: Sequence[Motif]) -> Figure:
    """Share of molecules in which each motif is important, beside what chance would make it."""
    drawn = figures.figure(5.6, 1.0 + 0.26 * len(rows), layout="constrained")
    draw_dumbbells(drawn.subplots(), rows)
    return drawn


def draw_dumbbells(axes: Axes, rows: Sequence[Motif]) -> None:
    """Draw a line for each of ``rows``; filled marks are those that count after correction."""
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        share, chance = row.n_important / row.n, row.expected / row.n
        axes.plot([chance, share], [place, place], color=figures.GRID, lw=3, zorder=1)
        axes.plot(chance, place, "|", color=figures.MUTED, ms=9, mew=2)
        face = figures.WARM if row.significant else "none"
        axes.plot(share, place, "o", mec=figures.WARM, mfc=face, ms=6, clip_on=False)
    axes.plot([], [], "o", color=figures.WARM, ms=6, label="important (filled: q ≤ 0.05)")
    axes.plot([], [], "|", color=figures.MUTED, ms=9, mew=2, ls="", label="by chance")
    axes.set(xlim=(0, 1), ylim=(-0.7, len(rows) - 0.3))
    axes.set_xlabel("share of the unreliable molecules that hold the motif")
    axes.set_yticks(places, [f"{row.smiles} ({row.n:,})" for row in rows])
    axes.tick_params(axis="y", length=0, labelcolor=figures.INK)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=1.2)


def _weighed(screening: Screening, chosen: pl.DataFrame) -> Iterator[tuple[Chem.Mol, Floats]]:
    """Heavy atoms of ``chosen`` molecules with their share of importance, where both are known."""
    inputs = screening.inputs
    ids = chosen["conformer_id"].to_list()
    columns = ["numbers", "positions", "charge"]
    geometries = drawings.pick(inputs.conformers, schemas.CONFORMERS, ids, columns)
    scored = drawings.pick(inputs.scores, schemas.SCORES, ids, ["importance"])
    for name, smiles in chosen.select("conformer_id", "smiles").iter_rows():
        if smiles is None or geometries[name]["numbers"] is None:
            continue
        mol, importance, _ = drawings.matched(smiles, geometries[name], scored[name])
        if mol is not None and importance is not None:
            drawn, shares = drawings.heavy_importance(mol, importance)
            Chem.SanitizeMol(drawn, catchErrors=True)
            if drawn.GetNumAtoms() >= FEWEST_ATOMS:
                yield drawn, shares


def _note(seen: dict[str, Seen], mol: Chem.Mol, shares: Floats) -> None:
    """Add an unreliable molecule to what was ``seen``."""
    motifs_of = surroundings(mol)
    chosen = important(shares)
    n_chosen = int(chosen.sum())
    for motif, n in Counter(motifs_of).items():
        one = seen.setdefault(motif, Seen())
        atoms = [place for place, held in enumerate(motifs_of) if held == motif]
        hit = bool(chosen[atoms].any())
        one.important.append(hit)
        one.chance.append(by_chance(len(shares), n_chosen, n))
        if one.example is None or mol.GetNumAtoms() < one.example[0].GetNumAtoms():
            one.example = (mol, max(atoms, key=lambda place: shares[place]))


def _surrounding(mol: Chem.Mol, place: int) -> str:
    bonds = list(Chem.FindAtomEnvironmentOfRadiusN(mol, RADIUS, place))
    atoms = {place}
    for bond in map(mol.GetBondWithIdx, bonds):
        atoms |= {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
    return Chem.MolFragmentToSmiles(
        mol, atomsToUse=sorted(atoms), bondsToUse=bonds, rootedAtAtom=place, isomericSmiles=False
    )


def _depicted(seen: Seen) -> Markup | None:
    """The smallest molecule that holds a motif, the motif in colour."""
    if seen.example is None:
        return None
    mol, centre = seen.example
    near = {atom.GetIdx() for atom in mol.GetAtomWithIdx(centre).GetNeighbors()}
    drawn, _ = drawings.prepared(Chem.Mol(mol), None)
    bonds = [mol.GetBondBetweenAtoms(centre, place).GetIdx() for place in near]
    colours = {centre: CENTRE} | dict.fromkeys(near, AROUND)
    return drawings.depict(drawn, colours, dict.fromkeys(bonds, AROUND), SIZE)


def _log_choose(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
