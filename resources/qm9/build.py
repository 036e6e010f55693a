"""Draws the sets of molecules from QM9 that the small MACE and PROBE on it are made with.

    pip download --no-deps qm9pack==1.0.3
    python resources/qm9/build.py qm9pack-1.0.3-py3-none-any.whl FOLDER

FOLDER gets a Parquet file of labels for every name in ``SHARES``. No molecule is in two of them
and no reserved one in any. What a molecule is drawn for is a hash of its canonical SMILES: it
depends neither on the other molecules nor on their order. The rows stand in such an order that
any prefix of a file is a fair sample of it. The same wheel makes the same files.
"""

import hashlib
import io
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from ase.data import atomic_numbers
from rdkit import Chem

from probe import schemas, tables
from probe.classifier.labels import canonical, reserved
from probe.conformers.conformer import rounded
from probe.conformers.molecules import of_smiles
from probe.dft.scf import EV_PER_HARTREE
from probe.errors import ProbeError

SHA256 = "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0"
PARTS = tuple(f"qm9pack/data/qm9_part{number}.csv" for number in (1, 2, 3))
ENERGY, ZERO_POINT = "InternalEnergy_0K_au", "ZPVE_au"
COLUMNS = ["Index", "SMILES", "Elements", "XYZ_Ang", ZERO_POINT, ENERGY]
METHOD = "B3LYP/6-31G(2df,p)"

SHARES = {
    "train": 0.04,  # the backbone's
    "valid": 0.005,  # the backbone's
    "labelled": 0.23,  # for PROBE on that backbone, whose error this is, too
    "pool": 0.1,  # where active learning acquires
    "held_out": 0.02,  # where active learning is tested
}
"""Of the molecules that are not reserved; one that falls beyond the last is in no set."""

Row = dict[str, Any]


def published(content: bytes) -> Iterator[Row]:
    """Every record of the wheel ``content``, in its order."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    for part in PARTS:
        yield from pl.read_csv(archive.read(part), columns=COLUMNS).iter_rows(named=True)


def place(smiles: str) -> float:
    """Where a molecule falls between 0 and 1."""
    return int(hashlib.sha256(f"qm9:{smiles}".encode()).hexdigest()[:12], 16) / 16**12


def drawn(smiles: str) -> str | None:
    """The set that a molecule is in, if any."""
    if reserved(smiles):
        return None
    ends = accumulate(SHARES.values())
    return next((name for name, end in zip(SHARES, ends, strict=True) if place(smiles) < end), None)


def labelled(record: Row, smiles: str) -> Row | None:
    """A row of labels, or None if atoms or charge are not those of canonical ``smiles``."""
    numbers = [atomic_numbers[symbol] for symbol in re.findall(r"[A-Z][a-z]?", record["Elements"])]
    positions = np.array(re.sub(r"[\[\]]", "", record["XYZ_Ang"]).split(","), np.float64)
    molecule = of_smiles(smiles)
    if molecule is None or Chem.GetFormalCharge(molecule) or len(positions) != 3 * len(numbers):
        return None
    atoms = [atom.GetAtomicNum() for atom in Chem.AddHs(molecule).GetAtoms()]
    if sorted(atoms) != sorted(numbers):
        return None
    return {
        "smiles": smiles,
        "source": f"QM9 {record['Index']}",
        "geometry": METHOD,
        "numbers": numbers,
        "positions": rounded(positions).ravel(),
        "charge": 0,
        "energy_ev": (record[ENERGY] - record[ZERO_POINT]) * EV_PER_HARTREE,
    }


def sets(content: bytes) -> tuple[dict[str, list[Row]], Counter[str]]:
    """The rows of every set, and of how many records something else became."""
    rows: dict[str, list[Row]] = {name: [] for name in SHARES}
    rest: Counter[str] = Counter()
    for record in published(content):
        smiles = canonical(record["SMILES"])
        name = drawn(smiles)
        row = labelled(record, smiles) if name else None
        if name and row:
            rows[name].append(row)
        else:
            rest["reserved" if reserved(smiles) else "not as its SMILES" if name else "left"] += 1
    for some in rows.values():
        some.sort(key=lambda row: (place(row["smiles"]), row["source"]))
    return rows, rest


def main(wheel: Path, folder: Path) -> None:
    """Write the sets into ``folder``.

    Raises:
        ProbeError: ``wheel`` is not the one that is named above.
    """
    content = wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ProbeError(f"{wheel}: not qm9pack 1.0.3 (sha256 {SHA256}); download it again")
    rows, rest = sets(content)
    for name, some in rows.items():
        origin = {"method": METHOD, "source": "QM9 from qm9pack 1.0.3", "set": name}
        tables.write(folder / f"{name}.parquet", some, schemas.LABELS, origin)
        print(f"{name}: {len(some)} conformers of {len({row['smiles'] for row in some})} molecules")
    print("; ".join(f"{reason}: {count}" for reason, count in sorted(rest.items())))


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except ProbeError as error:
        sys.exit(str(error))
