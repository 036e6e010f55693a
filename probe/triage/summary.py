"""What became of a library in numbers: counts that add up, and what the policy came to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from probe import schemas, tables, weights
from probe.classifier.risk import Promise
from probe.errors import ProbeError
from probe.library.plan import Plan
from probe.triage.policy import Policy

VERSIONS = (
    *("probe-screen", "aimnet", "mace-torch", "torch", "rdkit", "polars", "pyarrow", "snakemake"),
)

BY_PROBE = ("unreliable", "between", "budget", "no promise")
"""The kinds of reasons to recompute that are PROBE's; for any other it is not asked."""


_NONE = pl.DataFrame(
    schema={
        **{"verdict": pl.String, "kind": pl.String},
        **dict.fromkeys(("beyond_size", "beyond_latent", "outside", "n"), pl.Int64),
        **{"core_hours": pl.Float64, "n_unknown": pl.Int64, "max_p": pl.Float64},
    }
)
"""The tally of no conformer."""


def tally(decided: pl.DataFrame) -> pl.DataFrame:
    """What the summary needs of conformers from ``triage.decide``: a row a verdict and kind."""
    hours = pl.col("dft_core_hours")
    counts = [
        pl.col(name).sum().cast(pl.Int64) for name in ("beyond_size", "beyond_latent", "outside")
    ]
    return decided.group_by("verdict", "kind").agg(
        *counts,
        n=pl.len().cast(pl.Int64),
        core_hours=hours.sum(),
        n_unknown=hours.null_count().cast(pl.Int64),
        max_p=pl.col("p_unreliable").max(),
    )


