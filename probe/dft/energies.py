"""Final energies: DFT where a conformer was recomputed, the backbone's where it was not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from probe import schemas, tables, weights
from probe.classifier import card as cards
from probe.classifier.shift import Shift
from probe.dft import recompute
from probe.errors import ProbeError

COLLECTED = Path("dft/collected.parquet")
"""In a library's folder: what other programs computed."""
AUDITED = Path("dft/audited.parquet")
"""In a library's folder: what its audits computed."""

MOLECULE = ["molecule_id", "composition", "charge", "multiplicity"]


def finish(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write energies.parquet, dft_failed.parquet and recomputed.json of the library in ``folder``.

    ``card`` is that of the checkpoint the library was screened with. Returns what recomputed.json
    has: the counts.

    Raises:
        ProbeError: the counts do not add up, or the lists are of another checkpoint; nothing has
            been written then.
    """
    cards.require_screened(card, folder)
    listed = pl.concat(
        tables.frame(folder / f"{verdict}.parquet", schemas.TRIAGED)
        for verdict in ("accept", "recompute")
    )
    names = {"source": "record", "reason": "why", "energy_ev": "mlip_ev"}
    rows = recompute.geometries(folder, listed).rename(names)
    computed = results(folder)
    known = rows.join(computed, on="conformer_id", how="left", maintain_order="left")
    plan = tables.frame(folder / recompute.PLAN, schemas.TO_COMPUTE, ["conformer_id", "shard"])
    final = _final(known.join(plan, on="conformer_id", how="left", maintain_order="left"), card)
    failed = final.filter(pl.col("converged") == pl.lit(value=False))
    counts = _counts(listed, final)
    record = cards.identity(card)
    energies = final.select(schemas.ENERGIES.names)
    tables.write(folder / "energies.parquet", energies.to_arrow(), schemas.ENERGIES, record)
    reasons = failed.with_columns(source="record").select(schemas.FAILED.names)
    tables.write(folder / "dft_failed.parquet", reasons.to_arrow(), schemas.FAILED, record)
    tables.write_json(folder / "recomputed.json", counts)
    return counts


def results(folder: Path) -> pl.DataFrame:
    """What recomputing gave so far (``schemas.COMPUTED``), each conformer once.

    An energy counts before none, one by the plan's method before another's, and what another
    program computed before what was computed here. Shards of an earlier, larger plan count, too:
    their energies are paid for.
    """
    method = tables.provenance(folder / recompute.PLAN).get("method")
    shards = sorted((folder / "dft").glob("[0-9]*.parquet"))
    paths = [folder / COLLECTED, *shards, folder / AUDITED]
    found = [tables.frame(path, schemas.COMPUTED) for path in paths if path.exists()]
    empty = pl.DataFrame(schemas.COMPUTED.empty_table())
    preferred = [pl.col("converged"), pl.col("method").eq_missing(method)]
    rows = pl.concat([empty, *found]).sort(preferred, descending=True, maintain_order=True)
    return rows.unique("conformer_id", keep="first", maintain_order=True)


def shifts(rows: pl.DataFrame, card: Mapping[str, Any]) -> pl.Series:
    """Reference less backbone, eV, for each conformer (numbers, charge).

    Null for an element that the checkpoint's shift does not know.
    """
    shift = Shift(**card["shift"])
    values = [
        shift.of(numbers, charge) if shift.covers(numbers) else None
        for numbers, charge in zip(rows["numbers"].to_list(), rows["charge"], strict=True)
    ]
    return pl.Series("shift", values, dtype=pl.Float64)


def _final(known: pl.DataFrame, card: Mapping[str, Any]) -> pl.DataFrame:
    """``known`` (both lists with results) with the columns of ``schemas.ENERGIES``."""
    level = weights.entry(card["backbone"]).method
    dft, mlip = pl.col("dft_energy_ev"), pl.col("mlip_ev")
    has_dft, has_mlip = dft.is_not_null(), mlip.is_not_null()
    program = pl.format("{} ({})", "method", "engine")
    comparable = pl.col("method") == level
    sent = pl.col("verdict") == "recompute"
    complete = known.with_columns(shifts(known, card)).with_columns(
        source=pl.when(has_dft).then(pl.lit("dft")).when(has_mlip).then(pl.lit("mlip")),
        method=pl.when(has_dft).then(program).when(has_mlip).then(pl.lit(card["backbone"])),
        energy_ev=pl.coalesce(dft, mlip),
        energy_shifted_ev=pl.when(has_dft & comparable)
        .then(dft - pl.col("shift"))
        .when(~has_dft)
        .then(mlip),
        p_unreliable=pl.when(~has_dft).then("p_unreliable"),
        reason=pl.when(sent & ~has_dft).then(pl.coalesce("reason", _not_done())),
        composition=pl.col("numbers").list.sort().cast(pl.List(pl.String)).list.join(","),
    )
    return _relative(complete)


def _not_done() -> pl.Expr:
    beyond = pl.when(pl.col("shard").is_null()).then(pl.lit("beyond the budget"))
    return beyond.otherwise(pl.lit("not computed yet, or its shard's part of the budget was spent"))


def _relative(rows: pl.DataFrame) -> pl.DataFrame:
    """Energies relative to the lowest of the molecule, by one source for all its conformers.

    DFT where one method has them all, otherwise the backbone where it has them all, otherwise
    nothing: what is left of the shift differs from molecule to molecule, and would enter between
    the conformers.
    """
    by_dft = pl.col("dft_energy_ev").is_not_null().all() & (pl.col("method").n_unique() == 1)
    scale = (
        pl.when(by_dft.over(MOLECULE))
        .then(pl.lit("dft"))
        .when(pl.col("mlip_ev").is_not_null().all().over(MOLECULE))
        .then(pl.lit("mlip"))
    )
    energy = (
        pl.when(pl.col("relative_scale") == "dft")
        .then("dft_energy_ev")
        .when(pl.col("relative_scale") == "mlip")
        .then("mlip_ev")
    )
    return rows.with_columns(relative_scale=scale).with_columns(
        relative_kcal=schemas.KCAL_PER_EV * (energy - energy.min().over(MOLECULE))
    )


def _counts(listed: pl.DataFrame, final: pl.DataFrame) -> dict[str, Any]:
    """How many energies come from where.

    Raises:
        ProbeError: a conformer is lost, or there twice.
    """
    sent = final.filter(verdict="recompute")
    n_sent_dft = sent["dft_energy_ev"].count()
    n_failed = sent.filter(converged=False).height
    n_left = sent.filter(pl.col("converged").is_null()).height
    counts = {
        "n_conformers": final.height,
        "n_recompute": sent.height,
        "n_dft": final.filter(source="dft").height,
        "n_failed": n_failed,
        "n_left": n_left,
        "n_mlip": final.filter(source="mlip").height,
        "n_without_energy": final["source"].null_count(),
        "core_hours_spent": float(final["dft_seconds"].sum()) / 3600,
    }
    whole = final["conformer_id"].n_unique() == final.height == listed.height
    if not whole or sent.height != n_sent_dft + n_failed + n_left:
        raise ProbeError(
            f"{listed.height} conformers are listed, {final.height} have a row; {sent.height} to "
            f"recompute, {n_sent_dft} with DFT, {n_failed} failed, {n_left} left; run triage again"
        )
    return counts
