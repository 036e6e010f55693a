"""An SD file of any number of conformers, made from a real one by shaking its atoms.

Usage: python bench/shaken.py SOURCE OUT COUNT

The whole records of SOURCE come again and again, under new names, each time with every coordinate
moved at random (standard deviation 0.02 Å), so that no two are one conformer to the cache.
"""

import sys

import numpy as np
from rdkit import Chem, RDLogger

DEVIATION = 0.02


def write(source: str, out: str, count: int) -> None:
    """Write ``count`` conformers made from those of ``source`` to ``out``."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    found = Chem.SDMolSupplier(source, removeHs=False)
    molecules = [m for m in found if m and m.GetNumConformers() and m.GetConformer().Is3D()]
    rng = np.random.default_rng(0)
    with Chem.SDWriter(out) as writer:
        for number in range(count):
            molecule = Chem.Mol(molecules[number % len(molecules)])
            conformer = molecule.GetConformer()
            shape = (molecule.GetNumAtoms(), 3)
            conformer.SetPositions(conformer.GetPositions() + rng.normal(0, DEVIATION, shape))
            molecule.SetProp("_Name", f"shaken {number}")
            writer.write(molecule)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]))
