"""Labelled sets: conformers with reference energies."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rdkit import Chem

from probe import schemas, tables
from probe.backbones import Geometry
from probe.conformers.conformer import conformer_id, rounded
from probe.conformers.molecules import of_smiles
from probe.errors import ProbeError

REQUIRED = ("smiles", "numbers", "positions", "charge", "energy_ev")


@dataclass(frozen=True)
class Labels:
    """M conformers: ids, canonical SMILES (the molecule), geometries, ``energy_ev`` [M]."""

    conformer_ids: tuple[str, ...]
    smiles: tuple[str, ...]
    geometries: tuple[Geometry, ...]
    energy_ev: NDArray[np.float64]
    sha256: str

    def __len__(self) -> int:
        return len(self.conformer_ids)


def read(path: Path) -> Labels:
    """The labelled set in ``path`` (columns of ``schemas.LABELS``; singlets).

    Rows whose column ``converged``, if there is one, is false are left out.

    Raises:
        ProbeError: the file is not such a table, or a row lacks a finite reference energy,
            a SMILES or coordinates: a missing reference is an error, never a label.
    """
    rows = _converged(path)
    if not rows:
        raise ProbeError(f"{path}: holds no labels")
    geometries = []
    for record, row in rows.items():
        problem = _problem(row)
        if problem:
            raise ProbeError(f"{path}: row {record} {problem}; mend it or take it out")
        geometries.append(
            Geometry(
                numbers=np.array(row["numbers"], dtype=np.uint8),
                positions=rounded(row["positions"]).reshape(-1, 3),
                charge=int(row["charge"]),
            )
        )
    return Labels(
        conformer_ids=tuple(
            conformer_id(g.numbers, g.positions, g.charge, g.multiplicity) for g in geometries
        ),
        smiles=tuple(canonical(row["smiles"]) for row in rows.values()),
        geometries=tuple(geometries),
        energy_ev=np.array([row["energy_ev"] for row in rows.values()]),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def canonical(smiles: str) -> str:
    """RDKit's canonical form: one molecule, one text. What RDKit cannot read stays as it is."""
    molecule = of_smiles(smiles)
    return smiles if molecule is None else str(Chem.MolToSmiles(molecule))


def reserved(smiles: str) -> bool:
    """Whether a molecule belongs to the fifth of chemical space that is never trained on.

    The choice is a hash of the canonical SMILES, so it is the same for every set, and any
    checkpoint can be evaluated on molecules that none was fitted to.
    """
    return int(hashlib.sha256(smiles.encode()).hexdigest()[:8], 16) % 5 == 0


def in_share(smiles: str, purpose: str, share: float) -> bool:
    """Whether a molecule belongs to the ``share`` of chemical space that is set aside.

    Like ``reserved`` it is a hash, so a molecule stays on its side while a set grows; shares of
    different ``purpose`` are independent.
    """
    digest = hashlib.sha256(f"{purpose}:{smiles}".encode()).hexdigest()
    return int(digest[:8], 16) < share * 16**8


def _converged(path: Path) -> dict[int, dict[str, Any]]:
    """Rows of ``path`` by number (from 1), without those whose calculation did not converge."""
    rows = tables.read(path, schemas.LABELS, REQUIRED).to_pylist()
    kept = [True] * len(rows)
    if "converged" in tables.open_parquet(path).schema_arrow.names:
        flags = tables.read(path, schemas.REFERENCES, ["converged"])["converged"].to_pylist()
        kept = [flag is not False for flag in flags]
    if not all(kept):
        print(
            f"{path}: {kept.count(False)} of {len(rows)} conformers did not converge; left out",
            file=sys.stderr,
        )
    return {number: row for number, row in enumerate(rows, start=1) if kept[number - 1]}


def _problem(row: dict[str, Any]) -> str | None:
    missing = [name for name in REQUIRED if row[name] is None]
    if missing:
        return f"has no {missing[0]}"
    numbers, positions = (np.array(row[name], np.float64) for name in ("numbers", "positions"))
    known = (numbers >= 1) & (numbers < len(chemical_symbols))
    odd = bool((numbers.sum() - row["charge"]) % 2)
    wrong = {
        f"has {len(numbers)} atoms and {positions.size} coordinates": (
            not len(numbers) or positions.size != 3 * len(numbers)
        ),
        "has an atomic number of no element": not known.all(),
        "has an odd number of electrons, and labels are of singlets": odd,
        "has a coordinate that is not a number": not np.isfinite(positions).all(),
        "has a reference energy that is not a number": not np.isfinite(row["energy_ev"]),
    }
    return next((problem for problem, found in wrong.items() if found), None)
