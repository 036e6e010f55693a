"""Where the potential fails: what is held more often by the unreliable molecules than by others."""

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
from rdkit.Chem import Fragments
from rdkit.Chem.Scaffolds import MurckoScaffold
from scipy import stats
from scipy.stats.contingency import odds_ratio

from probe import figures
from probe.conformers.molecules import of_smiles
from probe.report import drawings, population
from probe.report.material import Material

SAMPLE = 50_000
"""Molecules that RDKit looks at: groups and scaffolds take it about a millisecond of each."""
LEAST = 5
"""Molecules that must hold what is tested, and as many that must not."""
EXACT_UP_TO = 10_000
"""Molecules up to which odds ratios are conditional and intervals exact: beyond, slow."""
SIGNIFICANT = 0.05
MOST = {"element": 20, "group": 12, "scaffold": 8}
"""Rows of each kind that the page shows: the least likely by chance."""
KINDS = {"element": "Elements", "group": "Functional groups", "scaffold": "Scaffolds"}
ACYCLIC = "no ring"
SCAFFOLD_SIZE = (130, 90)
WIDEST = 200
"""Odds ratio at the ends of the figure: intervals of few molecules go on for ever."""
MISSPELT = {"piperdine": "piperidine", "piperzine": "piperazine"}
ONE_SIDED = {
    True: "Every molecule is called unreliable: there are no others to compare them with.",
    False: "No molecule is called unreliable: there is nothing to look for.",
}
NO_SCORES = "No molecule of this library was scored."
TOO_FEW = f"Nothing is held by at least {LEAST} molecules and missing in at least {LEAST}."

Holds = NDArray[np.bool_]


@dataclass(frozen=True)
class Enrichment:
    """One property: molecules with and without it, and how it goes with being unreliable."""

    kind: str  # a key of KINDS
    name: str
    n_with: int
    unreliable_with: int
    n_without: int
    unreliable_without: int
    odds: float  # ratio; 0 or infinite where a cell is empty
    low: float
    high: float
    p: float  # Fisher's exact test, two-sided
    q: float = 1.0  # after Benjamini and Hochberg, over all that was tested
    svg: Markup | None = None

    @property
    def significant(self) -> bool:
        """Whether chance is an unlikely reason, among so many tests."""
        return self.q <= SIGNIFICANT


@dataclass(frozen=True)
class Looked:
    """What RDKit found in a sample of the molecules."""

    unreliable: Holds  # [molecules]
    groups: dict[str, Holds] = field(default_factory=dict)  # [molecules] each
    scaffolds: dict[str, Holds] = field(default_factory=dict)
    n_unreadable: int = 0


def section(material: Material) -> dict[str, Any]:
    """The enriched elements, groups and scaffolds of the page, also written as a figure."""
    screening = material.screening
    found = population.molecules(screening)
    called = population.unreliable(found["p"].to_numpy())
    content: dict[str, Any] = {"n": found.height, "n_unreliable": int(called.sum())}
    why = NO_SCORES if not found.height else ONE_SIDED.get(bool(called[0]))
    if found.height and called.any() != called.all():
        looked = look(population.drawn(found, SAMPLE, screening.inputs.seed))
        rows = corrected([*of_elements(material), *of_sample(looked)])
        content |= {"n_looked": len(looked.unreliable), "n_unreadable": looked.n_unreadable}
        content["n_tested"] = len(rows)
        why = None if rows else TOO_FEW
    if why is not None:
        figures.save_empty(screening.inputs.figures, "enrichment", why)
        return content | {"empty": why}
    kept = chosen(rows)
    drawn = forest(kept)
    figures.save(drawn, screening.inputs.figures, "enrichment")
    alt = "Odds ratio of being unreliable for each element, group and scaffold; see the table."
    return content | {
        "svg": figures.inline(drawn, "enrichment-figure", alt),
        "kinds": KINDS,
        "rows": [_drawn(row) for row in kept],
    }


