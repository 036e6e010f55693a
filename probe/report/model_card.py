"""The model card of a checkpoint, for people: what it is of, how good it is, what it promises."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from probe import figures, schemas, tables, weights
from probe.classifier import card, metrics
from probe.classifier.exceedance import exceedance
from probe.comparison import plots, scoreboard
from probe.report import rendering

PAGE, FIGURES = "README.md", "figures"
TOLERANCE_KCAL = 1.0
"""Beside the boundary."""


def write(name: str, out: Path | None = None) -> Path:
    """Write README.md and its figures (SVG, PNG) to ``out``, by default beside the card.

    ``name`` is that of a shipped checkpoint or a folder. All figures are computed from what the
    checkpoint says of the conformers that its fitting did not see. Returns the page.

    Raises:
        ProbeError: there is no such checkpoint.
    """
    record, folder = card.read(name), card.resolve(name)
    held_out = tables.frame(folder / card.HELD_OUT, schemas.HELD_OUT)
    place = out or folder
    predictions = compared(held_out, record)
    standings = scoreboard.standings(predictions, against="probe")
    by_tolerance = {row["tolerance"]: [row] for row in standings}
    drawn = {
        "calibration": plots.calibration,
        "risk": lambda rows: plots.risk(predictions, rows),
        "extremes": lambda rows: plots.extremes(rows["boundary"]),
        "magnitude": plots.magnitude,
    }
    with figures.style():
        for title, draw in drawn.items():
            if (figure := draw(by_tolerance)) is not None:
                figures.save(figure, place / FIGURES, title)
    text = page(record, {row["tolerance"]: row for row in standings})
    tables.atomically(place / PAGE, lambda handle: handle.write(text.encode()))
    return place / PAGE


def compared(held_out: pl.DataFrame, record: Mapping[str, Any]) -> pl.DataFrame:
    """``held_out`` with the columns of ``schemas.COMPARED``, at the boundary and at 1 kcal/mol."""
    p = {record["boundary_kcal"]: held_out["p_unreliable"].to_numpy()}
    if not held_out["location_kcal"].null_count():
        location, scale = (np.array(held_out[f"{n}_kcal"].to_list()) for n in ("location", "scale"))
        p[TOLERANCE_KCAL] = exceedance(location, scale, TOLERANCE_KCAL)
    frames = [
        held_out.select(
            pl.lit("held out").alias("split"),
            pl.lit(1, pl.Int32).alias("seed"),
            pl.lit(None, pl.Int32).alias("size"),
            pl.lit(record["training"]["n_conformers"] - held_out.height, pl.Int32).alias("n_fit"),
            pl.lit("probe").alias("peer"),
            pl.lit(tolerance).alias("tolerance_kcal"),
            pl.lit(tolerance == record["boundary_kcal"]).alias("boundary"),
            *("conformer_id", "smiles", "error_kcal"),
            pl.Series("score", values),
            pl.Series("p_unreliable", values),
        )
        for tolerance, values in p.items()
    ]
    return pl.concat(frames)


def page(record: Mapping[str, Any], standings: Mapping[str, Mapping[str, Any]]) -> str:
    """The card as Markdown; ``standings`` are those of each tolerance."""
    entry = weights.entry(record["backbone"])
    template = rendering.environment().get_template("model_card.md")
    shown = {**scoreboard.TITLES, "ece": "ECE"}
    return template.render(
        card=record,
        backbone=entry,
        standings=standings,
        titles={name: shown[name] for name in ("accuracy", "mcc", "auroc", "ece", "brier")},
        cutoffs=metrics.CUTOFFS,
        tolerance=TOLERANCE_KCAL,
        fitted=record["training"],
    )
