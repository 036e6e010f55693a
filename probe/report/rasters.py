"""All conformers of a large library as pictures that lie under the page's sample."""

import base64
import io
import warnings
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Colormap, LinearSegmentedColormap
from PIL import Image

from probe import figures
from probe.report.material import Material
from probe.report.screening import Floats

CELLS = 512
SHADES = 64
"""Colours of a picture: they make it a third of the size."""
DENSITY = LinearSegmentedColormap.from_list("density", ["#c9cfd6", "#5f6975"])
SHARE = LinearSegmentedColormap.from_list("share", ["#c9cfd6", "#6aa6d3", "#185a9d"])
ACCEPTED = LinearSegmentedColormap.from_list("accepted", [figures.WARM, "#b9b2a6", figures.COOL])

Cells = np.ndarray[Any, np.dtype[np.float64]]


def rasters(material: Material, places: Floats, low: Floats, high: Floats) -> dict[str, str]:
    """A PNG, as a data URL, of the map between ``low`` and ``high`` for each colouring.

    ``density`` says where conformers are; ``p`` and ``verdict`` show the mean p_unreliable and the
    accepted share of a cell's conformers, an element's symbol the share that holds it.
    """
    screening = material.screening
    mapped = ~np.isnan(places[:, 0])
    columns = {
        "p": screening.p[mapped],
        "verdict": screening.accepted[mapped],
        **{element.symbol: element.holds[mapped] for element in material.elements},
    }
    x, y = places[mapped].T
    frame = pd.DataFrame({"x": x, "y": y, **columns}).astype(np.float32)
    count, means = _aggregated(frame, tuple(columns), low, high)
    colours: dict[str, Colormap] = {"p": figures.UNRELIABLE, "verdict": ACCEPTED}
    crowd = np.log1p(count) / max(np.log1p(count.max()), 1e-9)
    crowd[count == 0] = np.nan
    return {"density": _png(crowd, DENSITY)} | {
        name: _png(cells, colours.get(name, SHARE)) for name, cells in means.items()
    }


def _aggregated(
    frame: pd.DataFrame, columns: tuple[str, ...], low: Floats, high: Floats
) -> tuple[Cells, dict[str, Cells]]:
    """Conformers in each cell, and the mean of each column over them; rows from the top."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, at import
        import datashader as ds  # noqa: PLC0415
    canvas = ds.Canvas(
        plot_width=CELLS,
        plot_height=CELLS,
        x_range=(low[0], high[0]),
        y_range=(low[1], high[1]),
    )
    count = canvas.points(frame, "x", "y", ds.count()).to_numpy()[::-1].astype(np.float64)
    means = {
        name: canvas.points(frame, "x", "y", ds.mean(name)).to_numpy()[::-1].astype(np.float64)
        for name in columns
    }
    return count, means


def _png(cells: Cells, colours: Colormap) -> str:
    """``cells`` from 0 to 1 as a picture, transparent where they are NaN."""
    empty = np.isnan(cells)
    index = np.rint(np.where(empty, 0, cells) * (SHADES - 1)).astype(np.uint8)
    index[empty] = SHADES
    picture = Image.fromarray(index, mode="P")
    palette = (255 * colours(np.linspace(0, 1, SHADES))[:, :3]).astype(np.uint8)
    picture.putpalette([*palette.ravel().tolist(), 0, 0, 0])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True, transparency=SHADES)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
