"""Conformers as an SD file, for the programs that read one."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rdkit import Chem

from probe import tables
from probe.conformers.molecules import from_geometry, in_geometry_order
from probe.library.parser import tidy
from probe.streams import Write

PROPERTIES = (
    "conformer_id",
    "charge",
    "multiplicity",
    "p_unreliable",
    "reason",
    "smiles",
    "source",
)


DECIDED = ("verdict", "energy_ev")
"""Properties that rows of a list have, too."""


def write(rows: pl.DataFrame, path: Path) -> None:
    """Write ``rows`` to ``path`` as ``writing`` does, with those of ``DECIDED`` that they hold."""
    with writing(
        path, (*PROPERTIES, *(name for name in DECIDED if name in rows.columns))
    ) as write_rows:
        write_rows(rows)


@contextmanager
def writing(path: Path, properties: Sequence[str] = PROPERTIES) -> Iterator[Write]:
    """What appends rows to ``path``, which appears when the block ends without an error.

    Rows hold numbers, positions, molecule_id and ``properties``, and are written in order.
    Coordinates are the conformer's. Bonds come from the SMILES, or from the distances where
    there is none, if valences allow what they say; an absent p_unreliable is left out. No text
    can end a record or start a property: it comes on one line, ``$$$$`` in it broken up.
    """
    with tables.replacing(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="\n")
        try:
            with Chem.SDWriter(text) as writer:

                def write_rows(rows: pl.DataFrame) -> None:
                    for row in rows.iter_rows(named=True):
                        writer.write(_molecule(row, properties))

                yield write_rows
        finally:
            text.detach()


def _molecule(row: Mapping[str, Any], properties: Sequence[str]) -> Chem.Mol:
    positions = np.array(row["positions"]).reshape(-1, 3)
    molecule = (
        in_geometry_order(row["smiles"], row["numbers"], positions) if row["smiles"] else None
    )
    if molecule is None:
        molecule = from_geometry(row["numbers"], positions, row["charge"])
        if Chem.SanitizeMol(Chem.Mol(molecule), catchErrors=True):
            molecule = _without_bonds(row["numbers"])
    geometry = Chem.Conformer(len(positions))
    geometry.SetPositions(positions)
    molecule.RemoveAllConformers()
    molecule.AddConformer(geometry)
    molecule.SetProp("_Name", _line(row["molecule_id"] or ""))
    for name in properties:
        if row[name] is not None:
            molecule.SetProp(name, _line(row[name]))
    return molecule


def _without_bonds(numbers: list[int]) -> Chem.Mol:
    """The atoms alone: a reader that checks valences takes them whatever their distances."""
    molecule = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    return molecule.GetMol()


def _line(value: object) -> str:
    return tidy(str(value)).replace("$$$$", "$$ $$")
