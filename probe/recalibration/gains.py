"""Labels that recomputing gained: what of its energies may be learnt from."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from probe import schemas, tables
from probe.classifier import labels as labelled
from probe.classifier.labels import canonical, reserved
from probe.dft import energies, engines, methods, recompute
from probe.errors import ProbeError

GEOMETRY = "as screened"


def labels(folder: Path, out: Path) -> dict[str, int]:
    """Write the labels (``schemas.REFERENCES``) among what was recomputed of ``folder`` to ``out``.

    Labels are singlets of a known SMILES with an energy by PySCF and the plan's method, as the
    shipped ones are; molecules that are reserved for testing are none. Returns how many there are
    and how many were left out, by reason, the first that holds.

    Raises:
        ProbeError: the library has no plan, or ``out`` cannot be written to.
    """
    plan, record = recompute.planned(folder)
    found = plan.join(energies.results(folder), on="conformer_id", maintain_order="left")
    kept_from = [smiles for smiles in found["smiles"].unique() if reserved(canonical(smiles))]
    rules = {
        "no energy": pl.col("dft_energy_ev").is_null(),
        "open shell": pl.col("multiplicity") != 1,
        "no SMILES": pl.col("smiles") == "",
        "another program": pl.col("engine") != engines.PROGRAMS["pyscf"],
        "another method": pl.col("method") != record["method"],
        "reserved": pl.col("smiles").is_in(kept_from),
    }
    why = pl.coalesce(pl.when(when).then(pl.lit(name)) for name, when in rules.items())
    judged = found.with_columns(why=why, geometry=pl.lit(GEOMETRY), energy_ev="dft_energy_ev")
    rows = judged.filter(pl.col("why").is_null()).select(schemas.REFERENCES.names)
    origin = engines.origin("pyscf", methods.named(record["method"]))
    tables.write(out, rows.to_arrow(), schemas.REFERENCES, origin)
    left_out = judged["why"].drop_nulls().to_list()
    return {"labels": rows.height} | {name: left_out.count(name) for name in rules}


def join(fitted: Path, more: Sequence[Path], out: Path) -> int:
    """Write the labels in ``fitted`` and what ``more`` add to ``out``; how many are new.

    Of a conformer that is there twice the first counts, and ``more`` adds no reserved molecule.

    Raises:
        ProbeError: a file holds no labels, or labels by another method than ``fitted``.
    """
    method = tables.provenance(fitted).get("method")
    frames = [_named(fitted)]
    for path in more:
        other = tables.provenance(path).get("method")
        if method and other and method != other:
            raise ProbeError(f"{path}: labels by {other}, and those of {fitted} are by {method}")
        frames.append(_named(path).filter(~pl.col("reserved")))
    rows = pl.concat(frames).unique("conformer_id", keep="first", maintain_order=True)
    origin = {} if method is None else {"method": method}
    tables.write(out, rows.to_arrow(), schemas.LABELS, origin)
    return rows.height - frames[0]["conformer_id"].n_unique()


def _named(path: Path) -> pl.DataFrame:
    """The labels in ``path`` with their ids and whether their molecule is reserved."""
    rows = pl.DataFrame(tables.open_parquet(path).read())
    if "converged" in rows.columns:
        rows = rows.filter(pl.col("converged").fill_null(value=True))
    rows = rows.select(schemas.LABELS.names)
    known = labelled.read(path) if rows.height else None
    return rows.with_columns(
        conformer_id=pl.Series(known.conformer_ids if known else [], dtype=pl.String),
        reserved=pl.Series([reserved(s) for s in known.smiles] if known else [], dtype=pl.Boolean),
    )
