"""Labels that recomputing gained: what of its energies may be learnt from."""

from pathlib import Path

import polars as pl

from probe import energies, engines, methods, recompute, schemas, tables
from probe.labels import canonical, reserved

GEOMETRY = "as screened"


def labels(folder: Path, out: Path) -> dict[str, int]:
    """Write the labels (``schemas.REFERENCES``) among what was recomputed of ``folder`` to ``out``.

    Labels are singlets of a known SMILES with an energy by PySCF, as the shipped ones are;
    molecules that are reserved for testing are none. Returns how many there are and how many were
    left out, by reason, the first that holds.

    Raises:
        ProbeError: the library has no plan, or ``out`` cannot be written to.
    """
    plan, record = recompute.planned(folder)
    found = plan.join(energies.results(folder), on="conformer_id", maintain_order="left")
    kept_from = {smiles: reserved(canonical(smiles)) for smiles in found["smiles"].unique()}
    is_reserved = pl.col("smiles").replace_strict(kept_from, return_dtype=pl.Boolean)
    rules = {
        "no energy": pl.col("dft_energy_ev").is_null(),
        "open shell": pl.col("multiplicity") != 1,
        "no SMILES": pl.col("smiles") == "",
        "another program": pl.col("engine") != engines.PROGRAMS["pyscf"],
        "reserved": is_reserved,
    }
    why = pl.coalesce(pl.when(when).then(pl.lit(name)) for name, when in rules.items())
    judged = found.with_columns(why=why, geometry=pl.lit(GEOMETRY), energy_ev="dft_energy_ev")
    rows = judged.filter(pl.col("why").is_null()).select(schemas.REFERENCES.names)
    origin = engines.origin("pyscf", methods.named(record["method"]))
    tables.write(out, rows.to_arrow(), schemas.REFERENCES, origin)
    left_out = judged["why"].drop_nulls().to_list()
    return {"labels": rows.height} | {name: left_out.count(name) for name in rules}
