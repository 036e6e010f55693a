"""Figures of a comparison: peers with intervals, calibration, risk, errors, sizes and splits."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probe import figures
from probe.classifier import metrics
from probe.comparison import marks
from probe.comparison.marks import Record

NAMES = r"peers-.*|calibration|risk|extremes|sides|magnitude|learning|splits"
SHOWN = {"accuracy": "accuracy", "mcc": "MCC", "auroc": "AUROC"}


def draw(standings: Sequence[Record], predictions: pl.DataFrame, folder: Path) -> list[str]:
    """Write each figure that ``standings`` has data for to ``folder`` as SVG and PNG.

    ``predictions`` has the columns of ``schemas.COMPARED``. Figures of an earlier comparison that
    has no data for them any more are removed. Returns the names.
    """
    drawn: dict[str, Figure] = {}
    with figures.style():
        main = _main(standings)
        if main:
            drawn = _of_main(main, predictions)
        for name, one in (("learning", learning(standings)), ("splits", splits(standings))):
            if one is not None:
                drawn[name] = one
    for old in folder.glob("*.*"):
        if re.fullmatch(NAMES, old.stem) and old.stem not in drawn:
            old.unlink()
    for name, one in drawn.items():
        figures.save(one, folder, name)
    return list(drawn)


def peers(records: Sequence[Record], title: str) -> Figure:
    """Every peer's accuracy, MCC and AUROC with intervals, the best AUROC on top."""
    drawn = figures.figure(9.2, 1.25 + 0.23 * len(records), layout="constrained")
    panels = drawn.subplots(1, len(SHOWN), sharey=True, squeeze=False)[0]
    rows = np.arange(len(records))[::-1]
    most = max(r["n_seeds"] for r in records)
    lines = {"accuracy": _majority(records), "mcc": 0.0, "auroc": 0.5}
    for axes, (figure, name) in zip(panels, SHOWN.items(), strict=True):
        axes.axvline(lines[figure], color=figures.MUTED, lw=1, ls=":")
        for row, record in zip(rows, records, strict=True):
            ours = record["peer"] == marks.OURS
            colour = figures.WARM if ours else figures.COOL
            marks.interval(axes, record["figures"][figure], row, colour, "D" if ours else "o")
        axes.set(xlabel=name, ylim=(-0.7, len(records) - 0.3))
        axes.grid(visible=False, axis="y")
    labels = [r["peer"] + _seeds(r["n_seeds"], most) for r in records]
    panels[0].set_yticks(rows, labels)
    for label, record in zip(panels[0].get_yticklabels(), records, strict=True):
        ours = record["peer"] == marks.OURS
        label.set(color=figures.WARM if ours else figures.INK, weight="bold" if ours else "normal")
    drawn.suptitle(
        f"{title}: mean of {most} seed{'s' * (most > 1)}, 95 % interval by molecule; "
        "dotted: what the majority class or chance reaches",
        **{"x": 0.01, "ha": "left", "fontsize": 9, "color": figures.MUTED},
    )
    return drawn


