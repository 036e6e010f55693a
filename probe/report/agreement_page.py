"""The page on where screenings of the same conformers agree: one HTML file that opens offline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from probe import __version__, figures, tables
from probe.report import rendering
from probe.triage import agreement
from probe.triage.agreement import KINDS, SIDES, STATUSES, Pair

LISTED = 40
"""Conformers of each kind of disagreement that the page lists; the table has all of them."""
POINTS = 3000
"""Most conformers in the figure."""
DISAGREEMENTS = tuple(KINDS)[:3]


def write_page(pairs: Sequence[Pair], out: Path) -> None:
    """Write the page on ``pairs`` to ``out``."""
    with figures.style():
        sections = [_section(pair, f"pair-{number}") for number, pair in enumerate(pairs, 1)]
    names = dict.fromkeys(pair.record[side]["library"] for pair in pairs for side in SIDES)
    template = rendering.environment().get_template("agreement.html")
    page = template.render(
        names=list(names),
        sections=sections,
        kinds=KINDS,
        statuses=STATUSES,
        sides=SIDES,
        points=POINTS,
        least=agreement.MIN_MOLECULES,
        style=Markup((rendering.FOLDER / "style.css").read_text(encoding="utf-8")),
        probe_version=__version__,
    )
    tables.atomically(out, lambda handle: handle.write(page.encode()))


def _section(pair: Pair, anchor: str) -> dict[str, Any]:
    groups = {kind: pair.rows.filter(kind=kind) for kind in DISAGREEMENTS}
    return {
        "anchor": anchor,
        "record": pair.record,
        "different": _different_questions(pair.record),
        "figure": _figure(pair, anchor),
        "lists": {kind: rows[:LISTED].to_dicts() for kind, rows in groups.items() if rows.height},
    }


def _different_questions(record: Mapping[str, Any]) -> list[str]:
    """Why the verdicts of the two cannot be compared without further thought."""
    one, other = (record[side] for side in SIDES)
    says = []
    if one["tolerance_kcal"] != other["tolerance_kcal"]:
        says.append(
            "p_unreliable is the probability of an error above "
            f"{one['tolerance_kcal']:.3g} kcal/mol in {one['library']} and above "
            f"{other['tolerance_kcal']:.3g} kcal/mol in {other['library']}; with triage: "
            "tolerance_kcal both answer the same question"
        )
    settings = [
        {key: value for key, value in side["cutoffs"].items() if key != "tolerance_kcal"}
        for side in (one, other)
    ]
    if settings[0] != settings[1]:
        says.append("the two were triaged with different settings")
    return says


def _figure(pair: Pair, name: str) -> Markup | None:
    """Each conformer's p_unreliable in the one over that in the other."""
    p = [f"p_unreliable_{side}" for side in SIDES]
    rows = pair.rows.drop_nulls(p).sort("conformer_id")[:POINTS]  # the ids are hashes
    if rows.is_empty():
        return None
    drawn = figures.figure(4.6, 4.4, layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], linestyle=":", color=figures.MUTED, linewidth=1)
    one_only = pl.col("kind") == DISAGREEMENTS[0]
    for chosen, colour in ((~one_only, figures.COOL), (one_only, figures.WARM)):
        xs, ys = (rows.filter(chosen)[column].to_numpy() for column in p)
        axes.scatter(xs, ys, s=9, color=colour, alpha=0.55, linewidths=0)
    labels = [f"p_unreliable, {side} ({pair.record[side]['library']})" for side in SIDES]
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=labels[0], ylabel=labels[1])
    alt = f"p_unreliable of {rows.height:,} conformers in the one screening over the other."
    return figures.inline(drawn, name, alt)
