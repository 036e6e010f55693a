"""The report's numbers as rows of its tables: what is counted, measured and recorded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.report.composition import Element
from probe.report.screening import Screening

METRICS = {
    "n": ("Held-out conformers", "each judged without having seen its molecule"),
    "boundary_kcal": ("Boundary, kcal/mol", "an error above it is called unreliable"),
    "accuracy": ("Accuracy", "at p = 0.5"),
    "majority_accuracy": ("Accuracy of always saying the commoner class", "the bar to beat"),
    "mcc": ("Matthews correlation", "0 is chance, 1 is perfect"),
    "f1_unreliable": ("F1 of unreliable", "1 is perfect"),
    "auroc": ("AUROC", "0.5 is chance, 1 is perfect"),
    "average_precision": ("Average precision", "its chance level is the unreliable share"),
    "aurc": ("Area under the risk-coverage curve", "lower is better"),
    "ece": ("Expected calibration error", "0 is perfect"),
    "brier": ("Brier score", "lower is better"),
    "spearman": ("Spearman ρ of p with |error|", "1 is perfect"),
}
REASONS = {
    "backbone": "the backbone cannot take it",
    "element": "an element with too few calibration molecules",
    "size": "larger than any calibration molecule",
    "latent distance": "unlike the calibration molecules",
    "unreliable": "p_unreliable beyond the cutoff",
    "between": "p_unreliable between the cutoffs",
    "budget": "the highest p_unreliable that the budget pays for",
    "no promise": "no cutoff on p_unreliable keeps the promise",
    "no answer": "PROBE gave no number",
}
SMALL_SET = 1000
"""Labelled molecules below which the page says that the calibration set is small."""


@dataclass(frozen=True)
class Outside:
    """How many conformers lie outside the calibration domain in one respect."""

    what: str
    limit: str
    n: int


def outside(screening: Screening, elements: Sequence[Element]) -> list[Outside]:
    """The conformers beyond the calibration set's size, latent distance and elements."""
    summary, card = screening.summary, screening.card
    rows = []
    if "n_beyond_size" in summary:
        atoms = card.get("n_atoms")
        limit = "" if atoms is None else f"at most {atoms['max']} atoms"
        rows.append(Outside("size", limit, summary["n_beyond_size"]))
    if "n_beyond_latent" in summary:
        distance = card.get("latent_99")
        limit = "" if distance is None else f"99 % of it within {distance:.3g}"
        rows.append(Outside("latent distance", limit, summary["n_beyond_latent"]))
    if "elements" in card:
        least = summary["cutoffs"].get("min_element_molecules", 1)
        holds = np.zeros(screening.listed.num_rows, dtype=bool)
        for element in elements:
            holds |= element.holds & ((element.n_calibration or 0) < least)
        known = [symbol for symbol, n in card["elements"].items() if n >= least]
        limit = f"{', '.join(known)} (in {least} or more molecules each)"
        rows.append(Outside("elements", limit, int(holds.sum())))
    return rows


def metrics(card: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Name, value and reading of every held-out metric that the card states."""
    measured = held_out(card)
    return [
        (title, measured[key], reading)
        for key, (title, reading) in METRICS.items()
        if measured.get(key) is not None
    ]


def held_out(card: dict[str, Any]) -> dict[str, Any]:
    """What the card measured on held-out molecules, empty if nothing."""
    measured: dict[str, Any] = card.get("held_out", {})
    return measured


def model_card(screening: Screening) -> list[tuple[str, str]]:
    """What the probabilities come from: title and value."""
    summary, card = screening.summary, screening.card
    training = card.get("training") or {}
    cutoffs = summary["cutoffs"]
    facts = {
        "Backbone": summary.get("backbone"),
        "Backbone fingerprint": summary.get("fingerprint"),
        "Licence of the backbone's weights": summary.get("licence"),
        "PROBE checkpoint": summary.get("checkpoint"),
        "Checkpoint version": card.get("version"),
        "Boundary of unreliable": _with_unit(card.get("boundary_kcal"), "kcal/mol"),
        "Labelled molecules": training.get("n_molecules"),
        "Labelled conformers": training.get("n_conformers"),
        "Labels": card.get("labels"),
        "Ensemble members": card.get("n_members"),
        "SHA-256 of the labels": training.get("labels_sha256"),
        "Training seed": training.get("seed"),
        "Held-out protocol": held_out(card).get("protocol"),
        "Device": summary.get("device"),
        "Tolerance of this run": _with_unit(summary["tolerance_kcal"], "kcal/mol"),
        **_policy(summary),
        "Calibration molecules an element needs": cutoffs.get("min_element_molecules"),
        "Beyond the calibration set's size": cutoffs.get("beyond_size"),
        "Beyond its latent distance": cutoffs.get("beyond_latent"),
    }
    return [(title, _text(value)) for title, value in facts.items() if value is not None]


def _policy(summary: dict[str, Any]) -> dict[str, object]:
    """The settings of the policy that drew the line; those of the others played no part."""
    cutoffs = summary["cutoffs"]
    settings: dict[str, dict[str, object]] = {
        "cutoff": {
            "Accepted from confidence": cutoffs["accept_confidence"],
            "Recomputed from p_unreliable": cutoffs["recompute_confidence"],
            "Between the two": cutoffs["between"],
        },
        "risk": {
            "Largest unreliable share promised": cutoffs["max_unreliable"],
            "Confidence of the promise": cutoffs["confidence"],
        },
        "budget": {"Budget": _with_unit(cutoffs["budget_core_hours"], "core-hours")},
    }
    return {"Policy": summary["policy"], **settings[summary["policy"]]}


def small_set(card: dict[str, Any]) -> int | None:
    """The number of labelled molecules if it is too small for fine probabilities, else None."""
    n: int | None = (card.get("training") or {}).get("n_molecules")
    return n if n is not None and n < SMALL_SET else None


def standard_error(card: dict[str, Any]) -> float | None:
    """The largest standard error that a share of the held-out conformers can have."""
    n = held_out(card).get("n")
    return 0.5 / math.sqrt(n) if n else None


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.3g} {unit}"


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
