"""Records of a library, understood: a molecule by RDKit or atoms by ASE, or why it is neither.

Atoms are counted from 1 in what is said about a record, in the order in which it lists them.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import ase
import numpy as np
from ase.io.extxyz import read_xyz
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from probe import tables
from probe.errors import ProbeError
from probe.library import formats, parquet_rows, records, texts

NAME_KEYS = ("name", "label", "molecule_id", "mol_id", "id", "title")
"""Info keys of extended XYZ and columns of Parquet that may hold a name, in this order."""


NO_HEADER = texts.Header("", ())
"""Of a file that is not CSV or TSV."""


class Unusable(Exception):  # noqa: N818 - it is a verdict on a record, not a failure
    """Why a record cannot be used, in words for a chemist; ``name`` if it was still readable."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True)
class Reject:
    """A record that cannot be used."""

    source: str
    reason: str
    name: str


@dataclass(frozen=True, eq=False)
class Atoms:
    """What XYZ and Parquet say: where atoms are, but not how they are bonded."""

    numbers: NDArray[np.int64]
    """Atomic numbers [N]."""
    positions: NDArray[np.float64]
    """Coordinates [N, 3], Å."""
    smiles: str
    """As stated by the record; empty if it states none."""


@dataclass(frozen=True, eq=False)
class Record:
    """One entry of a library, before anything was decided about it."""

    source: str
    """File name and record number."""
    name: str
    molecule: Chem.Mol | Atoms
    """An RDKit molecule, with coordinates if the record has some; or atoms without bonds."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """SD properties, XYZ info, table cells; keys in lower case."""
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """How to read the records of one library file."""

    file: str
    stem: str
    format: str
    name_column: str | None
    header: texts.Header = NO_HEADER
    smiles_index: int = 0
    name_index: int | None = None

    def source(self, number: int) -> str:
        """The address of a record: file name and record number (from 1)."""
        return f"{self.file}:{number}"


def layout(
    path: Path,
    smiles_column: str,
    name_column: str | None,
    *,
    pickles: str = "refuse",
    address: str | None = None,
) -> Layout:
    """How to read ``path``; the columns are those of CSV and TSV files, in any letter case.

    ``address`` is what sources call the file, its name by default.

    Raises:
        ProbeError: the file cannot be read, has no column of that name, or is a pickle and
            ``pickles`` is not "trust".
    """
    records.require_trust(path, pickles)
    kind = formats.format_of(path)
    file = PurePosixPath(tidy(path.name if address is None else address))
    known = Layout(str(file), str(file.with_name(formats.stem(file))), kind, name_column)
    if kind not in (formats.CSV, formats.TSV):
        return known
    header = texts.header(path)
    columns = [name.casefold() for name in header.columns]
    if columns and smiles_column.casefold() not in columns:
        near = difflib.get_close_matches(smiles_column.casefold(), columns, n=1, cutoff=0.4)
        hint = f", did you mean {tidy(header.columns[columns.index(near[0])])}?" if near else ""
        raise ProbeError(
            f"{path}: no column {smiles_column}{hint} (the header has "
            f"{_shown(header.columns)}); set ingest: smiles_column"
        )
    index = {name: position for position, name in reversed(list(enumerate(columns)))}
    named = index.get(name_column.casefold()) if name_column is not None else None
    smiles = index.get(smiles_column.casefold(), 0)
    return replace(known, header=header, smiles_index=smiles, name_index=named)


def _shown(names: Sequence[str]) -> str:
    """``names`` in a message, on one line, and not all of a great many."""
    text = ", ".join(tidy(name) for name in names)
    return text if len(text) <= 300 else f"{text[:300]}…"


def read(raw: records.Raw, number: int, layout: Layout) -> Record | Reject:
    """Understand record ``number`` (from 1), as the splitting gives it."""
    source, fallback = layout.source(number), f"{layout.stem}-{number}"
    try:
        with rdBase.BlockLogs():
            name, molecule, tags, note = _parse(raw, layout)
    except Unusable as unusable:
        return Reject(source, tidy(str(unusable)), tidy(unusable.name) or fallback)
    except (RuntimeError, ValueError) as error:  # what RDKit raises for a text beyond it
        return Reject(source, tidy(f"RDKit gives up on it: {tables.first_line(error)}"), fallback)
    return Record(source, tidy(name) or fallback, molecule, tags, note)


def tidy(name: str) -> str:
    """``name`` on one line without control characters; whatever else it holds is kept."""
    if not name.isprintable():
        name = "".join(c if c.isprintable() else " " for c in name)
    return " ".join(name.split())


def problem(molecule: Chem.Mol) -> str:
    """What RDKit finds wrong with an unsanitized molecule, at most three things; or nothing."""
    found = [_describe(molecule, trouble) for trouble in Chem.DetectChemistryProblems(molecule)]
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def parsed(smiles: str, sanitize: bool = True) -> Chem.Mol | None:
    """The molecule of ``smiles``, or None if RDKit takes it for none."""
    return Chem.MolFromSmiles(smiles, sanitize=sanitize)


def stated_molecule(atoms: Atoms) -> Chem.Mol | None:
    """The molecule of the record's own SMILES, if that is one of just these atoms."""
    molecule = parsed(atoms.smiles) if atoms.smiles else None
    if molecule is None:
        return None
    elements = sorted(atom.GetAtomicNum() for atom in Chem.AddHs(molecule).GetAtoms())
    return molecule if elements == sorted(atoms.numbers.tolist()) else None


