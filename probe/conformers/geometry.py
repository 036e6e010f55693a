"""Three-dimensional coordinates for a molecule that has none: one isomer, one conformer."""

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions
from rdkit.Geometry import Point3D

from probe.library.parser import Unusable, parsed

Forcefield = Literal["mmff94", "uff", "none"]

MAX_HEAVY_ATOMS = 300
"""Beyond this, distance geometry takes minutes a molecule and seldom gives a sensible one."""

MAX_ISOMERS = 32
"""Isomers that are tried for a molecule that leaves its stereochemistry open."""

TRIAL_ITERATIONS = 20
"""Attempts at each of several isomers: an impossible one would take hundreds to give up on."""

MAX_SECONDS = 60
"""For the coordinates of a molecule: a cage like C60 would take minutes to give up on."""

MAX_STEPS = 2000
"""Force-field minimisation steps."""

FRAGMENT_GAP = 3.0
"""Å between the boxes of the molecules of a mixture before the force field relaxes it."""

UFF_INSTEAD = "no MMFF94 parameters: UFF used"
UNRELAXED = "no force-field parameters: ETKDG coordinates as they are"


@dataclass(frozen=True, eq=False)
class Built:
    """A molecule in three dimensions."""

    molecule: Chem.Mol
    """With explicit hydrogens and one conformer."""
    smiles: str
    """Canonical isomeric SMILES of the isomer that was embedded."""
    note: str
    """What was decided on the way; empty if nothing."""


def build(molecule: Chem.Mol, seed: int, forcefield: Forcefield) -> Built:
    """Embed ``molecule`` (ETKDGv3) and relax it in the force field.

    The result depends on the molecule's canonical SMILES, on ``seed`` and on ``forcefield``, and
    on nothing else: not on how its record wrote it down. Stereocentres and double bonds that are
    left open become those of the first isomer, by canonical SMILES, that can be embedded.

    Raises:
        Unusable: the molecule is too large, or no coordinates were found.
    """
    if molecule.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
        raise Unusable(
            f"{molecule.GetNumHeavyAtoms()} heavy atoms are too many to embed (at most "
            f"{MAX_HEAVY_ATOMS}); give the record as a 3D SDF"
        )
    parent = _canonical(molecule)
    isomers = _isomers(parent)
    embedded, smiles = _embed(parent, isomers, seed)
    _separate(embedded)
    notes = [_stereo_note(smiles, len(isomers)), _relax(embedded, forcefield)]
    return Built(embedded, smiles, "; ".join(note for note in notes if note))


def made_by(forcefield: Forcefield, note: str) -> str:
    """What gave a geometry that was built in ``forcefield``, with that ``note``, its last touch."""
    if forcefield == "none" or UNRELAXED in note:
        return "etkdg"
    return "uff" if UFF_INSTEAD in note else forcefield


def canonical_smiles(molecule: Chem.Mol) -> str:
    """Canonical isomeric SMILES of ``molecule`` without its explicit hydrogens.

    Coordinates say on which side the hydrogen of an imine is, SMILES by custom do not: it is left
    out, so that a molecule has one SMILES whatever it was read from.
    """
    parameters: Any = Chem.RemoveHsParameters()
    parameters.removeDefiningBondStereo = True
    return Chem.MolToSmiles(Chem.RemoveHs(molecule, parameters))


