"""Triage: every conformer of a library into exactly one list, accept or recompute."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ase.data import chemical_symbols

from probe import schemas, spill, streams, tables, weights
from probe.classifier import card as cards
from probe.classifier import risk
from probe.classifier.exceedance import exceedance
from probe.classifier.risk import Promise
from probe.dft import cost
from probe.dft.methods import B97_3C, METHODS, Method
from probe.errors import ProbeError
from probe.library import plan as planning
from probe.triage import lists
from probe.triage.policy import Policy
from probe.triage.summary import BY_PROBE, outcome, summarise, total

ROUNDING = 1e-12
"""A p_unreliable this near to a cutoff is on it: in binary, 1 - 0.66 is not 0.34."""

BY_BUDGET = ("budget", "beyond budget")
"""The kinds of reasons of what a budget decides about."""

BEYOND_P = 2.0
"""Any p_unreliable beyond this, an infinite one, is ordered as if it were this."""

Rule = tuple[pl.Expr, pl.Expr, str, pl.Expr]
"""Where it holds, and the verdict, kind and reason that it then gives."""


def triage_library(
    folder: Path, card: Mapping[str, Any], policy: Policy, held_out: Path
) -> dict[str, Any]:
    """Split the screened library in ``folder`` into lists there, and count.

    ``folder`` holds plan.json and the shards of conformers/, rejects/ and scores/; it gets
    accept, recompute, molecules and rejected tables, recompute.sdf and summary.json. Shards of an
    earlier plan are removed. ``held_out`` (``schemas.HELD_OUT``) is the checkpoint's, and is read
    only where the policy takes its cutoff from there.

    Returns the summary.

    Raises:
        ProbeError: the counts do not add up at some stage, the checkpoint does not know the
            tolerance, or the scores are of another one; nothing has been written then.
    """
    plan = planning.load(folder / "plan.json")
    for path in plan.files(folder / "scores"):
        cards.require_made(card, path)
    promised = None
    if policy.policy == "risk":
        promised = promise(tables.frame(held_out, schemas.HELD_OUT), card, policy)
    record = {"library": plan.library} | cards.identity(card)
    with spill.scratch(folder / "summary.json") as place:
        worst_first, spent = _worst_first(plan, folder, card, policy, place)
        rejects = plan.files(folder / "rejects"), folder / "rejected.parquet", record
        with (
            lists.writing(folder, place, record, worst_first.n) as written,
            lists.rejected(*rejects) as n_rejected,
        ):
            for rows in worst_first.merged():
                decided = decide(rows, card, policy, promised, spent)
                spent += _hours(decided, pl.col("kind").is_in(BY_BUDGET))
                written.add(decided)
            tallied = total(written.tallies)
            summary = summarise(plan, folder, tallied, n_rejected, card)
            summary |= outcome(tallied, card, policy, promised)
            summary |= written.molecules()
    tables.write_json(folder / "summary.json", summary)
    _remove_stale(plan, folder)
    return summary


def at_tolerance(scores: pl.DataFrame, card: Mapping[str, Any], policy: Policy) -> pl.DataFrame:
    """``scores`` with p_unreliable at the policy's tolerance, from location and scale.

    Raises:
        ProbeError: the tolerance is not the checkpoint's boundary, and it knows no other.
    """
    tolerance = policy.tolerance_kcal
    if tolerance in (None, card["boundary_kcal"]):
        return scores
    answered = scores["p_unreliable"].is_not_null()
    known = scores.filter(answered)
    if known["location_kcal"].null_count():
        raise ProbeError(
            f"checkpoint {card['name']} knows no other tolerance than its boundary, "
            f"{card['boundary_kcal']:.3g} kcal/mol; leave tolerance_kcal out, or take a checkpoint "
            "of the default recipe"
        )
    p = np.full(scores.height, np.nan)
    if known.height:
        location, scale = (
            known[name].explode().to_numpy().reshape(known.height, -1)
            for name in ("location_kcal", "scale_kcal")
        )
        p[answered.to_numpy()] = exceedance(location, scale, tolerance)
    return scores.with_columns(p_unreliable=pl.Series(p).fill_nan(None))


def promise(held_out: pl.DataFrame, card: Mapping[str, Any], policy: Policy) -> Promise:
    """The cutoff that keeps the policy's promise on ``held_out`` molecules, one conformer each."""
    rows = asked(risk.one_a_molecule(held_out), card, policy)
    tolerance = policy.tolerance_kcal or card["boundary_kcal"]
    unreliable = rows["error_kcal"].abs() > tolerance
    return risk.promise(
        rows["p_unreliable"].to_numpy(),
        unreliable.to_numpy(),
        policy.max_unreliable,
        policy.confidence,
    )