def calibration(by_tolerance: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Observed frequency of the unreliable over the predicted, a panel for each of the few."""
    chosen = marks.few_by_tolerance(by_tolerance)
    if not chosen:
        return None
    columns = max(map(len, chosen.values()))
    drawn = figures.figure(0.5 + 2.25 * columns, 0.3 + 2.5 * len(chosen), layout="constrained")
    panels = drawn.subplots(len(chosen), columns, sharex=True, sharey=True, squeeze=False)
    for line, (tolerance, records) in zip(panels, chosen.items(), strict=True):
        for axes in line[len(records) :]:
            axes.set_visible(False)
        for axes, (record, (colour, _, _)) in zip(line, records, strict=False):
            marks.reliability(axes, record, colour)
        line[0].set_ylabel(f"{tolerance}\nobserved frequency")
    for axes in panels[-1]:
        axes.set_xlabel("predicted p_unreliable")
    return drawn


def risk(predictions: pl.DataFrame, by_tolerance: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Unreliable fraction among the accepted over how much is accepted, lowest score first."""

    def panel(axes: Axes, tolerance: str, record: Record, look: dict[str, Any]) -> None:
        rows = predictions.filter(
            (pl.col("peer") == record["peer"]) & (pl.col("boundary") == (tolerance == "boundary"))
        )
        if tolerance != "boundary":
            rows = rows.filter(pl.col("tolerance_kcal") == record["tolerance_kcal"])
        axes.plot(
            marks.COVERAGES,
            marks.risk_curve(rows),
            color=look["color"],
            ls=look["ls"],
            label=record["peer"],
        )
        share = (rows["error_kcal"].abs() > rows["tolerance_kcal"]).mean()
        if record["peer"] == marks.OURS and isinstance(share, float):
            axes.axhline(share, color=figures.MUTED, lw=1, ls=":", label="all accepted")

    return marks.overlaid(by_tolerance, panel, "accepted share", "unreliable among them")


def extremes(records: Sequence[Record]) -> Figure | None:
    """|error| at both ends of confidence and of trust: 5, 25, 50, 75 and 95 %."""
    chosen = marks.chosen(records)
    if not chosen:
        return None
    drawn = figures.figure(8.6, 1.3 + 0.55 * len(chosen), layout="constrained")
    panels = drawn.subplots(1, 2, sharex=True, sharey=True)
    share = f"{100 * metrics.EXTREME:.1f} %"
    for axes, order, title in (
        (panels[0], "confident", "by confidence in the verdict, max(p, 1 − p)"),
        (panels[1], "trusted", "by trust, 1 − p"),
    ):
        for row, (record, _) in enumerate(reversed(chosen)):
            marks.box(axes, record["extremes"][f"most_{order}"], row + 0.17, figures.COOL)
            marks.box(axes, record["extremes"][f"least_{order}"], row - 0.17, figures.WARM)
        axes.set(xscale="log", xlabel="|error|, kcal/mol", ylim=(-0.6, len(chosen) - 0.4))
        axes.set_title(title, fontsize=9)
        axes.axvline(records[0]["tolerance_kcal"], color=figures.MUTED, lw=1, ls=":")
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(range(len(chosen)), [r["peer"] for r, _ in reversed(chosen)])
    ends = ((figures.COOL, f"most, {share}"), (figures.WARM, f"least, {share}"))
    handles = [Line2D([], [], color=colour, lw=6, alpha=0.7, label=text) for colour, text in ends]
    handles.append(Line2D([], [], color=figures.MUTED, lw=1, ls=":", label="boundary"))
    drawn.legend(handles=handles, loc="outside upper center", ncols=3)
    return drawn


def sides(records: Sequence[Record]) -> Figure | None:
    """Mean |error| of what is called reliable and unreliable, at each confidence cutoff."""
    chosen = marks.chosen(records)
    if not chosen:
        return None
    drawn = figures.figure(0.5 + 2.25 * len(chosen), 2.9, layout="constrained")
    panels = drawn.subplots(1, len(chosen), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (record, _) in zip(panels, chosen, strict=True):
        total = record["n_test"] * record["n_seeds"]
        for side, colour, marker in (
            ("reliable", figures.COOL, "o"),
            ("unreliable", figures.WARM, "s"),
        ):
            cutoffs = [row["cutoff"] for row in record["sides"]]
            errors = marks.numbers(row[f"error_{side}_kcal"] for row in record["sides"])
            counts = marks.numbers(row[f"n_{side}"] for row in record["sides"])
            axes.plot(cutoffs, errors, color=colour, lw=1.2, zorder=2)
            sizes = 8 + 130 * counts / total
            axes.scatter(cutoffs, errors, s=sizes, color=colour, marker=marker, zorder=3)
        axes.set(xlabel="confidence cutoff", ylim=(0, None), xlim=(0.46, 1.02))
        axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        axes.set_title(record["peer"])
    panels[0].set_ylabel("mean |error|, kcal/mol")
    kinds = (("reliable", figures.COOL, "o"), ("unreliable", figures.WARM, "s"))
    handles = [
        Line2D([], [], color=colour, marker=marker, lw=1.2, label=f"called {side} (area: how many)")
        for side, colour, marker in kinds
    ]
    drawn.legend(handles=handles, loc="outside upper center", ncols=2)
    return drawn


def magnitude(by_tolerance: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Accuracy in bins of |error| / tolerance; errors beside the tolerance are hard to call."""

    def panel(axes: Axes, _: str, record: Record, look: dict[str, Any]) -> None:
        bins = record["by_magnitude"]
        places = np.arange(len(bins))
        values = marks.numbers(row["accuracy"] for row in bins)
        axes.plot(places, values, **look, ms=4.5, lw=1.4, label=record["peer"])
        axes.set_xticks(places, [_bin(row) for row in bins], fontsize=7.5)
        edge = metrics.MAGNITUDES.index(1.0) + 0.5
        axes.axvline(edge, color=figures.MUTED, lw=1, ls=":")

    return marks.overlaid(by_tolerance, panel, "|error| / tolerance", "accuracy", width=4.6)


def learning(standings: Sequence[Record]) -> Figure | None:
    """Figures at the boundary against how many labels were fitted to, where sizes are known."""
    sized = {r["split"] for r in standings if r["size"] is not None}
    records = [r for r in standings if r["split"] in sized and r["tolerance"] == "boundary"]
    whole = [r for r in records if r["size"] is None]
    looks = marks.few(whole or records)
    if not sized or not looks:
        return None
    drawn = figures.figure(9.2, 3.2, layout="constrained")
    panels = drawn.subplots(1, len(SHOWN))
    ticks = sorted({r["n_fit"] for r in records})
    for axes, (figure, title) in zip(panels, SHOWN.items(), strict=True):
        for index, (name, look) in enumerate(looks.items()):
            mine = sorted((r for r in records if r["peer"] == name), key=lambda r: r["n_fit"])
            # beside each other, or intervals at one size would hide each other
            x = np.array([r["n_fit"] for r in mine]) * 1.035 ** (index - (len(looks) - 1) / 2)
            marks.curve(axes, x, [r["figures"][figure] for r in mine], look, name)
        axes.set(xscale="log", xlabel="conformers fitted to", ylabel=title)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    drawn.legend(handles=marks.handles(looks), loc="outside upper center", ncols=len(looks))
    return drawn


def splits(standings: Sequence[Record]) -> Figure | None:
    """AUROC of the few on every split, at each tolerance, where there is more than one split."""
    whole = [r for r in standings if r["size"] is None]
    places = sorted({r["split"] for r in whole}, key=_place)
    looks = marks.few(_main(standings).get("boundary", []))
    tolerances = list(dict.fromkeys(r["tolerance"] for r in whole))
    if len(places) < 2 or not looks:
        return None
    drawn = figures.figure(
        1.6 + 3.4 * len(tolerances), 1.1 + 0.48 * len(places), layout="constrained"
    )
    panels = drawn.subplots(1, len(tolerances), sharex=True, sharey=True, squeeze=False)[0]
    for axes, tolerance in zip(panels, tolerances, strict=True):
        axes.axvline(0.5, color=figures.MUTED, lw=1, ls=":")
        for record in (r for r in whole if r["tolerance"] == tolerance and r["peer"] in looks):
            index = list(looks).index(record["peer"])
            row = len(places) - 1 - places.index(record["split"])
            shift = 0.17 * ((len(looks) - 1) / 2 - index)
            colour, marker, _ = looks[record["peer"]]
            marks.interval(axes, record["figures"]["auroc"], row + shift, colour, marker)
        axes.set(xlabel="AUROC", ylim=(-0.6, len(places) - 0.4))
        axes.set_title(tolerance)
        axes.grid(visible=False, axis="y")
    tested = {r["split"]: r["n_test"] for r in whole}
    labels = [f"{_split(name)} ({tested[name]})" for name in reversed(places)]
    panels[0].set_yticks(range(len(places)), labels)
    drawn.legend(handles=marks.handles(looks), loc="outside upper center", ncols=len(looks))
    return drawn


def _main(standings: Sequence[Record]) -> dict[str, list[Record]]:
    """The records by tolerance of the random split, or else of the first, with all its labels."""
    whole = [r for r in standings if r["size"] is None]
    place = min((r["split"] for r in whole), key=_place, default=None)
    here = [r for r in whole if r["split"] == place]
    tolerances = dict.fromkeys(r["tolerance"] for r in here)
    return {t: [r for r in here if r["tolerance"] == t] for t in tolerances}


def _of_main(
    by_tolerance: Mapping[str, Sequence[Record]], predictions: pl.DataFrame
) -> dict[str, Figure]:
    """The figures of one split."""
    records = next(iter(by_tolerance.values()))
    rows = predictions.filter((pl.col("split") == records[0]["split"]) & pl.col("size").is_null())
    drawn: dict[str, Figure | None] = {}
    for tolerance, ranked in by_tolerance.items():
        name = re.sub(r"[^\w.]+", "-", tolerance)
        drawn[f"peers-{name}"] = peers(ranked, f"{_split(ranked[0]['split'])}, {tolerance}")
    boundary = by_tolerance.get("boundary", [])
    drawn["calibration"] = calibration(by_tolerance)
    drawn["risk"] = risk(rows, by_tolerance)
    drawn["extremes"] = extremes(boundary)
    drawn["sides"] = sides(boundary)
    drawn["magnitude"] = magnitude(by_tolerance)
    return {name: one for name, one in drawn.items() if one is not None}


def _majority(records: Sequence[Record]) -> float:
    return float(np.mean([r["figures"]["majority_accuracy"]["value"] for r in records]))


def _seeds(n: int, most: int) -> str:
    return "" if n == most else f" ({n} seed{'s' * (n > 1)})"


def _bin(row: Record) -> str:
    if row["high"] is None:
        return f"> {row['low']:g}"
    return f"≤ {row['high']:g}"


def _place(split: str) -> tuple[int, str]:
    """Order of the splits: the easiest first, then by name."""
    known = ("random", "scaffold", "size")
    return (known.index(split) if split in known else len(known), split)


def _split(name: str) -> str:
    titles = {"random": "random", "scaffold": "by scaffold", "size": "small to large"}
    return titles.get(name, name.replace("element-", "without "))