def _canonical(molecule: Chem.Mol) -> Chem.Mol:
    """``molecule`` with its atoms in the order of its canonical SMILES."""
    parent = parsed(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
    if parent is None:
        raise Unusable("RDKit cannot read its own SMILES of this molecule")
    return parent


def _isomers(parent: Chem.Mol) -> list[Chem.Mol]:
    """The isomers that ``parent`` leaves open, by canonical SMILES; itself if it leaves none."""
    options = StereoEnumerationOptions(  # type: ignore[no-untyped-call]
        maxIsomers=MAX_ISOMERS, unique=True, rand=1
    )
    found = EnumerateStereoisomers(parent, options=options)  # type: ignore[no-untyped-call]
    return sorted(found, key=Chem.MolToSmiles)


def _embed(parent: Chem.Mol, isomers: list[Chem.Mol], seed: int) -> tuple[Chem.Mol, str]:
    """The first isomer that embeds, with hydrogens, and its SMILES.

    In a cage nearly all combinations of stereocentres are impossible: if none of those tried
    embeds, distance geometry itself chooses. Random starting coordinates are the last resort.
    """
    deadline = time.monotonic() + MAX_SECONDS
    for isomer in isomers if len(isomers) > 1 else ():
        found = _coordinates(isomer, seed, deadline, iterations=TRIAL_ITERATIONS)
        if found is not None:
            return found, Chem.MolToSmiles(isomer)
    for random_start in (False, True):
        found = _coordinates(parent, seed, deadline, random_start=random_start)
        if found is not None:
            return found, _embedded_smiles(parent, found, len(isomers))
    limit = f" in {MAX_SECONDS} s" if time.monotonic() > deadline else ""
    raise Unusable(f"RDKit finds no 3D coordinates for it{limit}; give the record as a 3D SDF")


def _embedded_smiles(parent: Chem.Mol, found: Chem.Mol, n_isomers: int) -> str:
    if n_isomers == 1:
        return Chem.MolToSmiles(parent)
    Chem.AssignStereochemistryFrom3D(found)
    return canonical_smiles(found)


def _coordinates(
    molecule: Chem.Mol,
    seed: int,
    deadline: float,
    *,
    random_start: bool = False,
    iterations: int = 0,
) -> Chem.Mol | None:
    """``molecule`` with hydrogens and a conformer; None if there is none by ``deadline``.

    0 ``iterations`` leaves RDKit its own limit.
    """
    seconds = math.ceil(deadline - time.monotonic())
    if seconds <= 0:  # 0 would be no limit to RDKit
        return None
    full = Chem.AddHs(molecule)
    # New for every molecule: RDKit keeps the first one's iteration limit in the object.
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.useRandomCoords = random_start
    parameters.maxIterations = iterations
    parameters.timeout = seconds
    return full if rdDistGeom.EmbedMolecule(full, parameters) == 0 else None


def _stereo_note(smiles: str, n_isomers: int) -> str:
    if n_isomers == 1:
        return ""
    count = f"at least {n_isomers}" if n_isomers == MAX_ISOMERS else str(n_isomers)
    return f"stereochemistry left open: {smiles} embedded, one of {count} isomers"


def _separate(molecule: Chem.Mol) -> None:
    """Put the molecules of a mixture beside each other: RDKit embeds them all at the origin."""
    fragments = Chem.GetMolFrags(molecule)
    conformer = molecule.GetConformer()
    positions, end = conformer.GetPositions(), 0.0
    for fragment in fragments[1:] and fragments:
        block = positions[list(fragment)]
        shift = np.array([end - block[:, 0].min(), 0.0, 0.0])
        end += np.ptp(block[:, 0]) + FRAGMENT_GAP
        for index, point in zip(fragment, block + shift, strict=True):
            conformer.SetAtomPosition(index, Point3D(*point))


def _relax(molecule: Chem.Mol, forcefield: Forcefield) -> str:
    """Minimise in place; returns what a reader of the row should know about it."""
    if forcefield == "none":
        return ""
    if forcefield == "mmff94" and rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        status = rdForceFieldHelpers.MMFFOptimizeMolecule(
            molecule, maxIters=MAX_STEPS, ignoreInterfragInteractions=False
        )
        return _convergence("MMFF94", status)
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
        status = rdForceFieldHelpers.UFFOptimizeMolecule(
            molecule, maxIters=MAX_STEPS, ignoreInterfragInteractions=False
        )
        used = UFF_INSTEAD if forcefield == "mmff94" else ""
        return "; ".join(part for part in (used, _convergence("UFF", status)) if part)
    return UNRELAXED


def _convergence(name: str, status: int) -> str:
    return f"{name} not converged in {MAX_STEPS} steps" if status else ""
