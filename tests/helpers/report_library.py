"""A small triaged library of real molecules, as the steps before the report leave it on disk."""

import base64
import gzip
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from rdkit import Chem
from rdkit.Chem import AllChem, rdFingerprintGenerator

from probe import schemas, tables
from probe.cache.store import Cache, Cached
from probe.classifier.card import FORMAT_VERSION
from probe.classifier.checkpoint import Checkpoint, save_checkpoint
from probe.classifier.metrics import evaluate
from probe.classifier.network import Normalisation, Probe
from probe.classifier.risk import Promise
from probe.conformers.conformer import conformer_id, rounded
from probe.report.page import Inputs
from probe.triage.policy import Policy
from probe.triage.summary import outcome, tally
from probe.triage.verdicts import decide

HOSTILE = "<img src=x onerror=alert(1)>"
ENDS_SCRIPT = "</script><script>alert(2)</script>"
FORMULA = "=1+2"

WIDTH = 16
"""Features an atom in the cache; only a real backbone has 256."""

ELEMENTS = ("H", "B", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
SHIFT = dict.fromkeys(ELEMENTS, 0.0) | {"C": 0.02}
"""eV for each element of the molecules."""

MOLECULES = """
CCO CC(=O)O c1ccccc1 Cc1ccccc1 CC(=O)Oc1ccccc1C(=O)O CC(=O)Nc1ccc(O)cc1
Cn1cnc2c1c(=O)n(C)c(=O)n2C CC(C)Cc1ccc(C(C)C(=O)O)cc1 OC(=O)c1ccccc1O
NCCc1ccc(O)c(O)c1 C1CCCCC1 C1CCNCC1
c1ccncc1 c1ccoc1 c1ccsc1 c1cc[nH]c1 CC#N CCCl ClC(Cl)Cl Clc1ccccc1
Clc1ccc(Cl)cc1 Brc1ccccc1 Ic1ccccc1 CCBr CI
Fc1ccccc1 FC(F)(F)c1ccccc1 CS(C)=O CS(=O)(=O)C NS(=O)(=O)c1ccccc1 CP(C)C COP(=O)(OC)OC
C[Si](C)(C)C C[Se]C OB(O)c1ccccc1 CC(=O)[O-] C[NH3+] [NH3+]CC(=O)[O-] NCC(=O)O CC(N)C(=O)O
CSCCC(N)C(=O)O OCC(O)CO OCC1OC(O)C(O)C(O)C1O CCN(CC)CC CCOCC CC(C)=O O=CC=O CC(C)(C)O
CCCCCCCC c1ccc2ccccc2c1 c1ccc(-c2ccccc2)cc1 CN1CCCC1c1cccnc1 COc1ccc(CC=C)cc1O
CN(C)C(=N)NC(N)=N Clc1ccc(C(c2ccc(Cl)cc2)C(Cl)(Cl)Cl)cc1 O=C(c1ccc(Cl)cc1)c1ccc(Br)cc1
Ic1ccc(I)cc1 Nc1c(I)cc(I)cc1I CC1=CC(=O)CC(C)(C)C1 O=C1CCCCCN1 CC12CCC(CC1)C2(C)C
"""
SMILES = MOLECULES.split()


@dataclass
class Library:
    """Rows of a library's tables and its checkpoint's card; change them, then ``write``."""

    conformers: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)

    def write(
        self,
        folder: Path,
        *,
        n_shards: int = 2,
        policy: Policy | None = None,
        promised: Promise | None = None,
        **options: Any,
    ) -> Inputs:
        """Write the shards and the triaged lists; ``options`` replace fields of the Inputs."""
        inputs = Inputs(
            library="demo",
            triage=folder / "triage",
            conformers=_shards(
                folder / "conformers", self.conformers, schemas.CONFORMERS, n_shards
            ),
            scores=_shards(folder / "scores", self.scores, schemas.SCORES, n_shards),
            checkpoint=folder / "checkpoint",
            figures=folder / "figures",
            umap_points=200_000,
            seed=42,
        )
        tables.write_json(inputs.checkpoint / "card.json", self.card)
        tables.write(inputs.triage / "rejected.parquet", self.rejected, schemas.REJECTED, {})
        self._triage(inputs.triage, policy or Policy(), promised)
        return replace(inputs, **options)

    def _triage(self, folder: Path, policy: Policy, promised: Promise | None) -> None:
        conformers, scores = (
            pl.from_arrow(pa.Table.from_pylist(rows, schema=schema)).unique(
                "conformer_id", keep="first", maintain_order=True
            )
            for rows, schema in (
                (self.conformers, schemas.CONFORMERS),
                (self.scores, schemas.SCORES),
            )
        )
        scored = conformers.join(scores, on="conformer_id")
        named = scored.with_columns(pl.col("synonyms").list.join("; "))
        decided = decide(named, self.card, policy, promised)
        for verdict in ("accept", "recompute"):
            rows = decided.filter(pl.col("verdict") == verdict).select(schemas.TRIAGED.names)
            tables.write(folder / f"{verdict}.parquet", rows.to_arrow(), schemas.TRIAGED, {})
        found = outcome(tally(decided), self.card, policy, promised)
        tables.write_json(folder / "summary.json", self._counts(decided) | found)

    def _counts(self, decided: pl.DataFrame) -> dict[str, Any]:
        recompute = decided.filter(pl.col("verdict") == "recompute")
        return {
            "library": "demo",
            "n_records": len(self.conformers) + len(self.rejected),
            "n_ingested": len(self.conformers),
            "n_rejected": len(self.rejected),
            "n_conformers": decided.height,
            "n_duplicates": len(self.conformers) - decided.height,
            "n_accept": decided.height - recompute.height,
            "n_recompute": recompute.height,
            "n_refused": int((decided["kind"] == "backbone").sum()),
            "n_beyond_size": int(decided["beyond_size"].sum()),
            "n_beyond_latent": int(decided["beyond_latent"].sum()),
            "reasons": dict(recompute.group_by("kind").len().sort("kind").iter_rows()),
            "backbone": self.card["backbone"],
            "checkpoint": self.card["name"],
            "fingerprint": self.card["fingerprint"],
            "licence": "MIT",
            "device": "cpu",
            "boundary_kcal": self.card["boundary_kcal"],
            "versions": {"probe-screen": "0.1.0"},
        }


