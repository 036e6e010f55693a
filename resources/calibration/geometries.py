"""Geometries of drafted rows: force field, AIMNet2 minimum or Langevin snapshot, in batches."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import AllChem

from probe.backbones import Geometry
from probe.backbones.aimnet import AIMNetBackbone

DYNAMICS = {"aimnet2-md-300K": (300.0, 1.0, 240), "aimnet2-md-600K": (600.0, 1.0, 240)}
DYNAMICS |= {"aimnet2-md-1000K": (1000.0, 0.5, 400)}
"""Temperature, K; time step, fs; number of steps."""

FRICTION = 0.02  # 1/fs
ACCELERATION = 9.648533e-3  # Å/fs² of 1 eV/Å on 1 u
BOLTZMANN = 8.617333e-5  # eV/K
RELAX_STEPS, SETTLE_STEPS, MAX_FORCE = 150, 30, 0.05  # eV/Å
BATCH_ATOMS = 1024


@dataclass(frozen=True)
class Draft:
    """A row in the making; ``positions`` are [N, 3] in Å."""

    smiles: str
    source: str
    kind: str
    forcefield: str
    seed: int
    molecule: Chem.Mol
    positions: NDArray[np.float64]

    @property
    def geometry(self) -> Geometry:
        numbers = np.array([a.GetAtomicNum() for a in self.molecule.GetAtoms()], np.uint8)
        return Geometry(numbers, self.positions, Chem.GetFormalCharge(self.molecule))


def embedded(smiles: str, source: str, kind: str, seed: int) -> Draft | None:
    """The force-field minimum that a row starts from, None if RDKit finds no sound one."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = seed
    if AllChem.EmbedMolecule(molecule, parameters) != 0:
        return None
    known = AllChem.MMFFHasAllMoleculeParams(molecule)
    optimize = AllChem.MMFFOptimizeMolecule if known else AllChem.UFFOptimizeMolecule
    if optimize(molecule, maxIters=2000) < 0:
        return None
    forcefield = "mmff94" if known else "uff"
    kind = forcefield if kind == "force-field" else kind
    positions = molecule.GetConformer().GetPositions()
    return Draft(smiles, source, kind, forcefield, seed, molecule, positions)


def intact(draft: Draft) -> bool:
    """Whether the bonds are those of the molecule and no two atoms are closer than 0.7 Å."""
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in draft.molecule.GetAtoms()])
    bonded = Chem.GetAdjacencyMatrix(draft.molecule).astype(bool)
    apart = ~bonded & ~np.eye(len(radii), dtype=bool)
    distance = np.linalg.norm(draft.positions[:, None] - draft.positions[None], axis=-1)
    length = distance / (radii[:, None] + radii[None])
    far = (distance[bonded | apart] > 0.7).all()
    return bool(far and (length[bonded] <= 1.3).all() and (length[apart] >= 1.2).all())


class Forces:
    """Forces [B, max N, 3] in eV/Å of a batch of B molecules at any coordinates."""

    def __init__(self, backbone: AIMNetBackbone, batch: list[Draft]) -> None:
        self._calculator = backbone._calculator
        self._calculator.model.requires_grad_(False)
        geometries = [draft.geometry for draft in batch]
        self._data, real = backbone._padded(geometries, [len(g.numbers) for g in geometries])
        self.start, self.real = self._data["coord"], real[..., None]
        table = Chem.GetPeriodicTable()
        weights = torch.tensor([table.GetAtomicWeight(max(z, 1)) for z in range(54)])
        self.masses = weights[self._data["numbers"]][..., None]

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        positions = positions.detach().requires_grad_(True)
        data = self._calculator.model({**self._data, "coord": positions})
        data = self._calculator.external_dftd3(self._calculator.external_coulomb(data))
        (gradient,) = torch.autograd.grad(data["energy"].sum(), positions)
        return -gradient * self.real


