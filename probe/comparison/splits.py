"""Outer splits of a labelled set: what is fitted, tuned, calibrated and tested on.

All are grouped by molecule, so that conformers of one molecule are never on two sides; a split
is row numbers and depends on nothing but the set and the seed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

from probe.conformers.molecules import of_smiles

Rows = NDArray[np.int64]

ELEMENTS = ("I", "Br", "Se", "B", "P", "S")
"""Left out one at a time."""
MIN_ELEMENT_MOLECULES = 10
"""With fewer molecules of it, leaving an element out tests next to nothing."""
LARGE = 18
"""Heavy atoms of a molecule that is large: a drug."""
MIN_LARGE_MOLECULES = 20
"""With fewer large molecules the largest fifth of all stands in for them."""
SIZES = (250, 500, 1000, 2000, 4000)
"""Labels of a learning curve, as far as a set reaches."""


@dataclass(frozen=True)
class Shares:
    """Of the conformers; of those that are not tested on where the test part is given."""

    test: float = 0.2
    tune: float = 0.1
    calibrate: float = 0.1


SHARES = Shares()


@dataclass(frozen=True)
class Split:
    """Disjoint row numbers.

    ``size`` is how many labels a learning curve left, None for all; ``element`` what only the
    test part has, None where nothing was left out.
    """

    name: str
    seed: int
    fit: Rows
    tune: Rows
    calibrate: Rows
    test: Rows
    size: int | None = None
    element: str | None = None

    @property
    def n_labels(self) -> int:
        """Labels that a method may use in one way or another: all but the tested."""
        return len(self.fit) + len(self.tune) + len(self.calibrate)


def at_random(smiles: NDArray[np.str_], seed: int, shares: Shares = SHARES) -> Split:
    """Molecules at random: what is screened is like what was labelled."""
    return _parted("random", smiles, seed, shares)


def by_scaffold(smiles: NDArray[np.str_], seed: int, shares: Shares = SHARES) -> Split:
    """No two parts share a parent scaffold (see ``scaffold``); tuning, too, is on new ones."""
    families = {molecule: scaffold(molecule) for molecule in np.unique(smiles).tolist()}
    groups = np.array([families[molecule] for molecule in smiles.tolist()])
    return _parted("scaffold", groups, seed, shares)


def without_element(
    smiles: NDArray[np.str_],
    numbers: Sequence[NDArray[np.integer]],
    element: str,
    seed: int,
    shares: Shares = SHARES,
) -> Split:
    """Tested on every molecule with ``element``; nothing else has seen it."""
    number = chemical_symbols.index(element)
    held = np.array([bool((atoms == number).any()) for atoms in numbers])
    tested = np.isin(smiles, smiles[held])
    split = _tested_on(f"element-{element}", tested, smiles, seed, shares)
    return replace(split, element=element)


def small_to_large(
    smiles: NDArray[np.str_],
    numbers: Sequence[NDArray[np.integer]],
    seed: int,
    shares: Shares = SHARES,
) -> Split:
    """Tested on the large: molecules of 18 heavy atoms and more, else the largest fifth."""
    heavy = np.array([int((atoms > 1).sum()) for atoms in numbers])
    large = heavy >= LARGE
    if len(np.unique(smiles[large])) < MIN_LARGE_MOLECULES:
        large = heavy > np.quantile(heavy, 1 - shares.test)
    return _tested_on("size", np.isin(smiles, smiles[large]), smiles, seed, shares)


def elements(smiles: NDArray[np.str_], numbers: Sequence[NDArray[np.integer]]) -> list[str]:
    """Those of ``ELEMENTS`` that enough molecules have, and enough others lack."""
    found = []
    for element in ELEMENTS:
        number = chemical_symbols.index(element)
        held = np.array([bool((atoms == number).any()) for atoms in numbers])
        if MIN_ELEMENT_MOLECULES <= len(np.unique(smiles[held])) <= len(np.unique(smiles)) / 2:
            found.append(element)
    return found


def subset(split: Split, smiles: NDArray[np.str_], n_labels: int) -> Split:
    """``split`` with about ``n_labels`` labels, tested on the same rows.

    Fit, tune and calibrate shrink alike, by whole molecules; of one split the smaller subset is
    part of the larger.
    """
    share = n_labels / split.n_labels
    random = np.random.default_rng(split.seed)

    def part(rows: Rows) -> Rows:
        order = random.permutation(np.unique(smiles[rows]))
        ends = np.cumsum([int((smiles[rows] == molecule).sum()) for molecule in order])
        n_molecules = max(1, int(np.searchsorted(ends, share * len(rows), side="right")))
        return rows[np.isin(smiles[rows], order[:n_molecules])]

    return replace(
        split,
        size=n_labels,
        fit=part(split.fit),
        tune=part(split.tune),
        calibrate=part(split.calibrate),
    )


def scaffold(smiles: str) -> str:
    """The family of a molecule: its Murcko scaffold (rings and what links them).

    A molecule without rings has no scaffold. Its family is its heavy-atom formula, so that
    isomers stay together as decorations of one ring do; one family for all of them would be a
    third of a set of small molecules, and one for each would be the random split again.
    """
    molecule = of_smiles(smiles)
    if molecule is None:
        return smiles
    core = GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
    frame = str(Chem.MolToSmiles(core))
    return frame or f"no ring: {_heavy_formula(molecule)}"


def _heavy_formula(molecule: Chem.Mol) -> str:
    symbols = Counter(atom.GetSymbol() for atom in molecule.GetAtoms() if atom.GetAtomicNum() > 1)
    return " ".join(f"{symbol}{count}" for symbol, count in sorted(symbols.items()))


def _parted(name: str, groups: NDArray[np.str_], seed: int, shares: Shares) -> Split:
    random = np.random.default_rng(seed)
    n = len(groups)
    counts = [round(share * n) for share in (shares.test, shares.tune, shares.calibrate)]
    test, tune, calibrate, fit = _fill(groups, np.arange(n), counts, random)
    return Split(name, seed, fit, tune, calibrate, test)


def _tested_on(
    name: str, tested: NDArray[np.bool_], smiles: NDArray[np.str_], seed: int, shares: Shares
) -> Split:
    rest = np.flatnonzero(~tested)
    kept = 1 - shares.test
    counts = [round(share / kept * len(rest)) for share in (shares.tune, shares.calibrate)]
    tune, calibrate, fit = _fill(smiles, rest, counts, np.random.default_rng(seed))
    return Split(name, seed, fit, tune, calibrate, np.flatnonzero(tested))


def _fill(
    groups: NDArray[np.str_], rows: Rows, counts: Iterable[int], random: np.random.Generator
) -> list[Rows]:
    """Parts of ``rows`` with at most ``counts`` rows each, of whole groups, and what is left.

    Groups come in random order; one that is too large for what a part still lacks goes to a
    later one, so the largest families are mostly in the last, which is fitted to.
    """
    held: dict[str, list[int]] = {}
    for row in rows.tolist():
        held.setdefault(str(groups[row]), []).append(row)
    left = random.permutation(sorted(held)).tolist()
    parts = []
    for count in counts:
        taken, lacking = set(), max(1, count)
        for group in left:
            if len(held[group]) <= lacking:
                taken.add(group)
                lacking -= len(held[group])
        parts.append(_rows_of(taken, held))
        left = [group for group in left if group not in taken]
    return [*parts, _rows_of(left, held)]


def _rows_of(groups: Iterable[str], held: Mapping[str, list[int]]) -> Rows:
    return np.array(sorted(row for group in groups for row in held[group]), dtype=np.int64)
