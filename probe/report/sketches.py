"""Molecules as the page's script draws them: places, labels and bonds in a few hundred bytes."""

from typing import Any

from rdkit import Chem

from probe.report.drawings import matched, prepared
from probe.report.screening import Floats

UNIT = 20
"""Units of a sketch in RDKit's unit of drawing, in which a bond is 1.5 long."""

SINGLE, DOUBLE, TRIPLE, WEDGE, HASHED, LEFT, RIGHT = 1, 2, 3, 4, 5, 6, 7
"""How a bond is drawn; the last two are double bonds whose second line is on that side."""

Sketch = tuple[list[int], list[list[Any]], list[int], list[int] | None, float | None]


def sketch(smiles: str, geometry: dict[str, Any], scored: dict[str, Any]) -> Sketch | None:
    """The drawing of a conformer, None if neither SMILES nor geometry can be drawn.

    Returned are x and y of each atom in turn; index, symbol, hydrogens and charge of those with a
    label; first, second atom and kind of each bond; the importance of each atom in per cent of the
    most important one's, and that one's share, both None where the atoms are not known.
    """
    mol, importance, _ = matched(smiles, geometry, scored)
    if mol is None:
        return None
    drawn, shares = prepared(mol, importance)
    places = drawn.GetConformer().GetPositions()[:, :2] * (UNIT, -UNIT)
    top = float(shares.max()) if shares.size and shares.max() > 0 else None
    return (
        places.round().astype(int).ravel().tolist(),
        [_label(atom) for atom in drawn.GetAtoms() if _labelled(atom)],
        [number for bond in drawn.GetBonds() for number in _bond(bond, places)],
        (100 * shares / top).round().astype(int).tolist() if top else None,
        round(top, 4) if top else None,
    )


def _labelled(atom: Chem.Atom) -> bool:
    plain = atom.GetAtomicNum() == 6 and not atom.GetFormalCharge() and not atom.GetIsotope()
    return not (plain and atom.GetDegree())


def _label(atom: Chem.Atom) -> list[Any]:
    isotope = atom.GetIsotope()
    symbol = f"{isotope or ''}{atom.GetSymbol()}"
    # what was not sanitised has no count of hydrogens beyond the explicit ones
    hydrogens = atom.GetNumExplicitHs() if atom.NeedsUpdatePropertyCache() else atom.GetTotalNumHs()
    return [atom.GetIdx(), symbol, hydrogens, atom.GetFormalCharge()]


def _bond(bond: Chem.Bond, places: Floats) -> tuple[int, int, int]:
    first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    if bond.GetBondType() == Chem.BondType.TRIPLE:
        return first, second, TRIPLE
    if bond.GetBondType() == Chem.BondType.DOUBLE:
        return first, second, _double(bond, places)
    direction = bond.GetBondDir()
    kinds = {Chem.BondDir.BEGINWEDGE: WEDGE, Chem.BondDir.BEGINDASH: HASHED}
    return first, second, kinds.get(direction, SINGLE)


def _double(bond: Chem.Bond, places: Floats) -> int:
    """On which side the second line is: inside the smallest ring, or on both sides of a chain."""
    rings = [
        list(ring)
        for ring in bond.GetOwningMol().GetRingInfo().AtomRings()
        if bond.GetBeginAtomIdx() in ring and bond.GetEndAtomIdx() in ring
    ]
    if not rings:
        return DOUBLE
    start = places[bond.GetBeginAtomIdx()]
    along = places[bond.GetEndAtomIdx()] - start
    inside = places[min(rings, key=len)].mean(axis=0) - start
    turn = along[0] * inside[1] - along[1] * inside[0]
    return RIGHT if turn > 0 else LEFT