Parsed = tuple[str, Chem.Mol | Atoms, Mapping[str, str], str]
"""Name, molecule, tags, note."""


def _parse(raw: records.Raw, layout: Layout) -> Parsed:
    if not isinstance(raw, str):
        return _parse_row(raw, layout)
    if layout.format == formats.SDF:
        return _parse_block(raw, layout.name_column)
    if layout.format == formats.XYZ:
        return _parse_frame(raw, layout.name_column)
    if layout.format == formats.SMILES:
        return _parse_line(raw)
    return _parse_cells(raw, layout)


def _parse_line(text: str) -> Parsed:
    smiles, name = _halves(text.strip())
    if name.startswith("|") and "|" in name[1:]:  # CXSMILES: the extension belongs to the SMILES
        extension, _, name = name[1:].partition("|")
        smiles = f"{smiles} |{extension}|"
    return name, _from_smiles(smiles, name), {}, ""


def _halves(line: str) -> tuple[str, str]:
    """SMILES and name; a tab ends the name, as what follows is another column."""
    if "\t" in line:
        smiles, name, *_ = line.split("\t")
        if smiles.strip() and " " not in smiles.strip():
            return smiles.strip(), name.strip()
    smiles, *rest = line.split(None, 1)
    return smiles, rest[0] if rest else ""


def _parse_cells(text: str, layout: Layout) -> Parsed:
    if texts.is_open(text, layout.header.delimiter):
        raise Unusable("a quotation mark opens and is never closed")
    try:
        cells = texts.cells(text, layout.header.delimiter)
    except csv.Error as error:
        raise Unusable(f"the row cannot be read: {error}") from error
    cells += [""] * (len(layout.header.columns) - len(cells))
    name = "" if layout.name_index is None else cells[layout.name_index]
    keys = [column.casefold() for column in layout.header.columns]
    tags = {key: cell.strip() for key, cell in zip(keys, cells, strict=False)}
    return name, _from_smiles(cells[layout.smiles_index].strip(), name), tags, ""


def _from_smiles(smiles: str, name: str) -> Chem.Mol:
    if not smiles:
        raise Unusable("no SMILES", name)
    molecule = parsed(smiles)
    if molecule is not None:
        return molecule
    with rdBase.CaptureErrorLog() as log:
        rough = parsed(smiles, sanitize=False)
    reason = problem(rough) if rough is not None else ""
    shown = smiles if len(smiles) <= 60 else f"{smiles[:60]}…"
    raise Unusable(reason or f"SMILES {shown} cannot be parsed: {_syntax(log.messages)}", name)


def _syntax(messages: str) -> str:
    """RDKit's complaint about a SMILES in one phrase, without the SMILES."""
    first = next(iter(_said(messages)), "it is not SMILES").removeprefix("SMILES Parse Error: ")
    phrase = re.split(r" while parsing:| for input:|: ", first)[0]
    place = re.search(r"around position (\d+)", messages)
    return f"{phrase} around character {place[1]}" if place else phrase


def _parse_block(text: str, name_column: str | None) -> Parsed:
    plain = text.replace("\r\n", "\n")
    title = plain.partition("\n")[0].strip()
    if not plain.replace("$$$$", "").strip():
        raise Unusable("empty record")
    molecule = _from_block(plain, sanitize=True)
    if molecule is None:
        raise Unusable(_damage(plain), "" if title == "$$$$" else title)
    tags = {key.casefold(): molecule.GetProp(key).strip() for key in molecule.GetPropNames()}
    name = title or tags.get((name_column or "").casefold(), "")
    return _molecule_of(name, tags), molecule, tags, ""


def _molecule_of(name: str, tags: Mapping[str, str]) -> str:
    """The molecule that a record of Auto3D is a conformer of; of any other file, its name.

    Auto3D adds @taut and a number to the title of a tautomer, and to the property ID moreover the
    numbers of isomer and conformer, which in the files before its final one are in the title, too.
    """
    if not {"id", "e_tot"} <= tags.keys():
        return name
    if name == tags["id"]:
        name = re.sub(r"_\d+_\d+$", "", name)
    return re.sub(r"@taut\d+$", "", name)


def _from_block(text: str, sanitize: bool) -> Chem.Mol | None:
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text, sanitize=sanitize, removeHs=False)
    return next(supplier, None)