def asked(held_out: pl.DataFrame, card: Mapping[str, Any], policy: Policy) -> pl.DataFrame:
    """Those of ``held_out`` that PROBE is asked about, with p_unreliable at the tolerance.

    Those that another rule than PROBE's would send to recompute are left out, as in a library.
    """
    known = at_tolerance(held_out, card, policy)
    rows = decide(known.with_columns(refusal=pl.lit(None, pl.String)), card, policy)
    return rows.filter(pl.col("kind").is_in(["reliable", "beyond budget", *BY_PROBE]))


def decide(
    scored: pl.DataFrame,
    card: Mapping[str, Any],
    policy: Policy,
    promised: Promise | None = None,
    spent: float | None = None,
) -> pl.DataFrame:
    """``scored`` (conformers with scores) with verdict, kind, reason and flags; worst first.

    The first rule that holds decides: the backbone's refusal, an element with too few
    calibration molecules, what lies beyond the calibration domain where the policy sends that
    to recompute, and then PROBE: by ``promised`` where that is given, otherwise by the policy's
    budget or cutoffs. What PROBE gave no number is never accepted. Where ``scored`` is a part of a
    library, ``spent`` are the core-hours of the budget that all that other rules demand and what
    comes before it take; by default it is all.
    """
    rare = _rare_in(scored["numbers"], rare_elements(card, policy.min_element_molecules), policy)
    spins = scored.get_column("multiplicity", default=None)  # held-out molecules are closed shells
    hours = cost.core_hours(scored["numbers"], _level(card), spins)
    costly = scored.with_columns(rare=rare, dft_core_hours=hours)
    worst_first = costly.sort(
        "p_unreliable", descending=True, nulls_last=False, maintain_order=True
    )
    size, latent = _beyond(card)
    others = _rules_before_probe(policy, size, latent)
    overruled = pl.any_horizontal(when for when, *_ in others)
    if promised is not None:
        rules = others + _by_promise(promised)
    elif policy.budget_core_hours is not None:
        rules = others + _by_budget(policy.budget_core_hours, overruled, spent)
    else:
        rules = others + _by_cutoffs(policy)
    known = pl.col("refusal").is_null()
    decided = worst_first.with_columns(
        verdict=pl.coalesce(pl.when(when).then(verdict) for when, verdict, _, _ in rules),
        kind=pl.coalesce(pl.when(when).then(pl.lit(kind)) for when, _, kind, _ in rules),
        reason=pl.coalesce(pl.when(when).then(why) for when, _, _, why in rules),
        beyond_size=size[0] & known,
        beyond_latent=latent[0],
    )
    has_rare = known & (pl.col("rare") != "")
    return decided.with_columns(
        flags=_flags(size[1], latent[1]),
        outside=pl.any_horizontal("beyond_size", "beyond_latent", has_rare),
    )


def rare_elements(card: Mapping[str, Any], least: int) -> dict[int, int]:
    """Molecules of the calibration set by atomic number, for elements with fewer than ``least``."""
    known: Mapping[str, int] = card["elements"]
    counts = {z: known.get(symbol, 0) for z, symbol in enumerate(chemical_symbols)}
    return {z: n for z, n in counts.items() if n < least}


def _level(card: Mapping[str, Any]) -> Method:
    """What recomputing takes: the backbone's method, or B97-3c where that cannot be had."""
    return METHODS.get(weights.entry(card["backbone"]).method, B97_3C)


def _beyond(card: Mapping[str, Any]) -> tuple[tuple[pl.Expr, pl.Expr], tuple[pl.Expr, pl.Expr]]:
    """Where a conformer lies beyond the calibration set in size and in latent distance, and how."""
    largest, farthest = card["n_atoms"]["max"], card["latent_99"]
    size = pl.format("{} atoms, calibration has at most {}", "n_atoms", pl.lit(largest))
    latent = pl.format(
        "latent distance {}, 99 % of calibration is within {}",
        pl.col("latent_distance").round(2),
        pl.lit(round(farthest, 2)),
    )
    too_far = (pl.col("latent_distance") > farthest).fill_null(value=False)
    return (pl.col("n_atoms") > largest, size), (too_far, latent)


