"""The report of a screened library: one HTML file that opens offline."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from probe import __version__, tables
from probe.report import (
    composition,
    coverage,
    descriptors,
    drawings,
    embedding_map,
    facts,
    figures,
    map_figures,
    rendering,
)
from probe.report.composition import Element
from probe.report.rendering import FOLDER
from probe.report.screening import Floats, Inputs, Rows, Screening, load

__all__ = ["Inputs", "write_report"]

POINTS_IN_PAGE = 2000
NAME_LENGTH = 80
REJECTS_IN_PAGE = 200
NO_MAP = (
    "No map: it takes at least "
    f"{embedding_map.MIN_DIFFERENT} different molecular embeddings to show neighbourhoods."
)
NO_SCORES = "No curve: no conformer of this library was scored."
NO_MOLECULES = "No correlations: no scored conformer has a SMILES that RDKit reads."


def write_report(inputs: Inputs, out: Path) -> None:
    """Write the report of the triaged library to ``out`` and its figures to ``inputs.figures``.

    Raises:
        ProbeError: a file is missing or broken, or counts that must be equal are not.
    """
    screening = load(inputs)
    elements = composition.elements(screening)
    with figures.style():
        places = embedding_map.locate(screening)
        content = {
            "coverage": _coverage(screening),
            "map": _map(screening, places),
            "elements": _elements(screening, elements, places),
            "descriptors": _descriptors(screening),
        }
    page = _render(screening, elements, content)
    tables.atomically(out, lambda handle: handle.write(page.encode()))


def as_json(value: object) -> Markup:
    """``value`` as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _coverage(screening: Screening) -> dict[str, Any]:
    bins = facts.held_out(screening.card).get("reliability", [])
    p = coverage.by_confidence(screening)
    n_scored = int((~np.isnan(screening.p)).sum())
    if not n_scored:
        _save_empty(screening, "coverage", NO_SCORES)
        return {"svg": None, "empty": NO_SCORES, "reliability": _reliability(bins), "data": None}
    found = coverage.curve(p, screening.listed.num_rows)
    figures.save(_coverage_sheet(screening, found, bins), screening.inputs.figures, "coverage")
    alone = figures.figure(4.6, 3.4, layout="constrained")
    coverage.draw_curve(alone.subplots(), found, screening)
    accepted = screening.p[screening.accepted]
    alt = f"Accepted fraction over the confidence cutoff; {len(accepted):,} are accepted."
    return {
        "svg": figures.inline(alone, "coverage-curve", alt),
        "reliability": _reliability(bins),
        "n_overruled": screening.listed.num_rows - len(p),
        "expected": float(accepted.mean()) if len(accepted) else None,
        "data": {
            "n": found.n_accepted.tolist(),
            "expected": [None if math.isnan(share) else share for share in found.expected],
            "total": found.n_conformers,
        },
    }


def _coverage_sheet(
    screening: Screening, found: coverage.Curve, bins: list[dict[str, Any]]
) -> Figure:
    sheet = figures.figure(9.2, 3.4, layout="constrained")
    axes = sheet.subplots(1, 2 if bins else 1, squeeze=False)[0]
    coverage.draw_curve(axes[0], found, screening)
    if bins:
        coverage.draw_reliability(axes[1], bins)
    return sheet


def _reliability(bins: list[dict[str, Any]]) -> Markup | None:
    if not bins:
        return None
    drawn = figures.figure(4.6, 3.4, layout="constrained")
    coverage.draw_reliability(drawn.subplots(), bins)
    return figures.inline(
        drawn, "reliability", "Observed frequency of unreliable over the predicted one."
    )


def _map(screening: Screening, places: Floats | None) -> dict[str, Any]:
    if places is None:
        _save_empty(screening, "umap", NO_MAP)
        return {"svg": None, "empty": NO_MAP, "points": []}
    drawn = map_figures.library_map(places, screening)
    figures.save(drawn, screening.inputs.figures, "umap")
    mapped = np.flatnonzero(~np.isnan(places[:, 0]))
    shown = embedding_map.stratified(screening.p, POINTS_IN_PAGE, screening.inputs.seed)
    alt = f"Map of {len(mapped):,} conformers coloured by p_unreliable."
    return {
        "svg": figures.inline(drawn, "map-figure", alt),
        "n": len(mapped),
        "n_missing": screening.listed.num_rows - len(mapped),
        "raster": len(mapped) > map_figures.SCATTER_LIMIT,
        "points": _points(screening, places, shown),
    }


def _points(screening: Screening, places: Floats, rows: Rows) -> list[list[Any]]:
    """Left, top (fractions of the figure), p, name and list of each conformer in ``rows``."""
    names = screening.listed["molecule_id"].take(rows).to_pylist()
    return [
        [
            round(float(left), 4),
            round(float(top), 4),
            round(float(screening.p[row]), 3),
            (name or "(no name)")[:NAME_LENGTH],
            "accepted" if screening.accepted[row] else "to recompute",
        ]
        for (left, top), row, name in zip(
            map_figures.in_page(places, rows), rows, names, strict=True
        )
    ]


def _elements(
    screening: Screening, elements: Sequence[Element], places: Floats | None
) -> list[tuple[Element, Markup | None]]:
    if places is None or not elements:
        _save_empty(screening, "elements", NO_MAP)
        return [(element, None) for element in elements]
    sheet = map_figures.element_sheet(places, elements, screening)
    figures.save(sheet, screening.inputs.figures, "elements")
    return [
        (
            element,
            figures.inline(
                map_figures.element_panel(places, element, screening),
                f"element-{element.symbol}",
                f"The map with the conformers that hold {element.symbol} highlighted.",
            ),
        )
        for element in elements
    ]


def _descriptors(screening: Screening) -> dict[str, Any]:
    found = descriptors.describe(screening)
    if not len(found.p):
        _save_empty(screening, "descriptors", NO_MOLECULES)
        return {"molecules": found, "empty": NO_MOLECULES}
    rows = descriptors.correlate(found)
    figures.save(descriptors.sheet(rows, found), screening.inputs.figures, "descriptors")
    alt = "Spearman correlation of each descriptor with p_unreliable; the values are in the table."
    return {
        "molecules": found,
        "rows": rows,
        "forest": figures.inline(descriptors.forest(rows), "correlations", alt),
        "curves": figures.inline(
            descriptors.curves(found), "binned", "Mean p_unreliable over bins of each descriptor."
        ),
    }


def _save_empty(screening: Screening, name: str, why: str) -> None:
    figures.save(_message(why), screening.inputs.figures, name)


def _message(text: str) -> Figure:
    drawn = figures.figure(6.4, 1.2)
    drawn.text(0.5, 0.5, text, ha="center", va="center", wrap=True, color=figures.MUTED)
    return drawn


def _render(screening: Screening, elements: Sequence[Element], content: dict[str, Any]) -> str:
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = {"coverage": content["coverage"]["data"], "points": content["map"]["points"]}
    template = rendering.environment().get_template("template.html")
    return template.render(
        library=screening.inputs.library,
        summary=screening.summary,
        held_out=facts.held_out(screening.card),
        screening=screening,
        rejected=screening.rejected.slice(0, REJECTS_IN_PAGE).to_pylist(),
        reasons=facts.REASONS,
        outside=facts.outside(screening, elements),
        metrics=facts.metrics(screening.card),
        model_card=facts.model_card(screening),
        small_set=facts.small_set(screening.card),
        standard_error=facts.standard_error(screening.card),
        compared=facts.compared(screening),
        worst=drawings.worst(screening),
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        data=as_json(data),
        probe_version=__version__,
        **content,
    )