def of_elements(material: Material) -> list[Enrichment]:
    """Every element of the library, over all of its scored molecules."""
    screening = material.screening
    symbols = [element.symbol for element in material.elements]
    holds = {element.symbol: element.holds for element in material.elements}
    molecule = (
        pl.scan_parquet(population.lists(screening))
        .select(population.molecule().hash().alias("molecule"))
        .collect(engine="streaming")["molecule"]
    )
    frame = pl.DataFrame({"molecule": molecule, "p": screening.p, **holds})
    by_molecule = (
        frame.lazy()
        .filter(pl.col("p").is_not_nan())
        .group_by("molecule")
        .agg(pl.col("p").mean(), pl.col(symbols).any())
        .collect()
    )
    unreliable = population.unreliable(by_molecule["p"].to_numpy())
    return list(_tested("element", {s: by_molecule[s].to_numpy() for s in symbols}, unreliable))


def of_sample(looked: Looked) -> list[Enrichment]:
    """Functional groups and scaffolds of the molecules that were looked at.

    None where these are all of one class, though the library is not.
    """
    if looked.unreliable.all() or not looked.unreliable.any():
        return []
    return [
        *_tested("group", looked.groups, looked.unreliable),
        *_tested("scaffold", looked.scaffolds, looked.unreliable),
    ]


def look(sample: pl.DataFrame) -> Looked:
    """Functional groups (RDKit's fragments) and Murcko scaffolds of ``population.molecules``."""
    p, groups, scaffolds = [], [], []
    for smiles, value in sample.select("smiles", "p").iter_rows():
        mol = of_smiles(smiles) if smiles else None
        if mol is not None:
            p.append(value)
            groups.append([count(mol) > 0 for _, count in Fragments.fns])
            scaffolds.append(scaffold(mol) or ACYCLIC)
    names = [group_name(count.__doc__ or name) for name, count in Fragments.fns]
    columns = np.array(groups, dtype=bool).reshape(len(p), len(names)).T
    return Looked(
        unreliable=population.unreliable(np.array(p, dtype=np.float64)),
        groups=_different(dict(zip(names, columns, strict=False))),
        scaffolds=_scaffolds(scaffolds),
        n_unreadable=sample.height - len(p),
    )


def scaffold(mol: Chem.Mol) -> str:
    """The Murcko scaffold of ``mol`` as SMILES, empty if it has no ring."""
    return str(MurckoScaffold.MurckoScaffoldSmiles(mol=mol))  # type: ignore[no-untyped-call]


def group_name(says: str) -> str:
    """A functional group in RDKit's own words, spelt right."""
    words = [MISSPELT.get(word, word) for word in says.removeprefix("Number of ").split()]
    first = words[0] if words[0][:2].isupper() or len(words[0]) == 1 else words[0].lower()
    return " ".join([first, *words[1:]])


def fisher(
    n_with: int, unreliable_with: int, n_without: int, unreliable_without: int
) -> Enrichment:
    """Odds ratio with its 95 % interval, and Fisher's p, of a table of two by two.

    The ratio and interval are conditional and exact up to ``EXACT_UP_TO`` molecules; beyond,
    those of the sample with Woolf's interval, half a molecule added where a cell is empty.
    """
    cells = np.array(
        [
            [unreliable_with, n_with - unreliable_with],
            [unreliable_without, n_without - unreliable_without],
        ]
    )
    p = float(stats.fisher_exact(cells).pvalue)
    exact = cells.sum() <= EXACT_UP_TO
    counted = cells if exact or cells.all() else cells + 0.5
    if exact:
        found = odds_ratio(counted)
        interval = found.confidence_interval()
        ratio, low, high = float(found.statistic), float(interval.low), float(interval.high)
    else:
        ratio = float(counted[0, 0] * counted[1, 1] / (counted[0, 1] * counted[1, 0]))
        half = float(stats.norm.ppf(0.975)) * float(np.sqrt((1 / counted).sum()))
        low, high = ratio * np.exp(-half), ratio * np.exp(half)
    return Enrichment(
        "", "", n_with, unreliable_with, n_without, unreliable_without, ratio, low, high, p
    )


def corrected(rows: Sequence[Enrichment]) -> list[Enrichment]:
    """``rows`` with q, the false discovery rate at which each would count, over all of them."""
    if not rows:
        return []
    q = stats.false_discovery_control([row.p for row in rows], method="bh")
    return [replace(row, q=float(value)) for row, value in zip(rows, q, strict=True)]


