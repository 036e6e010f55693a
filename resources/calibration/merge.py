"""Merges newly labelled conformers into a calibration set.

    python resources/calibration/merge.py OLD.parquet NEW.parquet OUT.parquet

OLD is a set as it is kept here. NEW is what `probe label` wrote; while it still writes, what its
journal holds counts as well. Conformers without an energy, of reserved molecules and those that
came before, themselves or nearly so, are left out, OLD first, and any other row that cannot be
right stops the merge. The rows are sorted, so the same files make the same OUT.
"""

import math
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rdkit import Chem
from scipy.spatial.distance import pdist

from probe import schemas, tables
from probe.classifier import labels
from probe.classifier.labels import canonical, reserved
from probe.dft import scf
from probe.dft.journal import Journal
from probe.errors import ProbeError

ORIGIN = {"method": scf.METHOD, **asdict(scf.DEFAULT)}
PARTS = ("e_scf_hartree", "e_d3_hartree", "e_srb_hartree")
CLOSEST = 0.7
"""Å between two atoms of a row that can be right; geometries.py makes none closer."""

ALIKE = 0.2
"""Å; rows of one molecule and one kind of geometry are one conformer if no distance between two
atoms differs by more, as where the same geometry was made twice and rounding led elsewhere."""

Row = dict[str, Any]


def old_rows(path: Path) -> list[Row]:
    """Rows of a set; where none was recorded, the remedy is None.

    Raises:
        ProbeError: ``path`` is no labelled set, or one with other settings.
    """
    known = tables.provenance(path)
    if {key: known.get(key, value) for key, value in ORIGIN.items()} != ORIGIN:
        raise ProbeError(f"{path}: not labelled with the default settings of probe label")
    ids = labels.read(path).conformer_ids
    rows = tables.open_parquet(path).read().to_pylist()
    return [
        {"converged": True, "remedy": None} | row | {"conformer_id": name}
        for name, row in zip(ids, rows, strict=True)
    ]


def new_rows(path: Path) -> list[Row]:
    """Rows of what `probe label` wrote to ``path`` and of its journal, as far as there are any.

    Both are read from a copy, as a run may hold them.

    Raises:
        ProbeError: there is neither, or they are of a run with other settings.
    """
    journal = path.with_name(f"{path.name}.journal")
    there = [file for file in (journal, path) if file.exists()]
    if not there:
        raise ProbeError(f"{path}: no such file, and no journal of it")
    with TemporaryDirectory() as folder:
        for file in there:
            shutil.copy(file, folder)
        with Journal(Path(folder) / path.name, schemas.REFERENCES, ORIGIN) as held:
            return list(held.rows.values())


def merged(rows: Iterable[Row]) -> tuple[list[Row], Counter[str]]:
    """The ``rows`` to keep, sorted, and of how many it is not so, by reason."""
    kept: list[Row] = []
    ids: set[str] = set()
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for row in rows:
        others = alike[row["smiles"], row["geometry"]]
        if not row["converged"]:
            left_out["not converged"] += 1
        elif reserved(row["smiles"]):
            left_out["reserved"] += 1
        elif row["conformer_id"] in ids:
            left_out["there before"] += 1
        elif any(apart(row, other) <= ALIKE for other in others):
            left_out["nearly there before"] += 1
        else:
            kept.append(row)
            ids.add(row["conformer_id"])
            others.append(row)
    order = ("smiles", "geometry", "conformer_id")
    return sorted(kept, key=lambda row: [row[name] for name in order]), left_out


def apart(one: Row, other: Row) -> float:
    """By how much (Å) a distance between two atoms differs at most; infinite for other atoms."""
    if one["numbers"] != other["numbers"]:
        return math.inf
    lengths, others = (pdist(np.reshape(row["positions"], (-1, 3))) for row in (one, other))
    return float(np.abs(lengths - others).max(initial=0.0))


def problems(row: Row) -> Iterator[str]:
    """Why ``row`` cannot be right."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(row["smiles"]))
    if canonical(row["smiles"]) != row["smiles"]:
        yield "the SMILES is not canonical"
    if row["numbers"] != [atom.GetAtomicNum() for atom in molecule.GetAtoms()]:
        yield "the atoms are not those of the SMILES"
    if row["charge"] != Chem.GetFormalCharge(molecule):
        yield "the charge is not that of the SMILES"
    if (sum(row["numbers"]) - row["charge"]) % 2:
        yield "the number of electrons is odd"
    energy = sum(row[part] for part in PARTS) * scf.EV_PER_HARTREE
    if not math.isclose(energy, row["energy_ev"], rel_tol=0, abs_tol=1e-9):
        yield "the energy is not the sum of its parts"
    positions = np.array(row["positions"])
    if len(positions) != 3 * len(row["numbers"]) or not np.isfinite(positions).all():
        yield "the coordinates are not three finite numbers an atom"
    elif pdist(positions.reshape(-1, 3)).min(initial=np.inf) <= CLOSEST:
        yield f"two atoms are within {CLOSEST} Å"


def main(old: Path, new: Path, out: Path) -> None:
    """Write ``out``.

    Raises:
        ProbeError: a file is not what it should be, or a row cannot be right.
    """
    before, added = old_rows(old), new_rows(new)
    rows, left_out = merged([*before, *added])
    wrong = [f"{row['smiles']}, {row['geometry']}: {why}" for row in rows for why in problems(row)]
    if wrong:
        raise ProbeError("\n".join(["rows that cannot be right; take them out", *wrong]))
    tables.write(out, rows, schemas.REFERENCES, ORIGIN)
    reasons = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items())) or "none"
    molecules = len({row["smiles"] for row in rows})
    print(f"{out}: {len(rows)} conformers of {molecules} molecules")
    print(f"{len(before)} old, {len(added)} new; left out: {reasons}")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except ProbeError as error:
        sys.exit(str(error))
