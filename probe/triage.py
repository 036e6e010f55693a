"""Triage: every conformer of a library into exactly one list, accept or recompute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from ase.data import chemical_symbols

from probe import plan as planning
from probe import sdf, tables, weights
from probe.errors import ProbeError
from probe.ingest import merge_duplicates

ROUNDING = 1e-12
"""A p_unreliable this near to a cutoff is on it: in binary, 1 - 0.66 is not 0.34."""

VERSIONS = ("probe-screen", "aimnet", "torch", "rdkit", "polars", "pyarrow", "snakemake")


@dataclass(frozen=True)
class Policy:
    """Where the line is drawn; mirrors ``triage:`` of the configuration."""

    accept_confidence: float = 0.6
    recompute_confidence: float = 0.6
    between: str = "recompute"
    min_element_molecules: int = 20
    beyond_size: str = "flag"
    beyond_latent: str = "flag"


def triage_library(folder: Path, card: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """Split the screened library in ``folder`` into lists there, and count.

    ``folder`` holds plan.json and the shards of conformers/, rejects/ and scores/; it gets
    accept, recompute and rejected tables, recompute.sdf and summary.json. Shards of an earlier
    plan are removed.

    Returns the summary.

    Raises:
        ProbeError: the counts do not add up at some stage; nothing has been written then.
    """
    plan = planning.load(folder / "plan.json")
    conformers = _conformers(plan.files(folder / "conformers"))
    scores = _scores(plan.files(folder / "scores"))
    scored = conformers.join(scores, on="conformer_id", maintain_order="left")
    decided = decide(scored, card, policy)
    rejected = pl.concat(
        [tables.frame(path, tables.REJECTED) for path in plan.files(folder / "rejects")]
    )
    summary = _summary(plan, folder, decided, rejected, card, policy)
    _check(summary)
    record = {"library": plan.library, "checkpoint": card["name"]}
    for verdict in ("accept", "recompute"):
        rows = decided.filter(pl.col("verdict") == verdict).select(tables.TRIAGED.names)
        tables.write(folder / f"{verdict}.parquet", rows.to_arrow(), tables.TRIAGED, record)
    tables.write(folder / "rejected.parquet", rejected.to_arrow(), tables.REJECTED, record)
    sdf.write(decided.filter(pl.col("verdict") == "recompute"), folder / "recompute.sdf")
    tables.write_json(folder / "summary.json", summary)
    _remove_stale(plan, folder)
    return summary


def decide(scored: pl.DataFrame, card: Mapping[str, Any], policy: Policy) -> pl.DataFrame:
    """``scored`` (conformers with scores) with verdict, kind, reason and flags; worst first.

    The first rule that holds decides: the backbone's refusal, an element with too few
    calibration molecules, what lies beyond the calibration domain where the policy sends that
    to recompute, and then PROBE's confidence. What PROBE gave no number is never accepted.
    """
    rare = rare_elements(card, policy.min_element_molecules)
    p = pl.col("p_unreliable")
    largest, farthest = card["n_atoms"]["max"], card["latent_99"]
    too_large = pl.col("n_atoms") > largest
    too_far = pl.col("latent_distance") > farthest
    with_rare = scored.with_columns(rare=_rare_in(scored["numbers"], rare, policy))
    refused, has_rare = pl.col("refusal").is_not_null(), pl.col("rare") != ""
    size = pl.format("{} atoms, calibration has at most {}", "n_atoms", pl.lit(largest))
    latent = pl.format(
        "latent distance {}, 99 % of calibration is within {}",
        pl.col("latent_distance").round(2),
        pl.lit(round(farthest, 2)),
    )
    sent, kept = pl.lit("recompute"), pl.lit("accept")
    sure = p <= 1 - policy.accept_confidence + ROUNDING
    unsure = p >= policy.recompute_confidence - ROUNDING
    rules = [
        (refused, sent, "backbone", pl.col("refusal")),
        (has_rare, sent, "element", pl.col("rare")),
        (too_large & (policy.beyond_size == "recompute"), sent, "size", size),
        (too_far & (policy.beyond_latent == "recompute"), sent, "latent distance", latent),
        (~p.is_finite().fill_null(value=False), sent, "no answer", pl.lit("PROBE gave no answer")),
        (sure, kept, "reliable", _says(p, "at most", 1 - policy.accept_confidence)),
        (unsure, sent, "unreliable", _says(p, "at least", policy.recompute_confidence)),
        (pl.lit(True), pl.lit(policy.between), "between", _says(p, "between the cutoffs")),
    ]
    decided = with_rare.with_columns(
        verdict=pl.coalesce(pl.when(when).then(verdict) for when, verdict, _, _ in rules),
        kind=pl.coalesce(pl.when(when).then(pl.lit(kind)) for when, _, kind, _ in rules),
        reason=pl.coalesce(pl.when(when).then(why) for when, _, _, why in rules),
        beyond_size=too_large & ~refused,
        beyond_latent=too_far.fill_null(value=False),
    )
    warnings = [("size", "beyond_size", size), ("latent distance", "beyond_latent", latent)]
    flags = pl.concat_str(
        [pl.when(column, pl.col("kind") != kind).then(says) for kind, column, says in warnings],
        separator="; ",
        ignore_nulls=True,
    )
    return decided.with_columns(flags=flags.fill_null("")).sort(
        "p_unreliable", descending=True, nulls_last=False, maintain_order=True
    )


def rare_elements(card: Mapping[str, Any], least: int) -> dict[int, int]:
    """Molecules of the calibration set by atomic number, for elements with fewer than ``least``."""
    known: Mapping[str, int] = card["elements"]
    counts = {z: known.get(symbol, 0) for z, symbol in enumerate(chemical_symbols)}
    return {z: n for z, n in counts.items() if n < least}


def _remove_stale(plan: planning.Plan, folder: Path) -> None:
    """Remove the shards of an earlier plan, which nothing reads but a glob would find."""
    for stage in ("conformers", "rejects", "embedded", "scores"):
        for path in set((folder / stage).glob("*.parquet")) - set(plan.files(folder / stage)):
            path.unlink(missing_ok=True)


def _says(p: pl.Expr, *words: object) -> pl.Expr:
    text = " ".join(str(round(word, 4)) if isinstance(word, float) else str(word) for word in words)
    return pl.format(f"p_unreliable {{}} {text}", p.round(3))


def _rare_in(numbers: pl.Series, rare: Mapping[int, int], policy: Policy) -> pl.Series:
    """Per conformer, its elements with too few calibration molecules, in words; "" if none."""
    needed = policy.min_element_molecules
    words = {
        z: f"{chemical_symbols[z]} is in {n} calibration molecules, {needed} are needed"
        for z, n in rare.items()
    }
    return pl.Series(
        ["; ".join(words[z] for z in sorted(set(row)) if z in words) for row in numbers],
        dtype=pl.String,
    )


def _conformers(paths: Sequence[Path]) -> pl.DataFrame:
    return merge_duplicates(pl.concat([tables.frame(path, tables.CONFORMERS) for path in paths]))


def _count_ids(paths: Sequence[Path]) -> int:
    """Distinct conformers, counted from the shards and not from what was decided."""
    columns = ["conformer_id"]
    ids = pl.concat([tables.frame(path, tables.CONFORMERS, columns) for path in paths])
    return ids["conformer_id"].n_unique()


def _scores(paths: Sequence[Path]) -> pl.DataFrame:
    columns = ["conformer_id", "energy_ev", "p_unreliable", "latent_distance", "refusal"]
    frames = [tables.frame(path, tables.SCORES, columns) for path in paths]
    return pl.concat(frames).unique("conformer_id", keep="first", maintain_order=True)


def _summary(
    plan: planning.Plan,
    folder: Path,
    decided: pl.DataFrame,
    rejected: pl.DataFrame,
    card: Mapping[str, Any],
    policy: Policy,
) -> dict[str, Any]:
    ingested = [tables.provenance(path) for path in plan.files(folder / "conformers")]
    scored = [tables.provenance(path) for path in plan.files(folder / "scores")]
    n_ingested = sum(record["n_ingested"] for record in ingested)
    n_conformers = _count_ids(plan.files(folder / "conformers"))
    verdicts, kinds = decided["verdict"].to_list(), decided["kind"].to_list()
    sent = decided.filter(pl.col("verdict") == "recompute")
    reasons = sent.group_by("kind").len().sort("len", "kind", descending=[True, False])
    return {
        "library": plan.library,
        "n_records": plan.n_records,
        "n_ingested": n_ingested,
        "n_rejected": rejected.height,
        "n_conformers": n_conformers,
        "n_duplicates": n_ingested - n_conformers,
        "n_accept": verdicts.count("accept"),
        "n_recompute": verdicts.count("recompute"),
        "n_refused": kinds.count("backbone"),
        "n_beyond_size": int(decided["beyond_size"].sum()),
        "n_beyond_latent": int(decided["beyond_latent"].sum()),
        "reasons": dict(reasons.iter_rows()),
        "cutoffs": vars(policy),
        "backbone": card["backbone"],
        "checkpoint": card["name"],
        "fingerprint": card["fingerprint"],
        "licence": weights.entry(card["backbone"]).licence,
        "boundary_kcal": card["boundary_kcal"],
        "device": ", ".join(sorted({record["device"] for record in scored})),
        "versions": {name: version(name) for name in VERSIONS},
    }


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
