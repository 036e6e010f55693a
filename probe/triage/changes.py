"""What changed in a library since its last screening, and why.

A screening is finished when its report is written; only then does it become the one that the
next is compared with. Its lists are kept in the library's ``history`` folder, and its record in a
file there that is replaced as a whole, so that a run that fails or is killed changes nothing.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from probe import schemas, tables
from probe.classifier import card as cards
from probe.errors import ProbeError
from probe.library import plan as planning
from probe.triage import pairs

TABLE, RECORD = "changes.parquet", "changes.json"
HISTORY, FINISHED = "history", "finished.json"
LISTS = ("accept", "recompute")
KEPT = 2
"""Screenings whose lists are kept: the last, and the one it was compared with."""

KINDS = {
    "new": "not in the last screening",
    "gone": "in the last screening only",
    "to recompute": "was accepted",
    "to accept": "was to be recomputed",
}
"""What became of a conformer."""
CAUSES = {
    "library": "the library's files changed",
    "ingest": "the settings of ingest changed: the molecule has another geometry",
    "versions": "the software changed",
    "backbone": "the backbone changed, and the checkpoint with it",
    "checkpoint": "the checkpoint changed",
    "cutoffs": "the settings of triage changed",
    "backbone and cutoffs": "both changed, and the lists do not tell which decided",
    "checkpoint and cutoffs": "both changed, and the lists do not tell which decided",
    "rounding": "nothing changed: its p_unreliable lies on a cutoff",
}
"""Why."""

IDENTITY = ("files", "ingest", "fingerprint", "checkpoint_sha256", "cutoffs", "versions")
"""Two screenings that are equal in these are one."""
COUNTS = ("n_records", "n_rejected", "n_conformers", "n_accept", "n_recompute", "n_refused")
SUMMARY = (
    *("library", *COUNTS, "backbone", "fingerprint", "checkpoint"),
    *("cutoffs", "tolerance_kcal", "accept_up_to_p", "policy", "versions"),
)
"""What is taken over from summary.json."""

ROW = ["molecule_id", "source", "smiles", "n_atoms", "charge", "multiplicity"]
ANSWERS = ["verdict", "reason", "p_unreliable", "energy_ev"]


def find(folder: Path, checkpoint: str) -> dict[str, Any]:
    """Compare the triaged library in ``folder`` with its last screening; write table and record.

    The last screening is the latest finished one that was of other files, settings, networks or
    versions than this one. Without one, the table is empty and the record's ``before`` is None.

    Returns the record.

    Raises:
        ProbeError: a file is missing or broken.
    """
    now = _screening(folder, cards.resolve(checkpoint))
    before = next((each for each in reversed(finished(folder)) if each["id"] != now["id"]), None)
    same: int | None
    if before is None:
        rows, same = pl.DataFrame(schemas.CHANGES.empty_table()), None
    else:
        rows, same = compare(_lists(_kept(folder, before)), _lists(folder), before, now)
    record: dict[str, Any] = {
        "now": now,
        "before": before,
        "n_same": same,
        "kinds": {
            kind: dict(rows.filter(kind=kind)["cause"].value_counts(sort=True).iter_rows())
            for kind in KINDS
        },
    }
    tables.write(folder / TABLE, rows.to_arrow(), schemas.CHANGES, {"library": now["library"]})
    tables.write_json(folder / RECORD, record)
    return record


def compare(
    before: pl.DataFrame, now: pl.DataFrame, was: Mapping[str, Any], is_: Mapping[str, Any]
) -> tuple[pl.DataFrame, int]:
    """What differs between two screenings' conformers, and how many got the same verdict.

    ``was`` and ``is_`` are their records. Rows (``schemas.CHANGES``) are in the order of
    ``KINDS``, the largest changes in p_unreliable first.
    """
    joined = pairs.matched({"now": now, "before": before}, ANSWERS, ROW)
    changed = joined.with_columns(kind=_kind()).drop_nulls("kind")
    judged = changed.with_columns(cause=_cause(changed, before, now, was, is_))
    rows = pairs.in_order(judged, KINDS, "now", "before").select(schemas.CHANGES.names)
    return rows, joined.height - rows.height


def keep(folder: Path) -> dict[str, Any]:
    """Make the screening in ``folder``, now finished, the last one; again is once.

    Returns its record.

    Raises:
        ProbeError: `find` has not been run for it.
    """
    screening: dict[str, Any] = tables.read_json(folder / RECORD)["now"]
    earlier = finished(folder)
    if not earlier or earlier[-1]["id"] != screening["id"]:
        place = _kept(folder, screening)
        for name in LISTS:
            _link(folder / f"{name}.parquet", place / f"{name}.parquet")
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        earlier.append(screening | {"at": at})
        tables.write_json(folder / HISTORY / FINISHED, {"screenings": earlier})
    known = {each["id"] for each in earlier[-KEPT:]}
    for place in (folder / HISTORY).iterdir():
        if place.is_dir() and place.name not in known:
            shutil.rmtree(place)
    return earlier[-1]


def finished(folder: Path) -> list[dict[str, Any]]:
    """The records of the finished screenings of the library in ``folder``, the last one last.

    Raises:
        ProbeError: their file is broken.
    """
    path = folder / HISTORY / FINISHED
    if not path.exists():
        return []
    try:
        return list(tables.read_json(path)["screenings"])
    except KeyError as error:
        raise ProbeError(f"{path}: not a history of screenings; remove {path.parent}") from error


def in_words(record: Mapping[str, Any]) -> str:
    """What `find` found, in a line."""
    now, before = record["now"], record["before"]
    if before is None:
        return (
            f"{now['library']}: first screening: {now['n_conformers']:,} conformers, "
            f"{now['n_accept']:,} accepted, {now['n_recompute']:,} to recompute"
        )
    found = [
        f"{sum(causes.values()):,} {kind} ({', '.join(causes)})"
        for kind, causes in record["kinds"].items()
        if causes
    ]
    said = ", ".join(found) or "nothing"
    return f"{now['library']}: changed since {before['at']}: {said}"


def _screening(folder: Path, checkpoint: Path) -> dict[str, Any]:
    """The record of the triaged library in ``folder``: what it was made from, and its counts."""
    summary = tables.read_json(folder / "summary.json")
    if missing := [key for key in SUMMARY if key not in summary]:
        raise ProbeError(f"{folder}/summary.json: no {', '.join(missing)}; run the triage again")
    plan = planning.load(folder / "plan.json")
    files = [[source.name, source.size, source.mtime_ns] for source in plan.sources]
    ingested = tables.provenance(plan.files(folder / "conformers")[0])
    record = {
        **{key: summary[key] for key in SUMMARY},
        "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "n_files": len(files),
        "n_bytes": sum(source.size for source in plan.sources),
        "ingest": ingested.get("options"),
        "checkpoint_sha256": cards.digest(checkpoint),
    }
    identity = json.dumps({key: record[key] for key in IDENTITY}, sort_keys=True)
    return {"id": hashlib.sha256(identity.encode()).hexdigest()[:16], **record}


def _lists(folder: Path) -> pl.DataFrame:
    columns = ["conformer_id", *ROW, *ANSWERS]
    paths = [folder / f"{name}.parquet" for name in LISTS]
    return pl.concat([tables.frame(path, schemas.TRIAGED, columns) for path in paths])


def _kind() -> pl.Expr:
    before, now = pl.col("verdict_before"), pl.col("verdict_now")
    return (
        pl.when(before.is_null())
        .then(pl.lit("new"))
        .when(now.is_null())
        .then(pl.lit("gone"))
        .when(before != now)
        .then(pl.concat_str(pl.lit("to "), now))
    )


def _cause(
    changed: pl.DataFrame,
    before: pl.DataFrame,
    now: pl.DataFrame,
    was: Mapping[str, Any],
    is_: Mapping[str, Any],
) -> pl.Expr:
    """Why each of ``changed`` did."""
    molecule = ["molecule_id", "smiles"]
    known = pl.concat(
        [
            changed.filter(kind=kind).join(other, on=molecule, how="semi").select("conformer_id")
            for kind, other in (("new", before), ("gone", now))
        ]
    )["conformer_id"]
    is_known = pl.col("conformer_id").is_in(known.implode())
    return (
        pl.when(pl.col("kind").is_in(["new", "gone"]))
        .then(_why_there(is_known, was, is_))
        .otherwise(_why_judged(was, is_))
    )


def _why_there(is_known: pl.Expr, was: Mapping[str, Any], is_: Mapping[str, Any]) -> pl.Expr:
    """Why a conformer is new or gone; ``is_known``: its molecule is in both screenings."""
    library = pl.lit("library")
    other = next((key for key in ("ingest", "versions") if was[key] != is_[key]), None)
    if other is None:
        return library
    if was["files"] == is_["files"]:
        return pl.lit(other)
    return pl.when(is_known).then(pl.lit(other)).otherwise(library)


def _why_judged(was: Mapping[str, Any], is_: Mapping[str, Any]) -> pl.Expr:
    """Why a conformer of both has another verdict.

    Where the scores and the line between the lists both changed, the scores did it if the old
    line would have parted them so, and the settings otherwise. That can be said where
    p_unreliable decided both times, and means the same.
    """
    scores = _of_scores(was, is_)
    if was["cutoffs"] == is_["cutoffs"]:
        return pl.lit(scores or _of_nothing(was, is_))
    if scores is None:
        return pl.lit("cutoffs")
    both = pl.lit(f"{scores} and cutoffs")
    if was["tolerance_kcal"] != is_["tolerance_kcal"] or was["accept_up_to_p"] is None:
        return both
    by_probe = pl.all_horizontal(
        pl.col(f"reason_{side}").str.starts_with("p_unreliable ") for side in ("before", "now")
    )
    would_accept = pl.col("p_unreliable_now") <= was["accept_up_to_p"]
    by_scores = would_accept == (pl.col("verdict_now") == "accept")
    decided = pl.when(by_scores).then(pl.lit(scores)).otherwise(pl.lit("cutoffs"))
    return pl.when(by_probe).then(decided).otherwise(both)


def _of_scores(was: Mapping[str, Any], is_: Mapping[str, Any]) -> str | None:
    if was["fingerprint"] != is_["fingerprint"]:
        return "backbone"
    return "checkpoint" if was["checkpoint_sha256"] != is_["checkpoint_sha256"] else None


def _of_nothing(was: Mapping[str, Any], is_: Mapping[str, Any]) -> str:
    """Of a verdict that changed though neither scores nor settings did."""
    if is_["policy"] == "budget" and was["files"] != is_["files"]:
        return "library"  # others take or leave the budget
    return "versions" if was["versions"] != is_["versions"] else "rounding"


def _kept(folder: Path, screening: Mapping[str, Any]) -> Path:
    return folder / HISTORY / str(screening["id"])


def _link(path: Path, kept: Path) -> None:
    """Let ``kept`` hold what ``path`` holds now: lists are replaced, never written into."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    linked = kept.with_suffix(".new")
    linked.unlink(missing_ok=True)
    try:
        os.link(path, linked)
    except OSError:  # a file system without links
        shutil.copyfile(path, linked)
    linked.replace(kept)
    linked.unlink(missing_ok=True)  # where the two were one file, replacing did nothing