def _damage(text: str) -> str:
    """Why RDKit takes no molecule from this record of an SDF."""
    block = f"\n{text}".partition("\n$$$$")[0].removeprefix("\n")
    block = block.encode("ascii", "replace").decode()  # RDKit's log cuts other characters in two
    with rdBase.CaptureErrorLog() as log:
        rough = _from_block(block, sanitize=False)
    if rough is not None:
        return problem(rough) or "RDKit cannot sanitize the molecule"
    said = next(iter(_said(log.messages)), "no counts line")
    return f"the mol block cannot be read: {said.replace('EOF hit', 'the record ends')}"


def _said(messages: str) -> list[str]:
    """Lines of RDKit's log that say something, without time stamps and decoration."""
    lines = [re.sub(r"^(\[[\d:]+\])? *(ERROR: )?", "", line) for line in messages.splitlines()]
    said = [line.strip() for line in lines if line.strip("* ") and "Violation" not in line]
    return [line for line in said if not line.startswith("moving to the beginning")]


def _describe(molecule: Chem.Mol, trouble: Any) -> str:  # noqa: ANN401 - a class without a stub
    if trouble.GetType() == "AtomValenceException":
        atom = molecule.GetAtomWithIdx(trouble.GetAtomIdx())
        atom.UpdatePropertyCache(strict=False)
        valence = atom.GetValence(Chem.ValenceType.EXPLICIT)
        charge = f" with charge {atom.GetFormalCharge():+d}" if atom.GetFormalCharge() else ""
        return f"valence of {_label(atom)}{charge} is {valence}, more than allowed"
    if trouble.GetType() == "KekulizeException":
        atoms = _labels(molecule.GetAtomWithIdx(index) for index in trouble.GetAtomIndices())
        return (
            f"aromatic atoms {atoms} take no alternating double bonds "
            "(a hydrogen or a charge may be missing)"
        )
    if trouble.GetType() == "AtomKekulizeException":
        return f"{_label(molecule.GetAtomWithIdx(trouble.GetAtomIdx()))} is aromatic in no ring"
    return str(trouble.Message())


def _label(atom: Chem.Atom) -> str:
    return f"{atom.GetSymbol()}{atom.GetIdx() + 1}"


def _labels(atoms: Iterable[Chem.Atom]) -> str:
    labels = [_label(atom) for atom in atoms]
    return ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")


def _parse_frame(text: str, name_column: str | None) -> Parsed:
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    count = lines[0].strip()
    if not count.isdecimal():
        raise Unusable(f"the frame begins with '{tidy(count)[:40]}', not with an atom count")
    n_lines = max(len(lines) - 2, 0)
    if int(count) == 0:
        raise Unusable("no atoms")
    if n_lines != int(count):
        raise Unusable(f"atom count line says {int(count)}, {n_lines} atom lines follow")
    return of_ase(_from_frame("\n".join([*lines, ""])), name_column)


def of_ase(atoms: ase.Atoms, name_column: str | None = None) -> Parsed:
    """Name, atoms and tags (from the info) of what ASE holds.

    Raises:
        Unusable: it is periodic.
    """
    if atoms.pbc.any():
        raise Unusable("periodic: it has a cell, and only molecules can be screened")
    tags = {str(key).casefold(): str(value) for key, value in atoms.info.items()}
    keys = [(name_column or "").casefold(), *NAME_KEYS]
    texts = {key.casefold(): str(v) for key, v in atoms.info.items() if not isinstance(v, bool)}
    name = next((texts[key] for key in keys if texts.get(key)), "")
    found = Atoms(atoms.numbers.astype(np.int64), atoms.positions, texts.get("smiles", ""))
    return name, found, tags, ""


def _from_frame(text: str) -> ase.Atoms:
    """The atoms of one frame of extended XYZ."""
    try:
        atoms: ase.Atoms = next(read_xyz(io.StringIO(text), index=0))
        return atoms
    except KeyError as error:
        raise Unusable(f"unknown element or property {error}") from error
    except Exception as error:  # whatever a stranger's text makes of the parser
        raise Unusable(f"the frame cannot be read: {tables.first_line(error)}") from error


def _parse_row(row: Mapping[str, Any], layout: Layout) -> Parsed:
    name = next((str(row[key]) for key in ("molecule_id", "name") if row.get(key)), "")
    missing = [key for key in parquet_rows.REQUIRED if row[key] is None]
    if missing:
        raise Unusable(f"no {', '.join(missing)}", name)
    try:
        numbers = np.asarray(row["numbers"], dtype=np.int64).ravel()
        positions = np.asarray(row["positions"], dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise Unusable(f"numbers or positions cannot be read: {error}", name) from error
    if positions.size != 3 * numbers.size:
        raise Unusable(f"{numbers.size} atoms, but {positions.size} coordinates", name)
    stated = ("charge", "multiplicity")
    tags = {key: str(row[key]) for key in stated if row.get(key) is not None}
    atoms = Atoms(numbers, positions.reshape(-1, 3), row.get("smiles") or "")
    if layout.format == formats.GRAPHS and stated_molecule(atoms) is None:
        raise Unusable("its SMILES is not of its atoms: the codes of elements may be others", name)
    return name, atoms, tags, row.get("note") or ""
