"""The section on what changed since the last screening of the library."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from probe import schemas, tables
from probe.report.material import Material
from probe.triage import changes

LISTED = 40
"""Conformers of each kind that the page lists; the table has all of them."""
COUNTED = {
    "n_files": "Files",
    "n_records": "Records read",
    "n_rejected": "Records rejected",
    "n_conformers": "Conformers",
    "n_accept": "Accepted",
    "n_recompute": "To recompute",
    "n_refused": "Refused by the backbone",
}
COLUMNS = (
    *("molecule_id", "smiles", "kind", "cause", "verdict_before", "verdict_now"),
    *("reason_before", "reason_now"),
)

Row = tuple[str, str, str, str]
"""What, before, now, and the difference."""


def section(material: Material) -> dict[str, Any] | None:
    """What the section shows; None where there is no earlier screening."""
    folder = material.screening.inputs.triage
    path = folder / changes.RECORD
    record = tables.read_json(path) if path.exists() else None
    if record is None or record["before"] is None:
        return None
    before, now = record["before"], record["now"]
    rows = tables.frame(folder / changes.TABLE, schemas.CHANGES, COLUMNS)
    return {
        "at": before["at"],
        "counted": list(_counted(before, now)),
        "made": list(_made(before, now)),
        "causes": [
            (changes.KINDS[kind], kind, cause, changes.CAUSES[cause], n)
            for kind, causes in record["kinds"].items()
            for cause, n in causes.items()
        ],
        "n_same": record["n_same"],
        "totals": {kind: sum(causes.values()) for kind, causes in record["kinds"].items()},
        "lists": {
            kind: chosen[:LISTED].to_dicts()
            for kind in changes.KINDS
            if (chosen := rows.filter(kind=kind)).height
        },
    }


def _counted(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Row]:
    for key, title in COUNTED.items():
        change = now[key] - before[key]
        said = f"{change:+,}".replace("-", "−") if change else "same"
        yield title, f"{before[key]:,}", f"{now[key]:,}", said


def _made(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Row]:
    """What the two were made with and from."""
    pairs = {
        "Library, bytes": [f"{each['n_bytes']:,}" for each in (before, now)],
        "Backbone": [f"{each['backbone']} ({each['fingerprint']})" for each in (before, now)],
        "PROBE checkpoint": [
            f"{each['checkpoint']} ({each['checkpoint_sha256'][:8]})" for each in (before, now)
        ],
    }
    for title, (first, second) in pairs.items():
        yield title, first, second, "same" if first == second else "changed"
    for name in ("ingest", "cutoffs", "versions"):
        was, is_ = before[name] or {}, now[name] or {}
        for key in sorted(was.keys() | is_.keys()):
            if was.get(key) != is_.get(key):
                yield f"{name}: {key}", _said(was.get(key)), _said(is_.get(key)), "changed"


def _said(value: object) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)
