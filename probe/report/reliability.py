"""Whether the checkpoint's probabilities are frequencies, on molecules that it had not seen."""

from typing import Any

from matplotlib.axes import Axes

from probe import figures
from probe.comparison import marks
from probe.report import facts
from probe.report.material import Material

NOT_STATED = "The checkpoint's card states no held-out reliability."


def section(material: Material) -> dict[str, Any]:
    """The calibration and model card of the page; the diagram is also written as a figure."""
    screening = material.screening
    card = screening.card
    found = [row for row in facts.held_out(card).get("reliability", []) if row.get("n")]
    svg = None
    if found:
        drawn = figures.figure(4.6, 4.2, layout="constrained")
        draw(drawn.subplots(), found)
        figures.save(drawn, screening.inputs.figures, "reliability")
        alt = "Observed frequency of unreliable over the predicted one, with 95 % intervals."
        svg = figures.inline(drawn, "reliability-figure", alt)
    else:
        figures.save_empty(screening.inputs.figures, "reliability", NOT_STATED)
    return {
        "reliability": svg,
        "metrics": facts.metrics(card),
        "model_card": facts.model_card(screening),
        "small_set": facts.small_set(card),
        "standard_error": facts.standard_error(card),
    }


def draw(axes: Axes, found: list[dict[str, Any]]) -> None:
    """Draw the observed frequency of unreliable over the predicted one, bin by bin."""
    marks.bins(axes, found, figures.COOL)
    axes.plot([], [], color=figures.MUTED, lw=1, ls=":", label="perfectly calibrated")
    axes.scatter([], [], s=50, color=figures.COOL, label="bin (area: conformers)")
    axes.set(xlabel="predicted p_unreliable", ylabel="observed frequency, 95 % interval")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=1.4)