def _rules_before_probe(
    policy: Policy, size: tuple[pl.Expr, pl.Expr], latent: tuple[pl.Expr, pl.Expr]
) -> list[Rule]:
    sent = pl.lit("recompute")
    no_answer = ~pl.col("p_unreliable").is_finite().fill_null(value=False)
    too_large = size[0] & (policy.beyond_size == "recompute")
    too_far = latent[0] & (policy.beyond_latent == "recompute")
    return [
        (pl.col("refusal").is_not_null(), sent, "backbone", pl.col("refusal")),
        (pl.col("rare") != "", sent, "element", pl.col("rare")),
        (too_large, sent, "size", size[1]),
        (too_far, sent, "latent distance", latent[1]),
        (no_answer, sent, "no answer", pl.lit("PROBE gave no answer")),
    ]


def _by_cutoffs(policy: Policy) -> list[Rule]:
    p, sent, kept = pl.col("p_unreliable"), pl.lit("recompute"), pl.lit("accept")
    sure = p <= 1 - policy.accept_confidence + ROUNDING
    unsure = p >= policy.recompute_confidence - ROUNDING
    return [
        (sure, kept, "reliable", _says(p, "at most", 1 - policy.accept_confidence)),
        (unsure, sent, "unreliable", _says(p, "at least", policy.recompute_confidence)),
        (pl.lit(True), pl.lit(policy.between), "between", _says(p, "between the cutoffs")),
    ]


def _by_promise(promised: Promise) -> list[Rule]:
    p, sent, kept = pl.col("p_unreliable"), pl.lit("recompute"), pl.lit("accept")
    if promised.cutoff is None:
        why = _says(p, "but no cutoff keeps the promise")
        return [(pl.lit(True), sent, "no promise", why)]
    return [
        (p <= promised.cutoff, kept, "reliable", _says(p, "at most", promised.cutoff)),
        (pl.lit(True), sent, "unreliable", _says(p, "above", promised.cutoff)),
    ]


def _by_budget(core_hours: float, overruled: pl.Expr, spent: float | None) -> list[Rule]:
    """First what other rules demand, then the worst, in the frame's order, until it is spent."""
    p, hours = pl.col("p_unreliable"), pl.col("dft_core_hours").fill_null(0.0)
    demanded = pl.when(overruled).then(hours).otherwise(0.0).sum() if spent is None else spent
    chosen = pl.when(overruled).then(0.0).otherwise(hours).cum_sum()
    budget = f"the budget of {core_hours:g} core-hours"
    return [
        (
            demanded + chosen <= core_hours,
            pl.lit("recompute"),
            "budget",
            _says(p, f"within {budget}"),
        ),
        (pl.lit(True), pl.lit("accept"), "beyond budget", _says(p, f"beyond {budget}")),
    ]


def _flags(size: pl.Expr, latent: pl.Expr) -> pl.Expr:
    """What lies outside the calibration set and did not decide."""
    warnings = [("size", "beyond_size", size), ("latent distance", "beyond_latent", latent)]
    flags = pl.concat_str(
        [pl.when(column, pl.col("kind") != kind).then(says) for kind, column, says in warnings],
        separator="; ",
        ignore_nulls=True,
    )
    return flags.fill_null("")


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
    atoms = pl.col("numbers")
    present = set(numbers.explode().unique().drop_nulls()) & rare.keys()
    words = [
        pl.when(atoms.list.contains(z)).then(
            pl.lit(
                f"{chemical_symbols[z]} is in {rare[z]} calibration molecules, "
                f"{policy.min_element_molecules} are needed"
            )
        )
        for z in sorted(present)
    ]
    in_words = pl.concat_str(words or [pl.lit("")], separator="; ", ignore_nulls=True)
    return numbers.to_frame("numbers").with_columns(rare=in_words)["rare"]


