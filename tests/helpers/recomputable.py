"""A triaged library of molecules of one to three atoms, as it is before recomputing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from probe import schemas, tables
from probe.conformers.conformer import conformer_id
from probe.dft.engines import failed
from probe.library.plan import Plan, Shard, Source

WATER = [8, 1, 1], [[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]
NITROGEN = [7, 7], [[0, 0, 0], [0, 0, 1.1]]
NITROGEN_LONG = [7, 7], [[0, 0, 0], [0, 0, 1.2]]
OXYGEN = [8, 8], [[0, 0, 0], [0, 0, 1.21]]
IMIDOGEN = [7, 1], [[0, 0, 0], [0, 0, 1.04]]
"""Its singlet has no closed shell that is the lowest: no SCF converges to a ground state."""
HYDROGEN = [1, 1], [[0, 0, 0], [0, 0, 0.74]]
URANIUM = [92], [[0, 0, 0]]


class Library:
    """Add conformers, then ``write`` them to a folder."""

    def __init__(self):
        self.conformers, self.triaged = [], []

    def add(
        self, name, molecule, *, charge=0, multiplicity=1, energy_ev=None, p=None, accept=False
    ):
        """Add a conformer; its id."""
        numbers, positions = molecule
        flat = [float(x) for row in positions for x in row]
        name_of_it = conformer_id(numbers, flat, charge, multiplicity)
        common = {
            "conformer_id": name_of_it,
            "molecule_id": name,
            "source": f"lib.xyz:{len(self.triaged) + 1}",
            "smiles": name,
            "n_atoms": len(numbers),
            "charge": charge,
            "multiplicity": multiplicity,
            "note": "",
        }
        self.conformers.append(common | {"numbers": numbers, "positions": flat})
        self.triaged.append(
            common
            | {
                "energy_ev": energy_ev,
                "p_unreliable": p,
                "verdict": "accept" if accept else "recompute",
                "reason": "says the test",
                "flags": "",
                "latent_distance": None,
                "dft_core_hours": None,
            }
        )
        return name_of_it

    def write(self, folder, *, promise=None, tolerance_kcal=0.5):
        """Write what was added to ``folder``; the folder."""
        n = len(self.conformers)
        shards = (Shard(0, n, None),)
        source = Source("lib.xyz", "lib.xyz", n, 1, 1)
        plan = Plan("lib", "lib.xyz", n, 25000, shards, (source,), ())
        tables.write_json(folder / "plan.json", asdict(plan))
        tables.write(folder / "conformers/00000.parquet", self.conformers, schemas.CONFORMERS, {})
        for verdict in ("accept", "recompute"):
            rows = [row for row in self.triaged if row["verdict"] == verdict]
            tables.write(folder / f"{verdict}.parquet", rows, schemas.TRIAGED, {})
        summary = {"tolerance_kcal": tolerance_kcal, "promise": promise}
        tables.write_json(folder / "summary.json", summary)
        return folder


def done(conformer, energy_ev, method="B97-3c", engine="PySCF"):
    """A result of recomputing; without an energy, of a failure."""
    row = {"conformer_id": conformer, "method": method, "engine": engine} | failed("said so")
    if energy_ev is None:
        return row
    return row | {"dft_energy_ev": energy_ev, "converged": True, "reason": None, "dft_seconds": 9.0}


def in_this_process():
    """Stands in for ``workers.executor``: what is computed is real, where it is computed is not."""
    return ThreadPoolExecutor(1)


def positions(molecule):
    """Coordinates [N, 3] of a molecule, Å."""
    return np.array(molecule[1], dtype=float)
