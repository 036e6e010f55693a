"""The map that a reader explores: the figure of all conformers, and a sample to point at."""

import shlex
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.colors import Colormap, to_hex

from probe import figures, schemas
from probe.report import (
    compact,
    details,
    drawings,
    embedding_map,
    map_figures,
    rasters,
    sample,
    sketches,
)
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening

SKETCHES_AT_ONCE, DETAILS_AT_ONCE = 250, 20
"""Conformers in a piece that the page unpacks when it needs one of them."""
SKETCH_CHARACTERS, DETAIL_CHARACTERS = 8_000_000, 4_000_000
"""Bounds of what both may add to the page; the worst molecules come first."""
SCALE_STEPS = 9
SCRIPTS = ("plotly", "vendor/3Dmol-min.js", "sketch.js", "molecule.js", "explorer.js")


def section(material: Material) -> dict[str, Any]:
    """The map of the page with its sample, also written as a figure."""
    screening, places = material.screening, material.places
    if places is None:
        figures.save_empty(screening.inputs.figures, "umap", embedding_map.NO_MAP)
        return {"svg": None, "empty": embedding_map.NO_MAP, "data": None}
    drawn = map_figures.library_map(places, screening)
    figures.save(drawn, screening.inputs.figures, "umap")
    n = int(np.count_nonzero(~np.isnan(places[:, 0])))
    chosen = sample.rows(screening, places)
    return {
        "svg": figures.inline(drawn, "map-figure", f"Map of {n:,} conformers by p_unreliable."),
        "n": n,
        "n_shown": len(chosen),
        "n_missing": screening.listed.num_rows - n,
        "raster": n > map_figures.SCATTER_LIMIT,
        "attention": screening.inputs.cache is not None,
        "scripts": SCRIPTS,
        "data": _data(material, places, chosen),
    }


def _data(material: Material, places: Floats, chosen: Rows) -> dict[str, Any]:
    """What the page's script works on."""
    screening = material.screening
    low, high = map_figures.limits(places)
    columns = sample.columns(material, places, chosen)
    everything = len(chosen) == np.count_nonzero(~np.isnan(places[:, 0]))
    return {
        "sample": compact.pack(columns),
        **_drawn(screening, columns["id"], chosen),
        "limits": np.round([low, high], 4).tolist(),
        "rasters": {} if everything else rasters.rasters(material, places, low, high),
        "scales": {"p": _scale(figures.UNRELIABLE), "value": _scale(figures.VALUE)},
        "cutoffs": _cutoffs(screening),
        "command": f"probe select {shlex.quote(str(screening.inputs.triage))}",
        "library": screening.inputs.library,
    }


def _drawn(screening: Screening, ids: list[str], chosen: Rows) -> dict[str, Any]:
    """Sketches of the conformers ``ids``, the rows ``chosen``, and details of some.

    Their geometries are let go of when this returns: nothing later in the page needs them.
    """
    geometries, scored = _stored(screening, ids)
    smiles = screening.listed["smiles"].take(pa.array(chosen)).to_pylist()
    drawn = (
        sketches.sketch(text or "", geometries[name], scored[name])
        for name, text in zip(ids, smiles, strict=True)
    )
    detailed = details.chosen(chosen)
    told = details.details(screening, [ids[place] for place in detailed], geometries)
    return {
        "sketches": compact.pieces(drawn, SKETCHES_AT_ONCE, SKETCH_CHARACTERS),
        "details": compact.pieces(told, DETAILS_AT_ONCE, DETAIL_CHARACTERS),
        "detailed": detailed.tolist(),
        "at_once": [SKETCHES_AT_ONCE, DETAILS_AT_ONCE],
    }


def _stored(
    screening: Screening, ids: list[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Geometry and importance of the conformers ``ids``."""
    inputs = screening.inputs
    columns = ["numbers", "positions", "charge"]
    return (
        drawings.pick(inputs.conformers, schemas.CONFORMERS, ids, columns),
        drawings.pick(inputs.scores, schemas.SCORES, ids, ["importance"]),
    )


def _scale(colours: Colormap) -> list[list[Any]]:
    """``colours`` as plotly takes a colour scale."""
    steps = np.linspace(0, 1, SCALE_STEPS)
    return [[round(float(step), 4), to_hex(colours(step))] for step in steps]


def _cutoffs(screening: Screening) -> list[float]:
    known = (screening.summary["accept_up_to_p"], screening.recompute_cutoff)
    return sorted({round(cutoff, 4) for cutoff in known if cutoff is not None})
