"""Recomputing: the recompute list of a library, worst first, in shards of equal cost.

Finished conformers are kept in a store that libraries share, by content: another list, another
budget or another library computes nothing twice, and a run that was stopped goes on where it was.
"""

import hashlib
import heapq
import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from probe import schemas, tables, weights
from probe.dft import cost, engines, methods, workers
from probe.dft.journal import Journal, Row
from probe.dft.methods import Method
from probe.errors import ProbeError
from probe.library import plan as planning

PLAN = Path("dft/plan.parquet")
"""In a library's folder."""


@dataclass(frozen=True)
class Settings:
    """How a recompute list is cut up; mirrors keys of ``recompute:`` in the configuration."""

    budget_core_hours: float | None = None
    shard_core_hours: float = 8.0


@dataclass(frozen=True)
class Outcome:
    """Conformers of a shard with an energy, without one for a reason, and not yet done.

    Of those that failed, ``n_died`` ended their worker process, and are tried again by the next
    run; the others are not.
    """

    n_computed: int
    n_failed: int
    n_left: int
    n_died: int = 0


def method_of(card: Mapping[str, Any]) -> Method:
    """What the backbone of a checkpoint was trained on.

    Raises:
        ProbeError: it is none that can be recomputed with.
    """
    return methods.named(weights.entry(card["backbone"]).method)


def shards(folder: Path, method: Method, settings: Settings) -> pl.DataFrame:
    """Write ``PLAN`` of the triaged library in ``folder``: who is computed in which shard.

    Worst first: what PROBE gave no number, then by falling p_unreliable. Conformers are taken while
    their estimated cost is within the budget, and dealt to shards of equal cost, so that each
    shard begins with the worst.

    Raises:
        ProbeError: the library is not triaged, or lists and conformers do not go together.
    """
    listed = tables.frame(folder / "recompute.parquet", schemas.TRIAGED)
    rows = geometries(folder, listed)
    hours = cost.core_hours(rows["numbers"], method, rows["multiplicity"])
    worst_first = rows.with_columns(core_hours=hours).sort(
        "p_unreliable", descending=True, nulls_last=False, maintain_order=True
    )
    expected = worst_first["core_hours"].fill_null(0.0)
    limit = settings.budget_core_hours
    n_within = worst_first.height if limit is None else int((expected.cum_sum() <= limit).sum())
    chosen = expected[:n_within].to_list()
    n_shards = math.ceil(sum(chosen) / settings.shard_core_hours)
    dealt = _dealt(chosen, max(min(n_shards, n_within), 1))
    planned = worst_first.with_columns(
        shard=pl.Series(dealt + [None] * (worst_first.height - n_within), dtype=pl.Int32)
    ).select(schemas.TO_COMPUTE.names)
    record = {
        "method": method.name,
        "budget_core_hours": limit,
        "n_shards": max(dealt, default=-1) + 1,
    }
    tables.write(folder / PLAN, planned.to_arrow(), schemas.TO_COMPUTE, record)
    return planned


