"""Conformers: from a record of a library to a row of the conformer table, or to a reject."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from scipy.spatial import cKDTree

from probe import tables
from probe.conformers import electrons, geometry
from probe.conformers.electrons import CHARGE_KEYS, MULTIPLICITY_KEYS, check_charge, stated
from probe.conformers.geometry import canonical_smiles
from probe.conformers.molecules import (
    atomic_numbers,
    connected,
    in_geometry_order,
    missing_hydrogens,
)
from probe.library.parser import Atoms, Record, Reject, Unusable, stated_molecule, tidy

MIN_DISTANCE = 0.5
"""Å; the shortest bond there is (H-H) has 0.74, so closer atoms are a damaged record."""

REAL_BONDS = 0.75, 1.25
"""Lengths of bonds as multiples of both covalent radii; in a drawing that shows hydrogens, in
which all bonds are as long, some are outside."""

MAX_COORDINATE = 1e5
"""Å; farther out no molecule is meant."""

MAX_ATOMS = 20_000
"""More is no molecule of a library, and would take minutes only to be looked at."""

MAX_PERCEIVED = 150
"""Atoms beyond which no bond orders are sought for a record that states no bonds."""

MAX_PERCEPTIONS = 20_000
"""Combinations of valences that are tried in that search."""

Row = dict[str, Any]
"""One row of ``schemas.CONFORMERS``."""


@dataclass(frozen=True)
class Options:
    """How records become conformers: the ``ingest`` section of the configuration."""

    seed: int = 42
    forcefield: geometry.Forcefield = "mmff94"
    mixtures: Literal["largest", "keep", "reject"] = "largest"
    flat_records: Literal["embed", "reject"] = "embed"
    smiles_column: str = "smiles"
    name_column: str | None = "name"
    charge_tag: str | None = None
    multiplicity_tag: str | None = None
    pickles: Literal["refuse", "trust"] = "refuse"


def conformer(record: Record, options: Options) -> Row | Reject:
    """The conformer of ``record``, or why there is none.

    The same record and options give the same row, whatever was read before it.
    """
    try:
        with rdBase.BlockLogs():
            if isinstance(record.molecule, Atoms):
                return _from_atoms(record, record.molecule, options)
            if _is_unbonded(record.molecule):
                return _from_atoms(record, _atoms(record), options)
            return _from_molecule(record, record.molecule, options)
    except Unusable as unusable:
        return Reject(record.source, tidy(str(unusable)), record.name)
    except (RuntimeError, ValueError) as error:  # what RDKit raises for a molecule beyond it
        reason = f"RDKit gives up on it: {tables.first_line(error)}"
        return Reject(record.source, tidy(reason), record.name)


def is_flat(record: Record) -> bool:
    """Whether ``record`` has no coordinates in space, so that ingest builds them."""
    return not isinstance(record.molecule, Atoms) and _is_flat(record.molecule)


def rounded(positions: ArrayLike) -> NDArray[np.float64]:
    """``positions`` (any shape, Å) rounded to 1e-4 Å, without negative zeros."""
    return _units(positions) / 1e4 + 0.0


def conformer_id(
    numbers: Sequence[int] | NDArray[Any],
    positions: ArrayLike,
    charge: int,
    multiplicity: int,
) -> str:
    """Content hash of a conformer: 32 hexadecimal digits, the same on every machine.

    Args:
        numbers: atomic numbers [N].
        positions: coordinates [N, 3] or [3N] row-major, Å; rounded here to 1e-4.
        charge: total charge in elementary charges.
        multiplicity: 2S + 1.
    """
    elements = np.asarray(numbers, dtype=np.uint8).ravel()
    units = _units(positions).astype("<i8").ravel()
    if units.size != 3 * elements.size:
        raise ValueError(f"{elements.size} atoms need {3 * elements.size} coordinates")
    header = np.array([elements.size, charge, multiplicity], dtype="<i8")
    content = header.tobytes() + elements.tobytes() + units.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _units(positions: ArrayLike) -> NDArray[np.float64]:
    return np.rint(np.asarray(positions, dtype=np.float64) * 1e4)


def _from_molecule(record: Record, molecule: Chem.Mol, options: Options) -> Row:
    _check_atoms(molecule)
    check_charge(stated(record, (options.charge_tag,)), molecule)
    flat = _is_flat(molecule)
    if flat and options.flat_records == "reject" and molecule.GetNumConformers():
        raise Unusable("2D record, and the configuration rejects those (ingest: flat_records)")
    kept, mixture_note = _fragment(molecule, options)
    multiplicity, spin_note = electrons.implied_multiplicity(kept)
    if (spin := stated(record, (options.multiplicity_tag,))) is not None:
        multiplicity, spin_note = spin, ""
    electrons.check_parity(electrons.count(kept), multiplicity)
    if flat:
        built = geometry.build(kept, options.seed, options.forcefield)
        kept, smiles, note = built.molecule, built.smiles, built.note
    else:
        _check_complete(kept)
        smiles, note = canonical_smiles(kept), ""
    return _row(
        record,
        np.array(atomic_numbers(kept)),
        kept.GetConformer().GetPositions(),
        charge=Chem.GetFormalCharge(kept),
        multiplicity=multiplicity,
        smiles=smiles,
        notes=(mixture_note, spin_note, note),
    )


def _from_atoms(record: Record, atoms: Atoms, options: Options) -> Row:
    _check_positions(atoms.numbers, atoms.positions)
    charge = stated(record, (options.charge_tag, *CHARGE_KEYS))
    multiplicity = stated(record, (options.multiplicity_tag, *MULTIPLICITY_KEYS))
    multiplicity = 1 if multiplicity is None else multiplicity
    molecule = stated_molecule(atoms)
    if molecule is not None:
        check_charge(charge, molecule)
        charge = Chem.GetFormalCharge(molecule)
    charge = charge or 0
    electrons.check_parity(int(atoms.numbers.sum()) - charge, multiplicity)
    other = molecule is not None and _is_another(atoms)
    if molecule is None or other:
        bonded = connected(atoms.numbers.tolist(), atoms.positions)
        note, smiles = _whole_note(bonded, options), _perceived(bonded, charge, multiplicity)
    else:
        note, smiles = _whole_note(molecule, options), canonical_smiles(molecule)
    return _row(
        record,
        atoms.numbers,
        atoms.positions,
        charge=charge,
        multiplicity=multiplicity,
        smiles=smiles,
        notes=(note, f"stated SMILES {tidy(atoms.smiles)} is another isomer" if other else ""),
    )


def _is_another(atoms: Atoms) -> bool:
    """Whether the stated SMILES, of just these atoms, is bonded otherwise than they are."""
    numbers = atoms.numbers.tolist()
    few = len(numbers) <= MAX_PERCEIVED
    return few and in_geometry_order(atoms.smiles, numbers, atoms.positions) is None


def _row(
    record: Record,
    numbers: NDArray[Any],
    positions: NDArray[np.float64],
    *,
    charge: int,
    multiplicity: int,
    smiles: str,
    notes: tuple[str, ...],
) -> Row:
    """``positions`` are [N, 3], Å."""
    _check_positions(numbers, positions)
    kept = rounded(positions)
    return {
        "conformer_id": conformer_id(numbers, kept, charge, multiplicity),
        "molecule_id": record.name,
        "source": record.source,
        "synonyms": None,
        "smiles": smiles,
        "n_atoms": len(numbers),
        "charge": charge,
        "multiplicity": multiplicity,
        "numbers": numbers.tolist(),
        "positions": kept.ravel().tolist(),
        "note": "; ".join(note for note in (record.note, *notes) if note),
    }


def _check_atoms(molecule: Chem.Mol) -> None:
    _check_size(molecule.GetNumAtoms())
    if not molecule.HasQuery() and 0 not in atomic_numbers(molecule):
        return
    for atom in molecule.GetAtoms():
        place = f"atom {atom.GetIdx() + 1}"
        if atom.GetAtomicNum() == 0:
            raise Unusable(f"{place} is a dummy or an R-group, not an element")
        if atom.HasQuery():
            raise Unusable(f"{place} is a query, not an element")
    raise Unusable("a bond is a query, of no definite order")


def _check_size(n_atoms: int) -> None:
    if not n_atoms:
        raise Unusable("no atoms")
    if n_atoms > MAX_ATOMS:
        raise Unusable(f"{n_atoms} atoms are more than the {MAX_ATOMS} that are read as a molecule")


def _check_positions(numbers: NDArray[Any], positions: NDArray[np.float64]) -> None:
    """Refuse atoms and coordinates that no molecule has: [N] and [N, 3], Å."""
    _check_size(len(numbers))
    strange = np.flatnonzero((numbers < 1) | (numbers > 118))
    if strange.size:
        first = strange[0]
        raise Unusable(f"atom {first + 1} has atomic number {numbers[first]}: not an element")
    bad = np.flatnonzero(~(np.abs(positions) <= MAX_COORDINATE).all(axis=1))
    if bad.size:
        x, y, z = positions[bad[0]]
        raise Unusable(f"atom {bad[0] + 1} has impossible coordinates ({x:g}, {y:g}, {z:g})")
    pairs = cKDTree(positions).query_pairs(MIN_DISTANCE, output_type="ndarray")
    if len(pairs):
        i, j = min(map(tuple, np.sort(pairs, axis=1).tolist()))
        distance = float(np.linalg.norm(positions[i] - positions[j]))
        raise Unusable(
            f"atoms {i + 1} and {j + 1} are {distance:.2f} Å apart, closer than {MIN_DISTANCE} Å"
        )


def _fragment(molecule: Chem.Mol, options: Options) -> tuple[Chem.Mol, str]:
    """What the configuration leaves of a salt or mixture, and what was taken away."""
    count = len(Chem.GetMolFrags(molecule))
    if count == 1 or options.mixtures == "keep":
        return molecule, ""
    if options.mixtures == "reject":
        raise _mixture(count)
    fragments = Chem.GetMolFrags(molecule, asMols=True)
    ranked = sorted(fragments, key=lambda part: (-part.GetNumHeavyAtoms(), canonical_smiles(part)))
    removed = ".".join(canonical_smiles(part) for part in ranked[1:])
    return ranked[0], f"largest of {count} molecules kept, {removed} removed"


def _mixture(count: int) -> Unusable:
    return Unusable(
        f"mixture of {count} molecules, and the configuration rejects those (ingest: mixtures)"
    )


def _is_unbonded(molecule: Chem.Mol) -> bool:
    """Whether it is of several neutral atoms in space without a bond, as where none is known."""
    return (
        molecule.GetNumAtoms() > 1
        and not molecule.GetNumBonds()
        and molecule.GetNumConformers() > 0
        and molecule.GetConformer().Is3D()
        and not any(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    )


def _atoms(record: Record) -> Atoms:
    """What a record of an SD file without bonds says, as an XYZ file would."""
    assert not isinstance(record.molecule, Atoms)
    numbers = atomic_numbers(record.molecule)
    positions = record.molecule.GetConformer().GetPositions()
    return Atoms(np.array(numbers), positions, record.tags.get("smiles", ""))


def _is_flat(molecule: Chem.Mol) -> bool:
    """Whether the record has no coordinates in space: none at all, or a drawing's.

    A drawing may be marked as 3D; it gives itself away by lying in the plane without hydrogens.
    Nor is all a drawing that lies in the plane: a planar molecule has its hydrogens, and bonds as
    long as bonds are.
    """
    if not molecule.GetNumConformers():
        return True
    missing = missing_hydrogens(molecule)
    if not molecule.GetConformer().Is3D():
        return bool(missing) or not _has_real_bonds(molecule)
    heights = molecule.GetConformer().GetPositions()[:, 2]
    return bool(missing and molecule.GetNumAtoms() + missing > 4 and not heights.any())


def _has_real_bonds(molecule: Chem.Mol) -> bool:
    """Whether there are bonds, and all are as long as their elements make them."""
    table, positions = Chem.GetPeriodicTable(), molecule.GetConformer().GetPositions()
    ratios = []
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtom(), bond.GetEndAtom()
        length = np.linalg.norm(positions[ends[0].GetIdx()] - positions[ends[1].GetIdx()])
        ratios.append(length / sum(table.GetRcovalent(end.GetAtomicNum()) for end in ends))
    shortest, longest = REAL_BONDS
    return bool(ratios) and all(shortest < ratio < longest for ratio in ratios)


def _check_complete(molecule: Chem.Mol) -> None:
    missing = missing_hydrogens(molecule)
    if missing:
        raise Unusable(
            f"3D record that lacks {missing} of its hydrogens, so its energy would be another "
            "molecule's; add them with coordinates, or give the record as SMILES"
        )


def _perceived(bonded: Chem.Mol, charge: int, multiplicity: int) -> str:
    """Canonical SMILES with the bond orders that the geometry suggests; empty if it is unclear."""
    if multiplicity != 1 or bonded.GetNumAtoms() > MAX_PERCEIVED:
        return ""
    try:
        rdDetermineBonds.DetermineBondOrders(bonded, charge=charge, maxIterations=MAX_PERCEPTIONS)
        return canonical_smiles(bonded) if Chem.GetFormalCharge(bonded) == charge else ""
    except (RuntimeError, ValueError):
        return ""


def _whole_note(bonded: Chem.Mol, options: Options) -> str:
    """What becomes of a mixture whose record states no bonds.

    The largest molecule is not cut out of it: its charge would be a guess.
    """
    count = len(Chem.GetMolFrags(bonded))
    if count == 1 or options.mixtures == "keep":
        return ""
    if options.mixtures == "reject":
        raise _mixture(count)
    return f"all {count} molecules kept, as the record states no bonds"
