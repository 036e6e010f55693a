"""The map of the library, coloured by p_unreliable, and its elements one by one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from probe import figures
from probe.report import embedding_map
from probe.report.composition import Element
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening

SCATTER_LIMIT = 20_000
"""Above this many points a scatter hides its own lower layers: draw mean values per cell."""
CELLS = 220
MAP_BOX = (0.01, 0.15, 0.98, 0.84)
"""Left, bottom, width, height of the map in its figure: the page lays points over it."""


def library_map(places: Floats, screening: Screening) -> Figure:
    """The whole library coloured by p_unreliable, with the scale below it."""
    drawn = figures.figure(5.0, 4.7)
    axes = drawn.add_axes(MAP_BOX)
    figures.map_axes(axes)
    _frame(axes, places)
    if np.count_nonzero(~np.isnan(places[:, 0])) > SCATTER_LIMIT:
        _raster(axes, places, screening.p)
    else:
        _scatter(axes, places, screening)
    _scale(drawn, screening)
    return drawn


def section(material: Material) -> dict[str, Any]:
    """The panel of every element of the page, also written as one figure."""
    places, elements, screening = material.places, material.elements, material.screening
    if places is None or not elements:
        figures.save_empty(screening.inputs.figures, "elements", embedding_map.NO_MAP)
        return {"mapped": False, "elements": [(element, None) for element in elements]}
    figures.save(element_sheet(places, elements, screening), screening.inputs.figures, "elements")
    panels = [
        figures.inline(
            element_panel(places, element, screening),
            f"element-{element.symbol}",
            f"The map with the conformers that hold {element.symbol} highlighted.",
        )
        for element in elements
    ]
    return {"mapped": True, "elements": list(zip(elements, panels, strict=True))}


def element_panel(places: Floats, element: Element, screening: Screening) -> Figure:
    """One element's conformers over the grey map."""
    drawn = figures.figure(2.4, 2.1)
    draw_element(drawn.add_axes((0.02, 0.02, 0.96, 0.96)), places, element, screening)
    return drawn


def element_sheet(
    places: Floats, elements: Sequence[Element], screening: Screening, columns: int = 4
) -> Figure:
    """All elements as small multiples in one figure."""
    rows = math.ceil(len(elements) / columns)
    drawn = figures.figure(2.4 * columns, 2.4 * rows + 0.7, layout="constrained")
    grid = drawn.subplots(rows, columns, squeeze=False)
    for axes, element in zip(grid.flat, elements, strict=False):
        draw_element(axes, places, element, screening)
        mean = "no score" if element.mean_p is None else f"mean p {element.mean_p:.2f}"
        axes.set_title(f"{element.symbol}: n = {element.n:,}, {mean}", fontsize=8.5)
    for axes in grid.flat[len(elements) :]:
        axes.set_axis_off()
    scale = ScalarMappable(figures.SCALE, figures.UNRELIABLE)
    bar = drawn.colorbar(scale, ax=grid, location="bottom", shrink=0.4, aspect=30, pad=0.02)
    bar.set_label("p_unreliable of the conformers that hold the element")
    return drawn


def draw_element(axes: Axes, places: Floats, element: Element, screening: Screening) -> None:
    """Draw one element's conformers, coloured by p_unreliable, over all others in grey."""
    figures.map_axes(axes)
    _frame(axes, places)
    mapped = np.flatnonzero(~np.isnan(places[:, 0]))
    others = _thinned(mapped[~element.holds[mapped]], screening.inputs.seed)
    holders = _thinned(mapped[element.holds[mapped]], screening.inputs.seed)
    size = _size(len(mapped)) * 0.45
    axes.scatter(
        places[others, 0],
        places[others, 1],
        s=size * 0.6,
        c=figures.GHOST,
        alpha=0.3,
        linewidth=0,
        rasterized=True,
    )
    axes.scatter(
        places[holders, 0],
        places[holders, 1],
        s=size * 2,
        c=screening.p[holders],
        cmap=figures.UNRELIABLE,
        norm=figures.SCALE,
        # the middle of the scale is grey, too: an edge tells it from the background
        edgecolors=figures.MUTED,
        linewidth=0.25 if len(mapped) <= SCATTER_LIMIT else 0,
        rasterized=True,
    )


def in_page(places: Floats, rows: Rows) -> Floats:
    """Where ``rows`` of the map lie in ``library_map``'s figure, as fractions from its top left."""
    low, high = limits(places)
    share = (places[rows] - low) / (high - low)
    left, bottom, width, height = MAP_BOX
    return np.column_stack([left + width * share[:, 0], 1 - bottom - height * share[:, 1]])


def limits(places: Floats) -> tuple[Floats, Floats]:
    """The lower left and upper right corner of the map that shows all of ``places``."""
    low, high = np.nanmin(places, axis=0), np.nanmax(places, axis=0)
    margin = 0.04 * np.maximum(high - low, 1e-6)
    return low - margin, high + margin


def _frame(axes: Axes, places: Floats) -> None:
    low, high = limits(places)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def _size(n_points: int) -> float:
    return float(np.clip(9000 / max(n_points, 1), 3, 26))


def _thinned(rows: Rows, seed: int) -> Rows:
    """``rows`` in random order, so that no value lies on top of the others, and not too many."""
    order = np.random.default_rng(seed).permutation(len(rows))[:SCATTER_LIMIT]
    return np.asarray(rows[order], dtype=np.int64)


def _scatter(axes: Axes, places: Floats, screening: Screening) -> None:
    rows = _thinned(np.flatnonzero(~np.isnan(places[:, 0])), screening.inputs.seed)
    axes.scatter(
        places[rows, 0],
        places[rows, 1],
        s=_size(len(rows)),
        c=screening.p[rows],
        cmap=figures.UNRELIABLE,
        norm=figures.SCALE,
        alpha=0.9,
        linewidth=0,
        rasterized=True,
    )


def _raster(axes: Axes, places: Floats, p: Floats) -> None:
    """Draw the mean p_unreliable of every cell that holds a conformer."""
    mapped = ~np.isnan(places[:, 0])
    low, high = limits(places)
    options: dict[str, Any] = {"bins": CELLS, "range": list(zip(low, high, strict=True))}
    x, y = places[mapped].T
    n = np.histogram2d(x, y, **options)[0]
    total = np.histogram2d(x, y, weights=p[mapped], **options)[0]
    mean = np.full_like(total, np.nan)
    np.divide(total, n, out=mean, where=n > 0)
    axes.imshow(
        mean.T,
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        cmap=figures.UNRELIABLE,
        norm=figures.SCALE,
        aspect="auto",
        interpolation="nearest",
    )


def _scale(drawn: Figure, screening: Screening) -> None:
    """Draw the colour scale 0 to 1 with a mark at each cutoff."""
    axes = drawn.add_axes((0.15, 0.088, 0.7, 0.03))
    bar = drawn.colorbar(
        ScalarMappable(figures.SCALE, figures.UNRELIABLE), cax=axes, orientation="horizontal"
    )
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
    bar.set_label("p_unreliable (triangles: the cutoffs)", labelpad=2)
    cutoffs = (screening.summary["accept_up_to_p"], screening.recompute_cutoff)
    for cutoff in {round(cutoff, 6) for cutoff in cutoffs if cutoff is not None}:
        axes.plot(cutoff, 1.35, "v", color=figures.INK, ms=6, clip_on=False,
                  transform=axes.get_xaxis_transform())  # fmt: skip
