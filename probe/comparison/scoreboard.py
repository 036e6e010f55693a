"""What the predictions of a comparison come to: figures with intervals, as JSON and Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from probe.classifier import metrics
from probe.comparison import evidence
from probe.comparison.evidence import Array, Bootstrap, Tested

RESAMPLES = 1000
LEARNING = ("auroc", "accuracy", "mcc")
"""Figures of the learning curves' tables."""
HEAD = ("accuracy", "mcc", "auroc")
"""Figures that are shown with their intervals."""
PLAIN = (
    *("f1_unreliable", "average_precision", "average_precision_reliable", "aurc", "augrc"),
    *("aurc_decision", "augrc_decision", "brier", "spearman"),
)
TITLES = {
    "accuracy": "accuracy",
    "mcc": "MCC",
    "auroc": "AUROC",
    "f1_unreliable": "F1",
    "average_precision": "AP unreliable",
    "average_precision_reliable": "AP reliable",
    "aurc": "AURC triage",
    "augrc": "AUGRC triage",
    "aurc_decision": "AURC decision",
    "augrc_decision": "AUGRC decision",
    "brier": "Brier",
    "spearman": "Spearman",
}


def standings(
    predictions: pl.DataFrame, against: str, resamples: int = RESAMPLES, seed: int = 0
) -> list[dict[str, Any]]:
    """One record for each split, size, tolerance and peer, best AUROC first within the first three.

    ``predictions`` has the columns of ``schemas.COMPARED``. Figures are means over the seeds, with
    the 95 % interval of a bootstrap by molecule, and their difference to the peer ``against`` over
    the seeds that both have. Tables (coverage and the like) are of all seeds' predictions together.
    """
    records: list[dict[str, Any]] = []
    for (split,), here in _groups(predictions, ["split"]):
        bootstrap = Bootstrap(here["smiles"].to_list(), resamples, seed)
        named = here.with_columns(tolerance=_tolerance(), fixed=~pl.col("boundary"))
        for (size, _, tolerance), group in _groups(named, ["size", "fixed", "tolerance"]):
            place = {"split": split, "size": size, "tolerance": tolerance}
            peers = {
                str(peer): (rows, _by_seed(rows, bootstrap))
                for (peer,), rows in _groups(group, ["peer"])
            }
            reference = peers[against][1] if against in peers else {}
            ranked = [
                {**place, "peer": peer, **_record(rows, seeds, reference)}
                for peer, (rows, seeds) in peers.items()
            ]
            records += sorted(ranked, key=_rank)
    return records


