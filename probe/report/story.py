"""Everything that a screening knows of one conformer."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ase.data import chemical_symbols

from probe import schemas, tables
from probe.errors import ProbeError
from probe.library.plan import Plan, load

LISTS = ("accept", "recompute")
SHOWN = 5
"""Names that are suggested, or conformers that an ambiguous one may mean."""


@dataclass(frozen=True)
class Story:
    """One conformer: its rows of the tables of its library, and its atoms, most important first.

    ``geometry`` is a row of ``schemas.CONFORMERS``, ``triaged`` of ``schemas.TRIAGED``, ``scored``
    of ``schemas.SCORES``, ``embedded`` of ``schemas.EMBEDDED``, ``final`` of ``schemas.ENERGIES``
    (None before `probe energies`).
    """

    library: str
    geometry: dict[str, Any]
    triaged: dict[str, Any]
    scored: dict[str, Any]
    embedded: dict[str, Any]
    final: dict[str, Any] | None

    @property
    def atoms(self) -> list[tuple[int, str, float]]:
        """Number (from 1), symbol and importance of each atom; nothing where there is none."""
        shares = self.scored["importance"]
        if shares is None:
            return []
        symbols = [chemical_symbols[number] for number in self.geometry["numbers"]]
        order = np.argsort(-np.asarray(shares), kind="stable")
        return [(int(i) + 1, symbols[i], float(shares[i])) for i in order]

    def record(self) -> dict[str, Any]:
        """All of it but the molecular embedding, for a program to read."""
        scored = {key: value for key, value in self.scored.items() if key != "embedding"}
        atoms = [{"atom": n, "element": symbol, "importance": x} for n, symbol, x in self.atoms]
        return {
            "library": self.library,
            **self.geometry,
            **scored,
            **self.triaged,
            "cache_part": self.embedded["part"],
            "final": self.final,
            "atoms": atoms,
        }


def find(folders: list[Path], name: str) -> list[Story]:
    """The story of conformer ``name`` in each of the triaged libraries in ``folders`` that has it.

    ``name`` is an id, the beginning of one, or a molecule's name, which must mean one conformer.

    Raises:
        ProbeError: no library has it (the message names the nearest), or it means several.
    """
    listed = {folder: _listed(folder) for folder in folders}
    found = {folder: _matches(rows, name) for folder, rows in listed.items()}
    ids = sorted({one for rows in found.values() for one in rows["conformer_id"]})
    if len(ids) > 1:
        shown = ", ".join(ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")
        raise ProbeError(f"{name}: means {len(ids)} conformers; give the id of one: {shown}")
    if not ids:
        raise ProbeError(_missing(name, pl.concat(listed.values())))
    return [_story(folder, rows.row(0, named=True)) for folder, rows in found.items() if len(rows)]


def svg(geometry: Mapping[str, Any], scored: Mapping[str, Any]) -> str:
    """A drawing of the molecule in a row of conformers, coloured by the importance in ``scored``.

    Raises:
        ProbeError: there is nothing to draw.
    """
    from probe.report import drawings  # noqa: PLC0415 (slow import)

    if geometry["numbers"] is None:
        raise ProbeError(f"{geometry['source']}: no molecule to draw")
    found = drawings.matched(geometry["smiles"], dict(geometry), dict(scored))
    molecule, importance, _ = found
    if molecule is None:
        raise ProbeError(f"{geometry['conformer_id']}: its molecule cannot be drawn")
    drawn, _ = drawings.draw(molecule, importance)
    return str(drawn).replace("var(--ink)", "#000000")


def _listed(folder: Path) -> pl.DataFrame:
    return pl.concat([tables.frame(folder / f"{name}.parquet", schemas.TRIAGED) for name in LISTS])


def _matches(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """By id, else by name, else by a further name, else by the beginning of the id."""
    for condition in (
        pl.col("conformer_id") == name,
        pl.col("molecule_id") == name,
        pl.format("; {}; ", "synonyms").str.contains(f"; {name}; ", literal=True),
        pl.col("conformer_id").str.starts_with(name),
    ):
        found = rows.filter(condition)
        if len(found):
            return found
    return rows.clear()


def _missing(name: str, rows: pl.DataFrame) -> str:
    known = rows["molecule_id"].drop_nulls().unique().sort().to_list()
    near = difflib.get_close_matches(name, known, n=SHOWN, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`probe select` lists the ids"
    return f"{name}: no conformer of this id or name among {rows.height:,}; {hint}"


def _story(folder: Path, triaged: dict[str, Any]) -> Story:
    plan, name = load(folder / "plan.json"), triaged["conformer_id"]
    return Story(
        library=plan.library,
        geometry=_row(plan, folder / "conformers", schemas.CONFORMERS, name),
        triaged=triaged,
        scored=_row(plan, folder / "scores", schemas.SCORES, name),
        embedded=_row(plan, folder / "embedded", schemas.EMBEDDED, name),
        final=_final(folder / "energies.parquet", name),
    )


def _final(path: Path, name: str) -> dict[str, Any] | None:
    """The final energy of conformer ``name``; None where no table has it yet."""
    if not path.exists():
        return None
    found = tables.frame(path, schemas.ENERGIES).filter(conformer_id=name).to_dicts()
    return found[0] if found else None


def _row(plan: Plan, folder: Path, schema: Any, name: str) -> dict[str, Any]:  # noqa: ANN401
    """The row of conformer ``name`` in the first shard that has it."""
    for path in plan.files(folder):
        ids = tables.frame(path, schema, ["conformer_id"])["conformer_id"]
        if name in ids:
            row: dict[str, Any] = tables.frame(path, schema).row(ids.index_of(name), named=True)
            return row
    raise ProbeError(f"{folder}: conformer {name} is listed but is in no shard; run triage again")