def library(smiles: list[str] | None = None) -> Library:
    """Conformers of ``smiles`` by ETKDG with made-up scores; the second is refused if there is one.

    The three molecules with the highest p_unreliable have hostile names.
    """
    smiles = SMILES if smiles is None else smiles
    conformers = [conformer(text, f"molecule {i}", i) for i, text in enumerate(smiles, 1)]
    scores = [score(row) for row in conformers]
    if len(scores) > 1:
        scores[1] = refused(scores[1])
    order = sorted(scores, key=lambda row: -(row["p_unreliable"] or 0))
    by_id = {row["conformer_id"]: row for row in conformers}
    for row, name in zip(order, (HOSTILE, ENDS_SCRIPT, FORMULA), strict=False):
        by_id[row["conformer_id"]]["molecule_id"] = name
    return Library(conformers, scores, card=card())


def conformer(smiles: str, name: str, record: int) -> dict[str, Any]:
    """A row of the conformer table."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if AllChem.EmbedMolecule(mol, randomSeed=42) < 0:
        AllChem.EmbedMolecule(mol, randomSeed=42, useRandomCoords=True)
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    positions = rounded(mol.GetConformer().GetPositions())
    charge = Chem.GetFormalCharge(mol)
    return {
        "conformer_id": conformer_id(numbers, positions, charge, 1),
        "molecule_id": name,
        "source": f"demo.smi:{record}",
        "smiles": Chem.CanonSmiles(smiles),
        "n_atoms": len(numbers),
        "charge": charge,
        "multiplicity": 1,
        "numbers": numbers,
        "positions": positions.ravel().tolist(),
        "note": "",
    }


def score(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the score table: a fingerprint for an embedding, halogens and size for p."""
    mol = Chem.MolFromSmiles(row["smiles"])
    generator = rdFingerprintGenerator.GetMorganGenerator(fpSize=schemas.EMBEDDING_WIDTH)
    random = np.random.default_rng(row["n_atoms"])
    halogens = sum(number in (17, 35, 53) for number in row["numbers"])
    importance = random.random(row["n_atoms"]) ** 3 + 0.01
    noise = random.normal(scale=0.05, size=schemas.EMBEDDING_WIDTH)
    return {
        "conformer_id": row["conformer_id"],
        "energy_ev": -13.6 * sum(row["numbers"]),
        "p_unreliable": float(1 / (1 + np.exp(2.5 - 1.1 * halogens - 0.06 * row["n_atoms"]))),
        "verdict": "reliable",
        "latent_distance": 1.0,
        "importance": (importance / importance.sum()).tolist(),
        "embedding": (generator.GetCountFingerprintAsNumPy(mol) + noise).tolist(),
        "refusal": None,
    }