def markdown(records: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """The records as tables, one for each split and tolerance, then the learning curves."""
    lines = [
        f"{facts['n_conformers']} conformers of {facts['n_molecules']} molecules, "
        f"backbone {facts['backbone']}.",
        "Means over seeds; in brackets 95 % intervals from a bootstrap by molecule. "
        f"Δ AUROC is the difference to {facts['against']} on the same seeds. "
        "ECE: 15 bins, P(unreliable) against frequency (beside it what right probabilities would "
        "show at this size), then confidence against accuracy. AURC and AUGRC: risk of the "
        "accepted (triage) and of the decisions. Lower is better for these and for Brier.",
        *(f"- left out: {line}" for line in facts["skipped"]),
    ]
    whole = [record for record in records if record["size"] is None]
    for split, tolerance in dict.fromkeys((r["split"], r["tolerance"]) for r in whole):
        rows = [r for r in whole if (r["split"], r["tolerance"]) == (split, tolerance)]
        mean = np.mean([r["tolerance_kcal"] for r in rows])
        name = f"boundary ({mean:.3f} kcal/mol)" if tolerance == "boundary" else tolerance
        lines += ["", f"## {split}, {name}", "", *_table(rows)]
    return "\n".join([*lines, *_curves(records)]) + "\n"


def _record(
    rows: pl.DataFrame, seeds: Mapping[int, dict[str, Array]], reference: Mapping[int, Any]
) -> dict[str, Any]:
    names = list(next(iter(seeds.values())))
    by_name = {name: {seed: found[name] for seed, found in seeds.items()} for name in names}
    others = {name: {seed: found[name] for seed, found in reference.items()} for name in names}
    p, error = rows["p_unreliable"].to_numpy(), rows["error_kcal"].to_numpy()
    ratio = error / rows["tolerance_kcal"].to_numpy()
    parts = [part["p_unreliable"].to_numpy() for _, part in _groups(rows, ["seed"])]
    chance = [metrics.chance_calibration_error(part) for part in parts]
    return {
        "tolerance_kcal": float(rows["tolerance_kcal"].unique().mean()),  # type: ignore[arg-type]
        "n_seeds": len(seeds),
        "n_flat": sum(bool(np.ptp(part) == 0) for part in parts),
        "n_fit": round(float(rows["n_fit"].mean())),  # type: ignore[arg-type]
        "n_test": round(len(rows) / len(seeds)),
        "figures": {
            name: evidence.summary(list(found.values())) for name, found in by_name.items()
        },
        "difference": {name: evidence.difference(by_name[name], others[name]) for name in names},
        "ece_chance": float(np.mean([one["frequency"] for one in chance])),
        "ece_confidence_chance": float(np.mean([one["confidence"] for one in chance])),
        "coverage": metrics.coverage(p, np.abs(ratio) > 1),
        "sides": metrics.sides(p, error),
        "by_magnitude": metrics.by_magnitude(p, ratio, 1.0),
        "extremes": metrics.extremes(p, error),
        "reliability": metrics.reliability(p, np.abs(ratio) > 1),
    }


def _by_seed(rows: pl.DataFrame, bootstrap: Bootstrap) -> dict[int, dict[str, Array]]:
    return {
        int(seed): bootstrap.figures(
            Tested(
                part["score"].to_numpy(),
                part["p_unreliable"].to_numpy(),
                part["error_kcal"].to_numpy(),
                part["smiles"].to_numpy(),
                float(part["tolerance_kcal"][0]),
            )
        )
        for (seed,), part in _groups(rows, ["seed"])
    }


def _groups(frame: pl.DataFrame, by: list[str]) -> list[tuple[tuple[Any, ...], pl.DataFrame]]:
    """``frame`` by the values of columns, in an order that does not depend on its own."""
    parts = frame.partition_by(by, as_dict=True)
    return sorted(parts.items(), key=lambda item: [(v is None, v) for v in item[0]])


def _tolerance() -> pl.Expr:
    fixed = pl.format("{} kcal/mol", pl.col("tolerance_kcal"))
    return pl.when(pl.col("boundary")).then(pl.lit("boundary")).otherwise(fixed)


def _rank(record: Mapping[str, Any]) -> float:
    value = record["figures"]["auroc"]["value"]
    return -value if value is not None else 1.0


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ["peer", "seeds", "fit", "test", *(TITLES[name] for name in HEAD), "Δ AUROC"]
    heads += ["ECE (chance)", "ECE conf. (chance)", *(TITLES[name] for name in PLAIN)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in rows:
        figures, difference = row["figures"], row["difference"]["auroc"]
        cells = [row["peer"], str(row["n_seeds"]), str(row["n_fit"]), str(row["n_test"])]
        cells += [_interval(figures[name]) for name in HEAD]
        cells.append("" if difference is None else _interval(difference, "+.3f"))
        for name in ("ece", "ece_confidence"):
            cells.append(f"{_number(figures[name]['value'])} ({_number(row[f'{name}_chance'])})")
        cells += [_number(figures[name]["value"]) for name in PLAIN]
        lines.append(_line(cells))
    return lines


def _curves(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of each figure against the number of labels, where sizes were asked for."""
    sized = dict.fromkeys((r["split"], r["tolerance"]) for r in records if r["size"] is not None)
    lines: list[str] = []
    for split, tolerance in sized:
        rows = [r for r in records if (r["split"], r["tolerance"]) == (split, tolerance)]
        sizes = sorted({r["size"] for r in rows if r["size"] is not None})
        heads = [*map(str, sizes), "all"]
        for name in LEARNING:
            cells = {
                (r["peer"], str(r["size"] or "all")): _interval(r["figures"][name]) for r in rows
            }
            lines += ["", f"## Learning curve, {split}, {tolerance}: {TITLES[name]}", ""]
            lines += [_line(["peer", *heads]), _line(["---"] * (len(heads) + 1))]
            for peer in dict.fromkeys(r["peer"] for r in rows):
                lines.append(_line([peer, *(cells.get((peer, size), "") for size in heads)]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _interval(found: Mapping[str, float | None], form: str = ".3f") -> str:
    if found["value"] is None:
        return "-"
    low, high = (_number(found[end], form) for end in ("low", "high"))
    return f"{_number(found['value'], form)} [{low}, {high}]"