def planned(folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The plan of ``folder`` (``schemas.TO_COMPUTE``), and what it was made with.

    Raises:
        ProbeError: there is none.
    """
    record = _record(folder)
    return tables.frame(folder / PLAN, schemas.TO_COMPUTE), record


def n_shards(folder: Path) -> int:
    """How many shards the plan of ``folder`` has.

    Raises:
        ProbeError: there is none.
    """
    return int(_record(folder)["n_shards"])


def shard_path(folder: Path, shard: int) -> Path:
    """Where what a shard gave is written."""
    return folder / "dft" / f"{shard:05d}.parquet"


def part_of(store: Path, folder: Path, work: str) -> Path:
    """The file of ``store`` for ``work`` on the library in ``folder``.

    No other library has it, even one of the same name in another project.
    """
    place = folder.resolve()
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:8]
    return store / f"{place.name}-{digest}-{work}.parquet"


def geometries(folder: Path, listed: pl.DataFrame) -> pl.DataFrame:
    """``listed`` (``schemas.TRIAGED``) with numbers and positions, in its order.

    Raises:
        ProbeError: a conformer of the list is not among those of the library.
    """
    plan = planning.load(folder / "plan.json")
    wanted = listed.select("conformer_id")
    found = pl.concat(
        tables.frame(path, schemas.CONFORMERS, ["conformer_id", "numbers", "positions"]).join(
            wanted, on="conformer_id", how="semi"
        )
        for path in plan.files(folder / "conformers")
    ).unique("conformer_id")
    if found.height != wanted["conformer_id"].n_unique():
        raise ProbeError(
            f"{folder}: {wanted.height - found.height} listed conformers are not in its shards; "
            "run the triage again"
        )
    return listed.join(found, on="conformer_id", maintain_order="left")


def compute(folder: Path, shard: int, engine: str, store: Path, jobs: int) -> Outcome:
    """Compute shard ``shard`` (from 0) of the plan of ``folder``, and write its results.

    No new conformer is started once the shard's part of the budget is spent. Call it from the
    main thread.

    Raises:
        ProbeError: there is no plan or no such shard, the engine is not there, the store cannot
            be written to, or the run was stopped (Ctrl-C, SIGTERM).
    """
    engines.require(engine)
    plan, record = planned(folder)
    rows = plan.filter(shard=shard).to_dicts()
    if shard not in range(record["n_shards"]):
        raise ProbeError(f"{folder / PLAN}: has {record['n_shards']} shards, and {shard} is none")
    allowance = _allowance(plan, shard, record["budget_core_hours"])
    method = methods.named(record["method"])
    part = part_of(store, folder, f"{shard:05d}")
    done, died = resumed(rows, method, engine, part, jobs, allowance)
    tables.write(shard_path(folder, shard), done + died, schemas.COMPUTED, record)
    n_computed, n_tried = sum(row["converged"] for row in done), len(done) + len(died)
    return Outcome(n_computed, n_tried - n_computed, len(rows) - n_tried, len(died))


def resumed(
    rows: Sequence[Row],
    method: Method,
    engine: str,
    part: Path,
    jobs: int,
    allowance_hours: float | None = None,
) -> tuple[list[Row], list[Row]]:
    """What the store holds of ``rows`` or now gets, in their order (``schemas.COMPUTED``).

    And those that ended their worker process: the store does not keep them, so that the next run
    tries them again, perhaps with more memory. ``part`` is the file that this run adds to, in a
    folder of the store, below which every program and method has its own. Raises what ``compute``
    does.
    """
    origin = engines.origin(engine, method)
    place = part.parent / re.sub(r"[^A-Za-z0-9-]+", "-", f"{engine}-{method.name}").strip("-")
    tables.require_writable(place, "choose another place for the store")
    wanted = {row["conformer_id"] for row in rows}
    known = _known(place, origin, wanted)
    with (
        workers.stoppable(),
        Journal(place / part.name, schemas.COMPUTED, origin) as journal,
    ):
        done = known | journal.rows
        died: list[Row] = []
        left = [row for row in rows if row["conformer_id"] not in done]
        _say(f"{len(left)} conformers to compute, {len(rows) - len(left)} done before")

        def affordable() -> bool:
            finished = [*(done[name] for name in wanted & done.keys()), *died]
            spent = sum(row["dft_seconds"] for row in finished)
            return allowance_hours is None or spent < 3600 * allowance_hours

        expected = {row["conformer_id"]: row["core_hours"] or 1e-6 for row in left}
        task = partial(engines.compute, method=method, engine=engine)
        with workers.pool() as pool:
            results = workers.computed(pool, jobs, left, task, affordable, _say)
            for found in workers.progress(results, expected, _say):
                if isinstance(found, workers.Died):
                    died.append(engines.died(found, method, engine))
                    continue
                journal.append(found)
                done[found["conformer_id"]] = found
        journal.finish(list(journal.rows.values()))
    return [done[row["conformer_id"]] for row in rows if row["conformer_id"] in done], died


def _dealt(hours: Sequence[float], n_shards: int) -> list[int]:
    """The shard of each conformer: in turn, to the one with the least so far."""
    heap = [(0.0, shard) for shard in range(n_shards)]
    dealt = []
    for cost_of_it in hours:
        so_far, shard = heap[0]
        heapq.heapreplace(heap, (so_far + cost_of_it, shard))
        dealt.append(shard)
    return dealt


def _record(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    if not path.exists():
        raise ProbeError(f"{path}: no such file; make it with `probe shards {folder}`")
    return tables.provenance(path)


def _allowance(plan: pl.DataFrame, shard: int, budget: float | None) -> float | None:
    """Core-hours that a shard may take: its part of the budget, by the estimates."""
    if budget is None:
        return None
    chosen = plan.filter(pl.col("shard").is_not_null())
    total, part = (float(rows["core_hours"].sum()) for rows in (chosen, chosen.filter(shard=shard)))
    return budget * part / total if total else None  # without a basis it costs nothing to say so


def _known(place: Path, origin: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Row]:
    """What the store has of ``wanted``, finished or in journals of runs that stopped or go on."""
    found: dict[str, Row] = {}
    names = {path.name.removesuffix(".journal") for path in place.glob("*.parquet*")}
    for name in sorted(names):
        found |= Journal(place / name, schemas.COMPUTED, origin).peek(wanted)
    return found


def _say(text: str) -> None:
    print(f"recompute: {text}", file=sys.stderr, flush=True)
