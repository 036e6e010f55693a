"""What the Python interface is given: molecules of RDKit or ASE, SMILES, or a library's path."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ase
from rdkit import Chem

from probe.conformers.conformer import Options, Row, conformer
from probe.conformers.ingest import convert
from probe.errors import ProbeError
from probe.library import formats, parser, records, sources
from probe.library.parser import Layout, Record, Reject, Unusable, tidy

Molecules = str | Path | ase.Atoms | Chem.Mol | Iterable[Any]
"""A path (of a file, a folder or a pattern), or one or more molecules or SMILES."""

GIVEN = Layout("input", "input", formats.SMILES, None)
"""How inputs are called that are no file's."""


def rows(molecules: Molecules, options: Options) -> Iterator[Row | Reject]:
    """A conformer for each of ``molecules``, in order, or why there is none.

    An RDKit molecule of several conformers counts as so many; of an ``ase.Atoms`` charge and
    multiplicity are those in its ``info``. What cannot be used is a reject, never an error.

    Raises:
        ProbeError: a path that cannot be read, or of no known format; or no molecules at all.
    """
    if isinstance(molecules, str | Path):
        yield from _of_path(Path(molecules), options)
        return
    number = 0
    alone = isinstance(molecules, ase.Atoms | Chem.Mol)
    try:
        given = iter([molecules] if alone else molecules)
    except TypeError as error:
        kind = type(molecules).__name__
        raise ProbeError(
            f"{kind}: give SMILES in a list, molecules of RDKit or ASE, or a path"
        ) from error
    for each in given:
        for record in _records(each, number):
            number += 1
            yield record if isinstance(record, Reject) else conformer(record, options)


def _of_path(path: Path, options: Options) -> Iterator[Row | Reject]:
    if not path.exists() and not sources.is_pattern(path):
        raise ProbeError(f"{path}: no such file; give SMILES as a list, [{str(path)!r}]")
    for file, address in sources.find(path)[0]:
        layout = parser.layout(
            file,
            options.smiles_column,
            options.name_column,
            pickles=options.pickles,
            address=address,
        )
        n_records, _ = records.count(file, sys.maxsize)
        for number, raw in records.shard(file, 0, n_records, None):
            yield convert(raw, number, layout, options)


def _records(given: object, done: int) -> Iterator[Record | Reject]:
    """The records that one input is: number ``done`` + 1 and on."""
    number = done + 1
    if isinstance(given, str):
        yield parser.read(given, number, GIVEN) if given.strip() else _reject(number, "no SMILES")
    elif isinstance(given, ase.Atoms):
        try:
            name, atoms, tags, note = parser.of_ase(given)
        except Unusable as unusable:
            yield _reject(number, str(unusable))
        else:
            yield Record(GIVEN.source(number), tidy(name) or _name(number), atoms, tags, note)
    elif isinstance(given, Chem.Mol):
        yield from _conformers(given, number)
    else:
        yield _reject(number, f"{type(given).__name__} is neither SMILES, nor RDKit's, nor ASE's")


def _conformers(molecule: Chem.Mol, number: int) -> Iterator[Record]:
    """A record for each conformer of ``molecule``; one where it has none."""
    title = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
    tags = {key.casefold(): str(value) for key, value in molecule.GetPropsAsDict().items()}
    held = [Chem.Conformer(found) for found in molecule.GetConformers()]
    for place, geometry in enumerate(held or [None], start=number):
        copy = Chem.Mol(molecule)
        copy.RemoveAllConformers()
        if geometry is not None:
            copy.AddConformer(geometry)
        yield Record(GIVEN.source(place), tidy(title) or _name(place), copy, tags)


def _name(number: int) -> str:
    return f"{GIVEN.stem}-{number}"


def _reject(number: int, reason: str) -> Reject:
    return Reject(GIVEN.source(number), reason, _name(number))