def refused(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` of the score table as it is when the backbone does not take the conformer."""
    return dict.fromkeys(row) | {"conformer_id": row["conformer_id"], "refusal": "element Xx"}


def card() -> dict[str, Any]:
    """A checkpoint's card, measured on made-up predictions that are calibrated."""
    random = np.random.default_rng(5)
    p = random.random(83)
    error = np.where(random.random(83) < p, 1.5, 0.3)
    return {
        "format_version": FORMAT_VERSION,
        "name": "aimnet2-b973c",
        "backbone": "aimnet2-b973c",
        "fingerprint": "0123456789abcdef",
        "version": "0.1.0",
        "boundary_kcal": 0.87,
        "elements": {
            "C": 410,
            "H": 412,
            "N": 230,
            "O": 300,
            "Cl": 40,
            "S": 30,
            "F": 25,
            "Br": 24,
            "I": 9,
            "P": 22,
            "Si": 21,
        },
        "n_atoms": {"min": 3, "max": 30},
        "latent_99": 6.5,
        "training": {"n_conformers": 415, "n_molecules": 415},
        "held_out": evaluate(p, error, 0.87),
    }


def with_cache(made: Library, inputs: Inputs, folder: Path) -> Inputs:
    """``inputs`` with a checkpoint of untrained networks, and a cache and reference energies.

    The cache holds random embeddings of what was scored, in two parts; reference energies are
    known of the first ten conformers, 0.01 eV above the backbone's.
    """
    random = np.random.default_rng(8)
    scored = [row for row in made.scores if row["refusal"] is None]
    by_id = {row["conformer_id"]: row for row in made.conformers}
    cache = Cache(folder / "cache", made.card["fingerprint"], WIDTH)
    parts = dict.fromkeys((row["conformer_id"] for row in made.scores), None)
    for half in (scored[::2], scored[1::2]):
        rows = [_cached(row, by_id[row["conformer_id"]]["n_atoms"], random) for row in half]
        parts |= dict.fromkeys((row.conformer_id for row in rows), cache.add(rows))
    embedded = folder / "embedded.parquet"
    places = [{"conformer_id": i, "part": part, "refusal": None} for i, part in parts.items()]
    tables.write(embedded, places, schemas.EMBEDDED, {})
    settings = {
        **{"embedding_dim": WIDTH, "charges": True, "head": "distribution", "width": 16},
        **{"n_members": 2, "temperature": 1.0, "shift": {"per_element": SHIFT, "per_charge": 0.0}},
    }
    members = [Probe(WIDTH, charges=True, head="distribution", width=16).eval() for _ in range(2)]
    untrained = Checkpoint(made.card | settings, Normalisation(WIDTH), members)
    save_checkpoint(replace(untrained, held_out=_held_out(made, random)), inputs.checkpoint)
    references = folder / "references.parquet"
    rows = [_reference(by_id[row["conformer_id"]], row["energy_ev"]) for row in scored[:10]]
    tables.write(references, rows, schemas.REFERENCES, {})
    return replace(inputs, embedded=(embedded,), cache=folder / "cache", references=(references,))


def _cached(row: dict[str, Any], n_atoms: int, random: np.random.Generator) -> Cached:
    embedding = random.normal(size=(n_atoms, WIDTH)).astype(np.float16)
    charges = random.normal(scale=0.3, size=n_atoms).astype(np.float32)
    energy = row["energy_ev"]
    return Cached(row["conformer_id"], energy, {"dispersion": 0.0}, charges, embedding)


def _held_out(made: Library, random: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            **{name: row[name] for name in ("conformer_id", "smiles", "n_atoms", "numbers")},
            **{"latent_distance": 1.0, "location_kcal": None, "scale_kcal": None},
            **{"p_unreliable": (p := random.random()), "error_kcal": 2.0 * (random.random() < p)},
        }
        for row in made.conformers
    ]


def _reference(row: dict[str, Any], energy_ev: float) -> dict[str, Any]:
    shifted = energy_ev + 0.02 * row["numbers"].count(6) + 0.01
    names = ("conformer_id", "smiles", "source", "numbers", "positions", "charge")
    known = {name: row[name] for name in names}
    return dict.fromkeys(schemas.REFERENCES.names) | known | {"energy_ev": shifted}


def unpacked(text: str) -> Any:
    """What base64 of compressed JSON says, as the page's scripts read it."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def data_of(page: str) -> dict[str, Any]:
    """The JSON that the page carries for its script."""
    start = page.index('id="data">') + len('id="data">')
    record: dict[str, Any] = json.loads(page[start : page.index("</script>", start)])
    return record


def _shards(
    folder: Path, rows: list[dict[str, Any]], schema: pa.Schema, n_shards: int
) -> tuple[Path, ...]:
    """Write ``rows`` in turn to ``n_shards`` files."""
    paths = tuple(folder / f"{index:04}.parquet" for index in range(n_shards))
    for index, path in enumerate(paths):
        tables.write(path, rows[index::n_shards], schema, {})
    return paths