def total(tallies: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The tally of all conformers, from those of its parts."""
    summed = pl.exclude("verdict", "kind", "max_p").sum()
    parts = pl.concat([_NONE, *tallies])
    return parts.group_by("verdict", "kind").agg(summed, pl.col("max_p").max())


def summarise(
    plan: Plan, folder: Path, tallied: pl.DataFrame, n_rejected: int, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Counts of the library in ``folder`` and what it was screened with.

    ``tallied`` is from ``tally`` or ``total``. Ingested conformers are counted from the shards.

    Raises:
        ProbeError: a record or a conformer is nowhere, or twice.
    """
    ingested = [tables.provenance(path) for path in plan.files(folder / "conformers")]
    scored = [tables.provenance(path) for path in plan.files(folder / "scores")]
    n_ingested = sum(record["n_ingested"] for record in ingested)
    n_conformers = _count_ids(plan.files(folder / "conformers"))
    counts = {
        "library": plan.library,
        "n_records": plan.n_records,
        "n_ingested": n_ingested,
        "n_rejected": n_rejected,
        "n_conformers": n_conformers,
        "n_duplicates": n_ingested - n_conformers,
        **_counts(tallied),
        "backbone": card["backbone"],
        "checkpoint": card["name"],
        "fingerprint": card["fingerprint"],
        "licence": weights.entry(card["backbone"]).licence,
        "boundary_kcal": card["boundary_kcal"],
        "device": ", ".join(sorted({record["device"] for record in scored})),
        "versions": {name: version(name) for name in VERSIONS},
    }
    _check(counts)
    return counts


def outcome(
    tallied: pl.DataFrame, card: Mapping[str, Any], policy: Policy, promised: Promise | None
) -> dict[str, Any]:
    """What ``policy`` came to: its settings, where the lists part, and what can be said of them.

    ``tolerance_kcal`` is what p_unreliable refers to; ``accept_up_to_p`` the largest that is
    accepted, None if none is; ``statement`` a sentence or two, None where nothing is promised
    and no budget was spent.
    """
    tolerance = policy.tolerance_kcal or float(card["boundary_kcal"])
    accepted, sent = (tallied.filter(verdict=verdict) for verdict in ("accept", "recompute"))
    demanded = sent.filter(~pl.col("kind").is_in(BY_PROBE))
    n_outside, n_accepted = int(tallied["outside"].sum()), int(accepted["n"].sum())
    hours = {
        "recompute": float(sent["core_hours"].sum()),
        "by_other_rules": float(demanded["core_hours"].sum()),
    }
    statement = None
    if promised is not None:
        share = n_outside / max(int(tallied["n"].sum()), 1)
        statement = _promise_in_words(promised, tolerance, share)
    elif policy.budget_core_hours is not None:
        n_demanded = int(demanded["n"].sum())
        numbers = (n_demanded, int(sent["n"].sum()) - n_demanded, n_accepted)
        statement = _budget_in_words(policy.budget_core_hours, hours, *numbers)
    return {
        "policy": policy.policy,
        "tolerance_kcal": tolerance,
        "cutoffs": vars(policy),
        "accept_up_to_p": _accept_up_to(policy, promised, accepted),
        "promise": None if promised is None else asdict(promised),
        "statement": statement,
        "n_outside": n_outside,
        "n_accept_outside": int(accepted["outside"].sum()),
        "dft_core_hours": hours | {"n_unknown": int(sent["n_unknown"].sum())},
    }


def _counts(tallied: pl.DataFrame) -> dict[str, Any]:
    sent = tallied.filter(verdict="recompute").sort("n", "kind", descending=[True, False])
    return {
        "n_accept": int(tallied.filter(verdict="accept")["n"].sum()),
        "n_recompute": int(sent["n"].sum()),
        "n_refused": int(tallied.filter(kind="backbone")["n"].sum()),
        "n_beyond_size": int(tallied["beyond_size"].sum()),
        "n_beyond_latent": int(tallied["beyond_latent"].sum()),
        "reasons": dict(sent.select("kind", "n").iter_rows()),
    }


def _count_ids(paths: Sequence[Path]) -> int:
    """Distinct conformers, counted from the shards and not from what was decided."""
    columns = ["conformer_id"]
    ids = pl.concat([tables.frame(path, schemas.CONFORMERS, columns) for path in paths])
    return ids["conformer_id"].n_unique()


def _accept_up_to(policy: Policy, promised: Promise | None, accepted: pl.DataFrame) -> float | None:
    if promised is not None:
        return promised.cutoff
    if policy.policy == "budget":
        largest: float | None = accepted["max_p"].max()  # type: ignore[assignment]
        return largest
    sure = 1 - policy.accept_confidence
    return max(sure, policy.recompute_confidence) if policy.between == "accept" else sure


def _promise_in_words(promised: Promise, tolerance: float, outside: float) -> str:
    what = (
        f"at most {_percent(promised.max_unreliable)} of energies off by more than "
        f"{tolerance:.3g} kcal/mol, with {_percent(promised.confidence)} confidence"
    )
    if promised.cutoff is None:
        return f"Nothing is accepted: no cutoff promises {what}; {promised.why_not}."
    bound = "" if promised.bound is None else f", so at most {_percent(promised.bound)}"
    return (
        f"Accepted up to p_unreliable {promised.cutoff:.3g}: {what} ({promised.n_unreliable} of "
        f"{promised.n_accepted} calibration molecules are{bound}). This holds for libraries like "
        f"the calibration set; {_percent(outside)} of this one lies outside its domain."
    )


def _budget_in_words(
    budget: float, hours: Mapping[str, float], n_demanded: int, n_chosen: int, n_accepted: int
) -> str:
    demanded = hours["by_other_rules"]
    start = f"Budget of {budget:g} core-hours: the {n_demanded:,} to recompute by other rules"
    if demanded > budget:
        return f"{start} take about {demanded:.3g}, more than that; PROBE sends none."
    return (
        f"{start} (about {demanded:.3g}), then the {n_chosen:,} with the highest p_unreliable "
        f"(about {hours['recompute'] - demanded:.3g}); the other {n_accepted:,} are accepted."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _check(summary: Mapping[str, Any]) -> None:
    """Raise unless every record and every conformer is somewhere, and only once."""
    if summary["n_records"] != summary["n_ingested"] + summary["n_rejected"]:
        raise ProbeError(
            f"library {summary['library']}: {summary['n_records']} records read, but "
            f"{summary['n_ingested']} ingested and {summary['n_rejected']} rejected; "
            f"remove results/{summary['library']} and run again"
        )
    if summary["n_conformers"] != summary["n_accept"] + summary["n_recompute"]:
        raise ProbeError(
            f"library {summary['library']}: {summary['n_conformers']} conformers, but "
            f"{summary['n_accept']} accepted and {summary['n_recompute']} to recompute; "
            f"score the library again (`snakemake --forcerun score`)"
        )
