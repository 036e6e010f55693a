"""The map that a reader explores: the figure of all conformers, and a sample to point at."""

from typing import Any

import numpy as np

from probe.report import embedding_map, figures, map_figures
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening

POINTS_IN_PAGE = 2000
NAME_LENGTH = 80


def section(material: Material) -> dict[str, Any]:
    """The map of the page with the points of its sample, also written as a figure."""
    screening, places = material.screening, material.places
    if places is None:
        figures.save_empty(screening.inputs.figures, "umap", embedding_map.NO_MAP)
        return {"svg": None, "empty": embedding_map.NO_MAP, "data": []}
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
        "data": _points(screening, places, shown),
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
