"""The molecules with the highest p_unreliable, drawn with the importance of their atoms."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

from probe import schemas, streams
from probe.conformers.molecules import from_geometry, in_geometry_order, of_smiles
from probe.report.screening import Floats, Screening

N_WORST = 12
HIGHLIGHT = (0.93, 0.42, 0.05)
SIZE = (300, 220)


@dataclass(frozen=True)
class Drawing:
    """One of the worst molecules as the page shows it."""

    name: str
    source: str
    smiles: str
    p: float
    energy_ev: float
    verdict: str
    reason: str
    svg: Markup | None
    top_share: float | None  # attention on the most important atom, None without colours
    note: str  # why there is no drawing, or no colours


def worst(screening: Screening) -> list[Drawing]:
    """The ``N_WORST`` molecules of highest p_unreliable, one conformer of each molecule."""
    rows = _worst_rows(screening)
    listed = screening.listed.take(pa.array(rows, pa.int64())).to_pylist()
    ids = [row["conformer_id"] for row in listed]
    inputs = screening.inputs
    geometry = pick(inputs.conformers, schemas.CONFORMERS, ids, ["numbers", "positions", "charge"])
    importance = pick(inputs.scores, schemas.SCORES, ids, ["importance"])
    return [
        _drawing(row, geometry[row["conformer_id"]], importance[row["conformer_id"]])
        for row in listed
    ]


def heavy_importance(mol: Chem.Mol, importance: Floats) -> tuple[Chem.Mol, Floats]:
    """``mol`` as it is drawn, and its atoms' importance with that of hydrogens folded in.

    ``importance`` [N] is in the order of ``mol``'s atoms. Hydrogens that RDKit keeps in a drawing
    (those of H2, say) keep their own.
    """
    for atom in mol.GetAtoms():
        atom.SetIntProp("place", atom.GetIdx())
    drawn = Chem.RemoveHs(mol, sanitize=False)
    kept = {atom.GetIntProp("place"): atom.GetIdx() for atom in drawn.GetAtoms()}
    folded = np.zeros(drawn.GetNumAtoms())
    for atom in mol.GetAtoms():
        place = atom.GetIdx()
        holder = place if place in kept else atom.GetNeighbors()[0].GetIdx()
        folded[kept[holder]] += importance[place]
    return drawn, folded


def _worst_rows(screening: Screening) -> list[int]:
    """Rows by falling p_unreliable, the first of each molecule."""
    ids = screening.listed["conformer_id"]
    names = screening.listed["molecule_id"]
    chosen: dict[str, int] = {}
    for row in np.argsort(-screening.p, kind="stable"):  # NaN, the refused ones, come last
        if len(chosen) == N_WORST or np.isnan(screening.p[row]):
            break
        chosen.setdefault(names[row].as_py() or ids[row].as_py(), int(row))
    return list(chosen.values())


def pick(
    paths: Sequence[Path], schema: pa.Schema, ids: list[str], columns: list[str]
) -> dict[str, dict[str, Any]]:
    """The rows of ``ids`` in the shards, by id."""
    wanted = pa.array(ids, pa.string())
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        for table in streams.pieces(path, schema, ["conformer_id", *columns]):
            rows = table.filter(pc.is_in(table["conformer_id"], wanted)).to_pylist()
            found |= {row["conformer_id"]: row for row in rows}
    return found


def matched(
    smiles: str, geometry: dict[str, Any], scored: dict[str, Any]
) -> tuple[Chem.Mol | None, Floats | None, str]:
    """The molecule to draw, its atoms' importance [N] if they can be coloured, and why not."""
    positions = np.array(geometry["positions"], dtype=float).reshape(-1, 3)
    mol = in_geometry_order(smiles, geometry["numbers"], positions) if smiles else None
    note = ""
    if mol is None and not smiles:
        mol = from_geometry(geometry["numbers"], positions, geometry["charge"])
    importance = None if scored["importance"] is None else np.array(scored["importance"])
    if mol is None:
        note = "Not coloured: the atoms of the SMILES could not be matched to the geometry."
        mol = of_smiles(smiles)
        importance = None
    elif importance is None or len(importance) != mol.GetNumAtoms():
        note, importance = "Not coloured: no importance was stored for each atom.", None
    return mol, importance, note


def prepared(mol: Chem.Mol, importance: Floats | None) -> tuple[Chem.Mol, Floats]:
    """``mol`` without hydrogens and laid out flat, and the importance of what is left of it."""
    if importance is None:
        drawn, shares = Chem.RemoveHs(mol, sanitize=False), np.zeros(0)
    else:
        drawn, shares = heavy_importance(mol, importance)
    drawn.RemoveAllConformers()
    with rdBase.BlockLogs():
        # bonds from distances alone may break valence rules: draw them all the same
        Chem.SanitizeMol(drawn, catchErrors=True)
        drawn = rdMolDraw2D.PrepareMolForDrawing(drawn, addChiralHs=False, forceCoords=True)
    return drawn, shares


def _drawing(row: dict[str, Any], geometry: dict[str, Any], scored: dict[str, Any]) -> Drawing:
    smiles = row["smiles"] or ""
    mol, importance, note = matched(smiles, geometry, scored)
    svg, share = (None, None) if mol is None else draw(mol, importance)
    if svg is None:
        note = "Not drawn: RDKit cannot read this SMILES."
    return Drawing(
        name=row["molecule_id"] or row["conformer_id"],
        source=row["source"],
        smiles=smiles,
        p=row["p_unreliable"],
        energy_ev=row["energy_ev"],
        verdict=row["verdict"],
        reason=row["reason"] or "",
        svg=svg,
        top_share=share,
        note=note,
    )


def draw(mol: Chem.Mol, importance: Floats | None) -> tuple[Markup, float | None]:
    """SVG of ``mol`` in the page's ink, and the share of the most important atom."""
    drawn, shares = prepared(mol, importance)
    top = float(shares.max()) if shares.size and shares.max() > 0 else None
    colours = (
        {index: (*HIGHLIGHT, 0.85 * float(share) / top) for index, share in enumerate(shares)}
        if top
        else {}
    )
    return depict(drawn, colours), top


def depict(
    mol: Chem.Mol,
    colours: Mapping[int, tuple[float, ...]] | None = None,
    bonds: Mapping[int, tuple[float, ...]] | None = None,
    size: tuple[int, int] = SIZE,
) -> Markup:
    """``mol`` as an SVG in the page's ink; ``colours`` of atoms, and ``bonds``, lie behind it."""
    canvas = rdMolDraw2D.MolDraw2DSVG(*size)
    options: Any = canvas.drawOptions()  # its type stub forbids assignment
    options.useBWAtomPalette()
    options.clearBackground = False
    options.includeRadicals = False
    options.bondLineWidth = 1.6
    options.fixedBondLength = 32
    options.prepareMolsBeforeDrawing = False
    options.highlightRadius = 0.42
    options.fillHighlights = True
    canvas.DrawMolecule(
        mol,
        highlightAtoms=list(colours or {}),
        highlightAtomColors=dict(colours or {}),
        highlightBonds=list(bonds or {}),
        highlightBondColors=dict(bonds or {}),
    )
    canvas.FinishDrawing()
    return _themed(canvas.GetDrawingText())


def _themed(svg: str) -> Markup:
    """RDKit's SVG as an inline element in the page's ink, hidden from screen readers."""
    svg = svg[svg.index("<svg") :].replace("#000000", "var(--ink)")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(<svg[^>]*?) width='\d+px' height='\d+px'", r"\1", svg, count=1)
    return Markup(svg.replace("<svg", "<svg aria-hidden='true'", 1))
