"""Audit: accepted energies drawn at random, computed with DFT, held against what was promised."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.stats import binomtest

from probe import schemas, tables
from probe.classifier import card as cards
from probe.dft import cost, energies, recompute
from probe.errors import ProbeError

CONFIDENCE = 0.95
"""Of the interval (Clopper and Pearson), which is exact for conformers drawn at random."""


def draw(accepted: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """``n`` rows of ``accepted`` at random, or all; the order of the rows does not matter."""
    ordered = accepted.sort("conformer_id")
    chosen = np.random.default_rng(seed).permutation(ordered.height)[:n]
    return ordered.with_row_index("row").filter(pl.col("row").is_in(chosen.tolist())).drop("row")


def audit(
    folder: Path,
    card: Mapping[str, Any],
    n: int,
    seed: int,
    engine: str,
    store: Path,
    jobs: int,
) -> dict[str, Any]:
    """Recompute ``n`` accepted conformers of the library in ``folder``; write audit.json there.

    audit.parquet beside it has each of them, with its error: DFT, shifted to the backbone's scale,
    less the backbone, kcal/mol. The energies are final ones, too (``energies.AUDITED``). Call it
    from the main thread. Returns what audit.json has.

    Raises:
        ProbeError: nothing was accepted, the lists are of another checkpoint, or what
            ``recompute.resumed`` raises.
    """
    cards.require_screened(card, folder)
    accepted = tables.frame(folder / "accept.parquet", schemas.TRIAGED)
    if accepted.is_empty():
        raise ProbeError(f"{folder / 'accept.parquet'}: nothing was accepted, nothing to audit")
    method = recompute.method_of(card)
    drawn = recompute.geometries(folder, draw(accepted, n, seed))
    part = recompute.part_of(store, folder, "audit")
    hours = cost.core_hours(drawn["numbers"], method, drawn["multiplicity"])
    rows = drawn.with_columns(core_hours=hours)
    done, died = recompute.resumed(rows.to_dicts(), method, engine, part, jobs)
    computed = pl.DataFrame(pa.Table.from_pylist(done + died, schema=schemas.COMPUTED))
    _keep(computed, folder / energies.AUDITED)
    checked = _checked(drawn, computed, card)
    summary = tables.read_json(folder / "summary.json")
    record = {"seed": seed, "engine": engine, "method": method.name} | verdict(checked, summary)
    tables.write(folder / "audit.parquet", checked.to_arrow(), schemas.AUDITED, record)
    tables.write_json(folder / "audit.json", record)
    return record


def verdict(checked: pl.DataFrame, summary: Mapping[str, Any]) -> dict[str, Any]:
    """The unreliable share of ``checked`` (``schemas.AUDITED``) with its interval, and the promise.

    ``promised`` is the share that policy risk allows; with another policy nothing is promised,
    and ``expected`` alone, the mean p_unreliable, can be held against it. ``kept`` is None where
    the interval holds the promise, so that more conformers are needed.
    """
    known = checked.filter(pl.col("error_kcal").is_not_null())
    tolerance = float(summary["tolerance_kcal"])
    n_unreliable = int((known["error_kcal"].abs() > tolerance).sum())
    low, high = 0.0, 1.0
    if known.height:
        interval = binomtest(n_unreliable, known.height).proportion_ci(CONFIDENCE, "exact")
        low, high = float(interval.low), float(interval.high)
    promise = summary["promise"]
    promised = None if promise is None else float(promise["max_unreliable"])
    kept = None
    if promised is not None and not low <= promised < high:
        kept = high <= promised
    return {
        "n_drawn": checked.height,
        "n_checked": known.height,
        "n_without_error": checked.height - known.height,
        "tolerance_kcal": tolerance,
        "n_unreliable": n_unreliable,
        "unreliable": n_unreliable / known.height if known.height else None,
        "interval_95": [low, high],
        "expected": known["p_unreliable"].to_numpy().mean().item() if known.height else None,
        "promised": promised,
        "kept": kept,
    }


def in_words(record: Mapping[str, Any]) -> str:
    """One line for a person."""
    if not record["n_checked"]:
        return f"none of {record['n_drawn']} conformers could be checked"
    low, high = map(_percent, record["interval_95"])
    line = (
        f"{record['n_unreliable']} of {record['n_checked']} accepted energies are off by more than "
        f"{record['tolerance_kcal']:.3g} kcal/mol: {_percent(record['unreliable'])}, 95 % interval "
        f"{low} to {high}; expected by PROBE {_percent(record['expected'])}"
    )
    if record["n_without_error"]:
        line += f"; {record['n_without_error']} more have no DFT energy to compare with"
    if record["promised"] is None:
        return line
    outcome = {True: "kept", False: "broken", None: "not decided by so few"}[record["kept"]]
    return f"{line}; promised at most {_percent(record['promised'])}: {outcome}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _keep(computed: pl.DataFrame, path: Path) -> None:
    """Add ``computed`` to what earlier audits of the library computed, in ``path``."""
    before = [tables.frame(path, schemas.COMPUTED)] if path.exists() else []
    rows = pl.concat([computed, *before]).unique("conformer_id", keep="first", maintain_order=True)
    tables.write(path, rows.to_arrow(), schemas.COMPUTED, {})


def _checked(drawn: pl.DataFrame, computed: pl.DataFrame, card: Mapping[str, Any]) -> pl.DataFrame:
    found = computed.drop("method")
    known = drawn.rename({"reason": "why"}).join(found, on="conformer_id", maintain_order="left")
    shifted = known.with_columns(energies.shifts(known, card))
    error = pl.col("dft_energy_ev") - pl.col("shift") - pl.col("energy_ev")
    return shifted.with_columns(error_kcal=schemas.KCAL_PER_EV * error).select(
        schemas.AUDITED.names
    )