def chosen(rows: Sequence[Enrichment]) -> list[Enrichment]:
    """What the page shows of each kind: the least likely by chance, by falling odds ratio."""
    kept: list[Enrichment] = []
    for kind in KINDS:
        likeliest = sorted((row for row in rows if row.kind == kind), key=lambda row: row.p)
        kept += sorted(likeliest[: MOST[kind]], key=lambda row: (-row.odds, row.name))
    return kept


def forest(rows: Sequence[Enrichment]) -> Figure:
    """Odds ratios with intervals on a logarithmic scale, a block for each kind."""
    drawn = figures.figure(5.6, 1.0 + 0.22 * (len(rows) + 2 * len(KINDS)), layout="constrained")
    axes = drawn.subplots()
    draw_forest(axes, rows)
    return drawn


def draw_forest(axes: Axes, rows: Sequence[Enrichment]) -> None:
    """Draw a line for each of ``rows``; filled marks are those that count after correction."""
    ends = [x for row in rows for x in (row.low, row.high) if 0 < x < np.inf]
    left, right = min([0.3, *ends]), max([3.0, *ends])
    left, right = max(left, 1 / WIDEST), min(right, WIDEST)
    places, labels, place = [], [], 0.0
    for index, row in enumerate(rows):
        if index == 0 or row.kind != rows[index - 1].kind:
            axes.text(left, place - 0.5, KINDS[row.kind], va="center", color=figures.INK,
                      weight="bold", fontsize=9)  # fmt: skip
            place -= 1.2
        _draw_row(axes, row, place - 0.3, left, right)
        places.append(place - 0.3)
        labels.append(f"{_short(row.name)} ({row.unreliable_with:,} of {row.n_with:,})")
        place -= 1
    axes.axvline(1, color=figures.MUTED, lw=1, zorder=1)
    axes.set(xscale="log", xlim=(left, right), ylim=(place - 0.2, 0.2))
    axes.set_xlabel("odds ratio of being unreliable (filled: q ≤ 0.05)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0, labelcolor=figures.INK)
    axes.grid(visible=False, axis="y")


def _draw_row(axes: Axes, row: Enrichment, place: float, left: float, right: float) -> None:
    colour = figures.WARM if row.odds > 1 else figures.COOL
    low, high = max(row.low, left), min(row.high, right)
    axes.plot([low, high], [place, place], color=colour, lw=1.8, alpha=0.8)
    marker = "<" if row.odds <= left else ">" if row.odds >= right else "o"
    face = colour if row.significant else "none"
    x = min(max(row.odds, left), right)
    axes.plot(x, place, marker, ms=5.5, mec=colour, mfc=face, clip_on=False, zorder=3)


def _short(name: str, most: int = 30) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _tested(kind: str, holds: dict[str, Holds], unreliable: Holds) -> Iterator[Enrichment]:
    """Those of ``holds`` [molecules] that enough molecules have and lack."""
    for name, has in holds.items():
        if min(has.sum(), (~has).sum()) >= LEAST:
            counts = (has.sum(), (has & unreliable).sum(), (~has).sum(), (~has & unreliable).sum())
            yield replace(fisher(*map(int, counts)), kind=kind, name=name)


def _different(groups: dict[str, Holds]) -> dict[str, Holds]:
    """``groups`` without those that the same molecules hold as one before: they say nothing new."""
    seen: dict[bytes, str] = {}
    for name, has in groups.items():
        seen.setdefault(has.tobytes(), name)
    return {name: groups[name] for name in seen.values()}


def _scaffolds(each: Sequence[str]) -> dict[str, Holds]:
    """Which molecules have each of the scaffolds that at least ``LEAST`` of them share."""
    column = np.array(each, dtype=np.str_)
    names, n = np.unique(column, return_counts=True)
    return {str(name): column == name for name, k in zip(names, n, strict=True) if k >= LEAST}


def _drawn(row: Enrichment) -> Enrichment:
    """``row`` with its scaffold as a drawing."""
    mol = of_smiles(row.name) if row.kind == "scaffold" and row.name != ACYCLIC else None
    if mol is None:
        return row
    drawn, _ = drawings.prepared(mol, None)
    return replace(row, svg=drawings.depict(drawn, size=SCAFFOLD_SIZE))