def _worst_first(
    plan: planning.Plan, folder: Path, card: Mapping[str, Any], policy: Policy, place: spill.Scratch
) -> tuple[spill.Runs, float]:
    """Every conformer with its score, by falling p_unreliable, those without one first.

    Also the core-hours that other rules than the budget demand, 0 where there is no budget.
    """
    runs, demanded = place.runs("scored"), 0.0
    for rows in _scored(plan, folder, card, policy):
        p = (-rows["p_unreliable"].to_numpy()).clip(*(-BEYOND_P, BEYOND_P))
        unknown = np.where(rows["p_unreliable"].is_null(), -2 * BEYOND_P, -1.5 * BEYOND_P)
        runs.add(rows, np.where(np.isnan(p), unknown, p))
        if policy.budget_core_hours is not None:
            decided = decide(rows, card, policy, spent=0.0)
            demanded += _hours(decided, ~pl.col("kind").is_in(BY_BUDGET))
    return runs, demanded


def _hours(decided: pl.DataFrame, where: pl.Expr) -> float:
    return float(decided.filter(where)["dft_core_hours"].sum())


def _scored(
    plan: planning.Plan, folder: Path, card: Mapping[str, Any], policy: Policy
) -> Iterator[pl.DataFrame]:
    """Conformers with their scores, some at a time; of repeated ones the first, with all sources
    and names.

    A conformer without a score is left out: the counts then tell.
    """
    paths = plan.files(folder / "conformers")
    first, repeats = _repeats(paths)
    start = 0
    for path, scores in zip(paths, plan.files(folder / "scores"), strict=True):
        answers = at_tolerance(_scores(scores, policy), card, policy)
        for rows in streams.batches(path, schemas.CONFORMERS):
            stop = start + rows.height
            kept = rows.filter(first[start:stop]).join(
                repeats, on="conformer_id", how="left", maintain_order="left"
            )
            sources = pl.concat_str("source", "repeats", separator="; ", ignore_nulls=True)
            named = kept.with_columns(source=sources, synonyms=_synonyms()).drop("repeats", "names")
            yield named.join(answers, on="conformer_id", maintain_order="left")
            start = stop


def _repeats(paths: Sequence[Path]) -> tuple[pl.Series, pl.DataFrame]:
    """Whether each row of ``paths`` is the first of its conformer, and what the others are called.

    A row a conformer: their sources, joined by "; ", and the list of their names.
    """
    columns = ["conformer_id"]
    ids = pl.concat(tables.frame(path, schemas.CONFORMERS, columns) for path in paths).to_series()
    first = ids.is_first_distinct()
    columns += ["molecule_id", "source", "synonyms"]
    found = [pl.DataFrame(schemas.CONFORMERS.empty_table().select(columns))]
    start = 0
    for path in paths if not first.all() else ():
        rows = tables.frame(path, schemas.CONFORMERS, columns)
        found.append(rows.filter(~first[start : start + rows.height]))
        start += rows.height
    named = pl.concat(found).with_columns(names=pl.concat_list("molecule_id", _listed("synonyms")))
    repeats = named.group_by("conformer_id", maintain_order=True)
    return first, repeats.agg(
        repeats=pl.col("source").str.join("; "), names=pl.col("names").explode().drop_nulls()
    )


def _synonyms() -> pl.Expr:
    """Of a conformer all names, its own left out: those of its rows and of their repeats."""
    every = pl.concat_list(_listed("synonyms"), _listed("names"))
    own = pl.concat_list(pl.col("molecule_id").fill_null(""), pl.lit(""))
    return every.list.set_difference(own).list.sort()


def _listed(column: str) -> pl.Expr:
    return pl.col(column).fill_null(pl.lit([], pl.List(pl.String)))


def _scores(path: Path, policy: Policy) -> pl.DataFrame:
    columns = ["conformer_id", "energy_ev", "p_unreliable", "latent_distance", "refusal"]
    if policy.tolerance_kcal is not None:
        columns += ["location_kcal", "scale_kcal"]
        if "location_kcal" not in tables.open_parquet(path).schema_arrow.names:
            raise ProbeError(
                f"{path}: of an older version, for one boundary; score the library again "
                "(`snakemake --forcerun score`), or leave tolerance_kcal out"
            )
    found = tables.frame(path, schemas.SCORES, columns)
    return found.unique("conformer_id", keep="first", maintain_order=True)
