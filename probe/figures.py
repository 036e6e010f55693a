"""The report's figures: one style, drawn without pyplot's global state.

Colours that must follow the page's light or dark mode are entries of ``THEME``; ``inline``
replaces them by the page's CSS variables.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from probe import tables

Layout = Literal["constrained"]

INK, MUTED, GRID, COOL, WARM = "#1d232b", "#59626f", "#d8dde4", "#1f6fa8", "#bf4b12"
THEME = {INK: "--ink", MUTED: "--muted", GRID: "--grid", COOL: "--cool", WARM: "--warm"}
GHOST = "#9aa3ae"
"""Points in the background: visible on white and on black."""

UNRELIABLE = LinearSegmentedColormap.from_list(
    "unreliable",
    [(0, "#185a9d"), (0.32, "#4f9bd0"), (0.5, "#b9b2a6"), (0.68, "#ee9440"), (1, "#b23c0a")],
)
"""From blue by grey to orange, in about equal steps to the eye, those near 0.5 included.

The colour-blind see the same steps; every colour stands out from white and from black.
"""
VALUE = LinearSegmentedColormap.from_list(
    "value", ["#3b4a9b", "#3f7fae", "#3aa69a", "#7fbf5f", "#d8c62f"]
)
"""Of quantities that are neither good nor bad: from dark blue to yellow, ever lighter."""
SCALE = Normalize(0, 1)
RASTER_DPI = 180

STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "probe",
    "savefig.dpi": RASTER_DPI,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save with the report's style, leaving matplotlib's settings as they were."""
    with mpl.rc_context(STYLE):
        yield


def figure(width: float, height: float, layout: Layout | None = None) -> Figure:
    """An empty figure of ``width`` x ``height`` inches that belongs to no global state."""
    drawn = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Figure, folder: Path, name: str) -> None:
    """Write ``drawn`` to ``folder`` as SVG and PNG on white."""
    for kind in ("svg", "png"):
        content = _render(drawn, kind, transparent=False)
        tables.atomically(folder / f"{name}.{kind}", partial(_write, content=content))


def save_empty(folder: Path, name: str, why: str) -> None:
    """Write a figure that says ``why`` there is nothing to show."""
    drawn = figure(6.4, 1.2)
    drawn.text(0.5, 0.5, why, ha="center", va="center", wrap=True, color=MUTED)
    save(drawn, folder, name)


def inline(drawn: Figure, name: str, alt: str) -> Markup:
    """``drawn`` as an SVG element that takes its colours from the page and is read as ``alt``.

    ``name`` is the figure's own in the page: it makes the ids of its shapes unique.
    """
    svg = _render(drawn, "svg", transparent=True).decode()
    svg = svg[svg.index("<svg") :]
    for colour, variable in THEME.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*pt" height="[^"]*pt"', r"\1", svg, count=1)
    svg = _own_ids(svg, name)
    label = Markup('<svg role="img" aria-label="{}" ').format(alt)
    return label + Markup(svg.removeprefix("<svg "))


def map_axes(axes: Axes) -> None:
    """Make ``axes`` a map: no ticks, no grid, as UMAP's coordinates have no meaning."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)


def _own_ids(svg: str, name: str) -> str:
    """``svg`` with ids that begin with ``name``; those that nothing refers to are dropped."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg
    )
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)


def _write(handle: IO[bytes], content: bytes) -> None:
    handle.write(content)


def _render(drawn: Figure, kind: str, transparent: bool) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with style():
        drawn.savefig(buffer, format=kind, transparent=transparent, metadata=metadata)
    return buffer.getvalue()