def relaxed(forces: Forces, steps: int) -> torch.Tensor:
    """Positions after FIRE (Bitzek et al. 2006) with a time step of each molecule's own.

    It ends after ``steps``, or when all of the batch have come to rest: which molecules share a
    batch decides how far beyond ``MAX_FORCE`` each gets.
    """
    positions, velocity = forces.start, torch.zeros_like(forces.start)
    step = torch.full((len(positions), 1, 1), 0.1)
    mixing, uphill_free = torch.full_like(step, 0.1), torch.zeros_like(step)
    for _ in range(steps):
        force = forces(positions)
        if bool((force.norm(dim=-1) < MAX_FORCE).all()):
            break
        downhill = (force * velocity).sum((1, 2), keepdim=True) > 0
        length = velocity.square().sum((1, 2), keepdim=True).sqrt()
        along = force / force.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-9)
        velocity = torch.where(downhill, (1 - mixing) * velocity + mixing * length * along, 0.0)
        uphill_free = torch.where(downhill, uphill_free + 1, 0.0)
        faster = uphill_free > 5
        slower = torch.where(downhill, step, 0.5 * step)
        step = torch.where(faster, (1.1 * step).clamp(max=1.0), slower)
        mixing = torch.where(faster, 0.99 * mixing, torch.where(downhill, mixing, 0.1))
        velocity = velocity + step * force
        move = step * velocity
        longest = move.square().sum((1, 2), keepdim=True).sqrt()
        positions = positions + move * (0.2 / longest.clamp(min=0.2))
    return positions


def simulated(forces: Forces, kind: str, seeds: list[int]) -> torch.Tensor:
    """Positions after Langevin dynamics (BAOAB) from the start; noise by each molecule's seed."""
    temperature, step, steps = DYNAMICS[kind]
    sizes = forces.real.sum((1, 2)).tolist()
    noise = torch.zeros(steps + 1, *forces.start.shape)
    for row, (size, number) in enumerate(zip(sizes, seeds, strict=True)):
        drawn = np.random.default_rng(number).standard_normal((steps + 1, size, 3))
        noise[:, row, :size] = torch.from_numpy(drawn)
    spread = (BOLTZMANN * temperature * ACCELERATION / forces.masses).sqrt()
    keep = float(np.exp(-FRICTION * step))
    positions, velocity = forces.start, spread * noise[steps]
    kick = 0.5 * step * ACCELERATION / forces.masses
    force = forces(positions)
    for number in range(steps):
        velocity = velocity + kick * force
        positions = positions + 0.5 * step * velocity
        velocity = keep * velocity + (1 - keep**2) ** 0.5 * spread * noise[number]
        positions = positions + 0.5 * step * velocity
        force = forces(positions)
        velocity = velocity + kick * force
    return positions


def moved(
    backbone: AIMNetBackbone,
    drafts: list[Draft],
    mover: Callable[[Forces, list[Draft]], torch.Tensor],
) -> list[Draft]:
    """``drafts`` with the positions that ``mover`` gives, in batches of molecules alike in size."""
    done: list[Draft] = []
    waiting = sorted(drafts, key=lambda draft: -len(draft.positions))
    while waiting:
        size = len(waiting[0].positions)
        alike = sum(len(draft.positions) > 0.75 * size for draft in waiting)
        count = min(alike, max(1, BATCH_ATOMS // size))
        batch, waiting = waiting[:count], waiting[count:]
        places = mover(Forces(backbone, batch), batch).double().numpy()
        done += [
            replace(draft, positions=place[: len(draft.positions)])
            for draft, place in zip(batch, places, strict=True)
        ]
    return done


def conformers(backbone: AIMNetBackbone, starts: list[Draft]) -> list[Draft]:
    """Every draft at the geometry of its kind; what comes apart is relaxed or left as it was."""
    done = [d for d in starts if d.kind in ("mmff94", "uff")]
    lost: list[Draft] = []
    for kind in DYNAMICS:
        drafts = [d for d in starts if d.kind == kind]
        settled = moved(backbone, drafts, lambda f, _: relaxed(f, SETTLE_STEPS))
        ends = moved(backbone, settled, lambda f, b, k=kind: simulated(f, k, [d.seed for d in b]))
        done += filter(intact, ends)
        whole = {d.seed for d in ends if intact(d)}
        lost += [replace(d, kind="aimnet2-relaxed") for d in drafts if d.seed not in whole]
    there = {d.smiles for d in starts if d.kind == "aimnet2-relaxed"}
    drafts = [d for d in starts if d.kind == "aimnet2-relaxed"]
    drafts += {d.smiles: d for d in lost if d.smiles not in there}.values()
    minima = moved(backbone, drafts, lambda f, _: relaxed(f, RELAX_STEPS))
    held = {d.smiles for d in done} | {d.smiles for d in minima if intact(d)}
    left = {d.smiles: replace(d, kind=d.forcefield) for d in drafts if d.smiles not in held}
    return done + [d for d in minima if intact(d)] + list(left.values())
