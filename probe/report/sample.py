"""The conformers that the page itself holds: all of a small library, else a sample of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from probe import schemas, tables
from probe.classifier.shift import Shift
from probe.conformers.molecules import of_smiles
from probe.report.descriptors import DESCRIPTORS
from probe.report.embedding_map import stratified
from probe.report.material import Material
from probe.report.screening import Floats, Rows, Screening

SIZE = 20_000
WORST = 5_000
"""Of the sample, taken for their p_unreliable alone; the others evenly from its deciles."""
TEXT = 160
"""Characters of a name, a source or a reason; a SMILES may be twice as long."""

Column = list[Any]


def rows(screening: Screening, places: Floats) -> Rows:
    """The sampled rows among those on the map, by falling p_unreliable."""
    p = np.where(np.isnan(places[:, 0]), np.nan, screening.p)
    mapped = np.flatnonzero(~np.isnan(p))
    if len(mapped) > SIZE:
        worst = mapped[np.argsort(-p[mapped], kind="stable")[:WORST]]
        p[worst] = np.nan
        rest = stratified(p, SIZE - WORST, screening.inputs.seed)
        mapped = np.concatenate([worst, rest])
    falling = np.lexsort((mapped, -screening.p[mapped]))
    return np.asarray(mapped[falling], dtype=np.int64)


def columns(material: Material, places: Floats, chosen: Rows) -> dict[str, Any]:
    """What the page knows of the conformers in ``chosen``, a list for each property."""
    screening = material.screening
    taken = screening.listed.take(pa.array(chosen))
    texts = {
        name: [(text or "")[:length] for text in taken[column].to_pylist()]
        for name, column, length in (
            ("id", "conformer_id", TEXT),
            ("name", "molecule_id", TEXT),
            ("synonyms", "synonyms", TEXT),
            ("source", "source", TEXT),
            ("smiles", "smiles", 2 * TEXT),
            ("reason", "reason", TEXT),
        )
    }
    return {
        **texts,
        "x": _rounded(places[chosen, 0], 3),
        "y": _rounded(places[chosen, 1], 3),
        "p": _rounded(screening.p[chosen], 4),
        "energy": _rounded(taken["energy_ev"].to_numpy(), 4),
        "accept": screening.accepted[chosen].astype(int).tolist(),
        "elements": {
            element.symbol: "".join(map(str, element.holds[chosen].astype(int)))
            for element in material.elements
        },
        "descriptors": _descriptors(texts["smiles"]),
        "error": errors(screening, texts["id"]),
    }


def errors(screening: Screening, ids: Sequence[str]) -> Column | None:
    """Reference less backbone energy of ``ids`` in kcal/mol, on the backbone's scale.

    None where no reference energy is known of any; one with an element that the checkpoint's shift
    does not know is none.
    """
    wanted = dict.fromkeys(ids)
    known: dict[str, float] = {}
    needed = ["conformer_id", "numbers", "charge", "energy_ev"]
    shift = Shift(**screening.card["shift"]) if screening.inputs.references else None
    for path in screening.inputs.references:
        for row in tables.frame(path, schemas.REFERENCES, needed).iter_rows(named=True):
            if row["energy_ev"] is None or row["conformer_id"] not in wanted:
                continue
            numbers = np.array(row["numbers"])
            if shift and shift.covers(numbers):
                known[row["conformer_id"]] = row["energy_ev"] - shift.of(numbers, row["charge"])
    if not known:
        return None
    listed = screening.listed.select(["conformer_id", "energy_ev"]).to_pylist()
    energies = {
        row["conformer_id"]: row["energy_ev"] for row in listed if row["conformer_id"] in known
    }
    return [
        round(schemas.KCAL_PER_EV * (known[name] - energies[name]), 3) if name in known else None
        for name in ids
    ]


def _descriptors(smiles: Sequence[str]) -> dict[str, Column]:
    """Each descriptor of each SMILES; None where RDKit cannot read it."""
    found: dict[str, list[Any]] = {}
    for text in set(smiles):
        mol = of_smiles(text) if text else None
        found[text] = [
            None if mol is None else round(float(f(mol)), 3) for f in DESCRIPTORS.values()
        ]
    return {name: [found[text][place] for text in smiles] for place, name in enumerate(DESCRIPTORS)}


def _rounded(values: Floats, digits: int) -> Column:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]
